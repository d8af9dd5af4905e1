from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.rules import Category
from mlpstorage.kinds.sets import report_of
from mlpstorage.kinds.tree_verdict import validate
from results_made import training_summary

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
workload:
  model: unet3d
  dataset: {num_files_train: 3500, num_samples_per_file: 1}
  reader: {batch_size: 7}
  train: {computation_time: 0.323}
"""
OVERRIDES = """\
- workload=unet3d_h100
- ++workload.dataset.num_files_train=3500
- ++workload.workflow.train=True
"""


class Tree:
    """A tree of DLIO's runs as the second round has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = root / "closed/acme/results/box"
        systems = root / "closed/acme/systems"
        systems.mkdir(parents=True)
        for suffix in ("yaml", "pdf"):
            (systems / f"box.{suffix}").write_text("system: of another schema\n", encoding="utf-8")

    def add(
        self, minute: int, command: str = "run", overrides: str = OVERRIDES, **summary: Any  # noqa: ANN401 (any figure)
    ) -> Path:  # fmt: skip
        """A run of ten minutes that began at that minute."""
        hour, rest = divmod(minute, 60)
        run = self.system / f"training/unet3d/{command}/20250110_{9 + hour:02d}{rest:02d}00"
        (run / "dlio_config").mkdir(parents=True)
        (run / "dlio_config/config.yaml").write_text(CONFIG, encoding="utf-8")
        (run / "dlio_config/hydra.yaml").write_text("hydra: {}\n", encoding="utf-8")
        (run / "dlio_config/overrides.yaml").write_text(overrides, encoding="utf-8")
        (run / "dlio.log").write_text("", encoding="utf-8")
        metadata: dict[str, Any] = {
            "benchmark_type": "training",
            "model": "unet3d",
            "command": command,
            "run_datetime": run.name,
            "num_processes": 1,
            "accelerator": "h100",
            "parameters": {"dataset": {"num_files_train": 3500}},
        }
        if command == "run":
            start = f"2025-01-10T{9 + hour:02d}:{rest:02d}:00"
            hour, rest = divmod(minute + 10, 60)
            end = f"2025-01-10T{9 + hour:02d}:{rest:02d}:00"
            whole = {**training_summary(), "host_memory_GB": [16.0], **summary}
            (run / "summary.json").write_text(
                json.dumps({**whole, "start": start, "end": end}), encoding="utf-8"
            )
            metadata |= {"invocation_start_time": start, "invocation_end_time": end}
            (run / "0_output.json").write_text("{}", encoding="utf-8")
            (run / "0_per_epoch_stats.json").write_text("{}", encoding="utf-8")
            metadata["override_parameters"] = {"dataset.num_files_train": 3500}
            (run.parent / "results.json").write_text("{}", encoding="utf-8")
        name = f"training_{run.name}_metadata.json"
        (run / name).write_text(json.dumps(metadata), encoding="utf-8")
        return run


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Six runs with what was before them."""
    made = Tree(tmp_path)
    made.add(0, "datasize")
    made.add(5, "datagen")
    for number in range(6):
        made.add(20 + 11 * number)
    return made


def test_a_tree_of_the_second_round(tree: Tree) -> None:
    """Six runs of DLIO are a warm-up and five, judged by the rules of their round."""
    (one,) = report_of(tree.root).sets
    assert (one.origin, one.organisation, one.system) == ("v2.0", "acme", "box")
    assert len(one.measured) == 5
    assert one.verdict is Category.CLOSED, one.findings
    assert {rule.rule for rule in one.unjudged} == {"3.4.2", "T.5"}


def test_it_is_valid(tree: Tree) -> None:
    """The whole tree has no findings; rules of our own records do not judge others'."""
    judgement = validate(tree.root)
    assert judgement.edition == "2.0"
    assert judgement.findings == ()


@pytest.mark.parametrize(
    ("rule", "summary", "overrides"),
    [
        ("3.3.2", {"metric": training_summary(au=70)["metric"]}, OVERRIDES),
        ("3.1.2", {"num_files_train": 3000}, OVERRIDES),
        ("3.1.2", {"host_memory_GB": [125.0, 900.0]}, OVERRIDES),
        ("3.3.6", {"num_hosts": 3}, OVERRIDES),
    ],
)
def test_runs_that_break_a_rule(
    tree: Tree, rule: str, summary: dict[str, Any], overrides: str
) -> None:
    """What DLIO's summary tells is judged by the same rules as our runs."""
    tree.add(20 + 11 * 6, overrides=overrides, **summary)
    assert rule in {placed.finding.rule for placed in validate(tree.root).findings}


def test_other_figures_than_published(tree: Tree) -> None:
    """A configuration with another compute time is of another workload."""
    for path in tree.root.rglob("run/*/dlio_config/config.yaml"):
        path.write_text(CONFIG.replace("0.323", "0.5"), encoding="utf-8")
    (one,) = report_of(tree.root).sets
    (finding,) = [f for f in one.measured[0].findings if f.rule == "3.6.3"]
    assert (finding.parameter, finding.expected, finding.actual) == (
        "train.computation_time", "0.323", "0.5",
    )  # fmt: skip


def test_parameters_that_may_not_be_changed(tmp_path: Path) -> None:
    """A plain DLIO folder's overrides are judged: what a tool sets itself is no parameter."""
    run = tmp_path / "2025-01-10-09-00-00"
    (run / ".hydra").mkdir(parents=True)
    changed = OVERRIDES + "- ++workload.reader.batch_size=9\n- ++workload.output.folder=/x\n"
    (run / ".hydra/overrides.yaml").write_text(changed, encoding="utf-8")
    summary = {**training_summary(), "host_memory_GB": [16.0]}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (one,) = report_of(tmp_path).sets
    assert [f.parameter for f in one.runs[0].findings] == ["reader.batch_size"]
    assert one.verdict is Category.INVALID
