from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.rules import Category
from mlpstorage.core.run import Status
from mlpstorage.kinds.sets import report_of
from mlpstorage.kinds.tree_package import package, plan_submission
from mlpstorage.kinds.tree_system import TO_DO, read_system
from mlpstorage.kinds.tree_verdict import as_json, sections_of, tree_rules, validate
from mlpstorage.report.terminal import render
from results_made import Results, rewrite, small_code, training_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["small_code"]  # a fixture

SYSTEM = """\
schema: 1
name: box
organisation: acme
storage:
  product: Box 1
  access: file
  protocol: NFS 4.2
  usable_capacity_bytes: 100000000000000
  simultaneous_read_write: true
clients:
- quantity: 1
  memory_bytes: 17179869184
  processor: {model: Some Processor, cores: 8, threads: 16}
  operating_system: Debian 12
  kernel: 6.1.0
"""
HERE = "closed/acme/results/box/training/unet3d"


def checkpoint_summary() -> dict[str, object]:
    """A summary of ten checkpoints written and read."""
    phase = {"checkpoints": 10, "duration_max_seconds": 9.0}
    return {
        "num_accelerators": 8,
        "num_hosts": 1,
        "metric": {
            "save_checkpoint_io_mean_GB_per_second": 10.0,
            "save_checkpoint_duration_mean_seconds": 8.0,
            "load_checkpoint_io_mean_GB_per_second": 12.0,
            "load_checkpoint_duration_mean_seconds": 7.0,
        },
        "save": phase,
        "load": phase,
    }


@pytest.fixture
def results(tmp_path: Path, small_code: Path) -> Results:
    """Results of training and checkpointing that may be submitted."""
    assert small_code.is_dir()
    made = Results(tmp_path / "results")
    made.datagen()
    made.training_set()
    made.add(
        "checkpointing", ("checkpointing", "llama3-8b"), summary=checkpoint_summary(),
        model="llama3-8b",
    )  # fmt: skip
    return made


@pytest.fixture
def tree(results: Results, tmp_path: Path) -> Path:
    """A whole submission: packaged, the system described, its data sheet beside it."""
    system = tmp_path / "system.yaml"
    system.write_text(SYSTEM, encoding="utf-8")
    chosen = plan_submission(
        results.root, division="CLOSED", organisation="acme", system="box", system_file=system
    )
    root = package(chosen, tmp_path / "acme")
    (root / "closed/acme/systems/box.pdf").write_bytes(b"%PDF")
    (root / "SHA256SUMS").unlink()
    return root


def found(root: Path) -> set[str]:
    """The numbers of the rules that find something."""
    return {placed.finding.rule for placed in validate(root).findings}


def test_what_package_makes_is_valid(tree: Path) -> None:
    """The packaged tree, with its data sheet, has no findings, and is CLOSED."""
    judgement = validate(tree)
    assert judgement.findings == ()
    assert judgement.verdict is Category.CLOSED
    assert judgement.is_valid
    assert [verdict for _, _, verdict in judgement.workloads] == [Category.CLOSED] * 2


def run_of(tree: Path, command: str = "run") -> Path:
    """The last run of training."""
    return max((tree / HERE / command).glob("2026*"))


def metadata_of(run: Path) -> Path:
    """The record of a run."""
    return next(run.glob("*_metadata.json"))


def delete(path: Path) -> None:
    """Remove a file or a directory."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def copy_as(path: Path, name: str) -> None:
    """A copy beside a directory."""
    shutil.copytree(path, path.with_name(name))


def corrupt_code(tree: Path) -> None:
    """Other code than the name of its image says."""
    (next((tree / "code-images").glob("code-*/")) / "main.py").write_text("x", encoding="utf-8")


def unknown_code(tree: Path) -> None:
    """A run that other code made."""
    rewrite(metadata_of(run_of(tree)), code_identity="f" * 32)


def no_code(tree: Path) -> None:
    """A run that does not say which code made it."""
    rewrite(metadata_of(run_of(tree)), code_identity="")


def system(tree: Path, old: str, new: str) -> None:
    """Another description of the system."""
    path = tree / "closed/acme/systems/box.yaml"
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")


def checksum(tree: Path) -> None:
    """A file that is not as its checksum says."""
    (tree / "SHA256SUMS").write_text(f"{'0' * 64}  {HERE}/run/results.json\n", encoding="utf-8")


def open_verdict(tree: Path) -> None:
    """A run in closed that is OPEN."""
    rewrite(metadata_of(run_of(tree)), verification={"category": "OPEN", "issues": []})


def kv_options(tree: Path) -> None:
    """One published option of the KV cache, without the two others."""
    Results(tree / "closed/acme/results/box").add(
        "kv_cache", ("kv_cache", "run"), model="llama3.1-8b", parameters={"v3_option": "1"},
        summary={"metric": {"read_gbps": 1.0}, "mlperf_v3": {"trial_count": 3, "rank_count": 1}},
        num_processes=1,
    )  # fmt: skip


BREAK: list[tuple[str, Callable[[Path], object]]] = [
    ("2.1.1", lambda tree: tree.rename(tree.with_name("other"))),
    ("2.1.2", lambda tree: (tree / "notes").mkdir()),
    ("2.1.2", lambda tree: delete(tree / "closed")),
    ("2.1.4", lambda tree: (tree / "closed/acme corp").mkdir()),
    ("2.1.4", lambda tree: (tree / "closed/notes.txt").write_text("", encoding="utf-8")),
    ("2.1.5", lambda tree: delete(tree / "closed/acme/systems")),
    ("2.1.5", lambda tree: (tree / "closed/acme/more").mkdir()),
    ("2.1.6", corrupt_code),
    ("2.1.7", lambda tree: delete(tree / "closed/acme/systems/box.pdf")),
    ("2.1.8", lambda tree: (tree / "closed/acme/results/crate").mkdir()),
    ("2.1.8", lambda tree: copy_as(tree / "closed/acme/results/box", "crate")),
    ("2.1.10", lambda tree: (tree / "closed/acme/results/box/games").mkdir()),
    ("2.1.12", lambda tree: delete(tree / HERE / "datasize")),
    ("2.1.12", lambda tree: (tree / HERE / "extra").mkdir()),
    ("2.1.13", lambda tree: copy_as(run_of(tree, "datagen"), "20260109_000000")),
    ("2.1.14", lambda tree: delete(run_of(tree, "datagen") / "events.jsonl")),
    ("2.1.16", lambda tree: delete(tree / HERE / "run/results.json")),
    ("2.1.22", lambda tree: delete(tree / HERE / "../../checkpointing/llama3-8b/results.json")),
    ("2.1.17", lambda tree: delete(run_of(tree))),
    ("2.1.19", lambda tree: delete(run_of(tree) / "0_output.json")),
    ("3.1.1", lambda tree: delete(tree / HERE / "datasize")),
    ("3.1.2", lambda tree: rewrite(run_of(tree) / "summary.json", num_files_train=3000)),
    ("3.2.1", lambda tree: rewrite(run_of(tree, "datagen") / "summary.json",
                                   num_files_train=100)),
    ("3.3.1", lambda tree: rewrite(run_of(tree) / "summary.json", num_files_train=4000)),
    ("3.3.2", lambda tree: rewrite(run_of(tree) / "summary.json",
                                   metric=training_summary(au=50.0)["metric"])),
    ("3.6.1", unknown_code),
    ("3.6.1", no_code),
    ("4.7.3", lambda tree: system(tree, "simultaneous_read_write: true",
                                  "simultaneous_read_write: false")),
    ("6.3.1.2", kv_options),
    ("S.1", lambda tree: system(tree, "product: Box 1", "prodct: Box 1")),
    ("S.1", lambda tree: system(tree, "Box 1", TO_DO)),
    ("S.2", checksum),
    ("S.3", lambda tree: (tree / "closed/acme/link").symlink_to("/etc")),
    ("S.4", lambda tree: (run_of(tree) / "summary.json").write_text("{", encoding="utf-8")),
    ("S.5", open_verdict),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "harm"), BREAK, ids=[f"{r}-{n}" for n, (r, _) in enumerate(BREAK)]
)
def test_what_breaks_a_rule(tree: Path, rule: str, harm: Callable[[Path], object]) -> None:
    """Each rule of trees finds what breaks it."""
    harm(tree)
    assert rule in found(tree if tree.exists() else tree.with_name("other"))


def test_every_rule_of_trees_is_tried() -> None:
    """The cases above break every rule that there is."""
    assert {rule.id for rule in tree_rules()} <= {rule for rule, _ in BREAK}


def test_it_goes_on_after_each_failure(tree: Path) -> None:
    """Many failures are told together, each with its place."""
    delete(tree / "closed/acme/systems/box.pdf")
    no_code(tree)
    (run_of(tree) / "summary.json").write_text("{", encoding="utf-8")
    judgement = validate(tree)
    assert {"2.1.7", "3.6.1", "S.4", "2.1.17"} <= {p.finding.rule for p in judgement.findings}
    text = render(sections_of(judgement))
    assert "is INVALID" in text
    assert f"{HERE}/run/{run_of(tree).name}" in text
    document = as_json(judgement)
    assert document["valid"] is False
    assert json.loads(json.dumps(document)) == document


def test_several_submitters(tree: Path) -> None:
    """Two submitters are judged apart: the failure of one is told of that one."""
    copy_as(tree / "closed/acme", "umbrella")
    delete(tree / "closed/umbrella/systems/box.pdf")
    failed = [placed for placed in validate(tree).findings if placed.finding.rule == "2.1.7"]
    assert [placed.place for placed in failed] == ["closed/umbrella/systems/box.pdf"]


def test_open_is_valid_in_open(tree: Path) -> None:
    """What is OPEN may stand in open."""
    open_verdict(tree)
    (tree / "closed").rename(tree / "open")
    judgement = validate(tree)
    assert judgement.is_valid, judgement.findings


def test_checksums_as_the_system_reads_them(results: Results, tmp_path: Path) -> None:
    """sha256sum --check agrees with what was written, and every file of the tree is there."""
    chosen = plan_submission(results.root, division="CLOSED", organisation="acme", system="box")
    root = package(chosen, tmp_path / "out")
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"],
        cwd=root, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.partition("  ")[2] for line in (root / "SHA256SUMS").read_text().splitlines()}
    present = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert listed == present - {"SHA256SUMS"}


def test_the_draft_of_a_system(results: Results, tmp_path: Path) -> None:
    """The draft has the hosts as they were recorded, and says what is to be filled in, by line."""
    chosen = plan_submission(results.root, division="CLOSED", organisation="acme", system="box")
    root = package(chosen, tmp_path / "out")
    path = root / "closed/acme/systems/box.yaml"
    with pytest.raises(ConfigurationError, match=r"product \(line \d+\), .*protocol"):
        read_system(path)
    text = path.read_text(encoding="utf-8")
    text = text.replace(f"usable_capacity_bytes: {TO_DO}", "usable_capacity_bytes: 5")
    path.write_text(text.replace(TO_DO, "known"), encoding="utf-8")
    (clients,) = read_system(path).clients
    assert (clients.quantity, clients.memory_bytes) == (1, 16 << 30)
    assert (clients.processor.cores, clients.processor.threads) == (8, 16)
    assert clients.operating_system == "Debian 12"


def test_what_may_not_be_submitted(results: Results, tmp_path: Path) -> None:
    """INVALID sets are passed over with the reason, and refused when they are named."""
    results.add(summary=training_summary(), accelerator="a100", set_id="alone")
    chosen = plan_submission(results.root, division="CLOSED", organisation="acme", system="box")
    ((name, why),) = chosen.passed_over
    assert name == "alone"
    assert "2.1.17" in why
    with pytest.raises(UsageError, match="may not be submitted"):
        plan_submission(
            results.root, division="CLOSED", organisation="a", system="b", sets=["alone"]
        )
    with pytest.raises(NotFoundError, match="no set 'nothing'"):
        plan_submission(
            results.root, division="CLOSED", organisation="a", system="b", sets=["nothing"]
        )
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        package(chosen, tmp_path / "out")


def test_other_code_is_refused(results: Results, tmp_path: Path) -> None:
    """Runs of other code than the one that packages are refused; nothing is left behind."""
    for path in results.root.rglob("training/unet3d/run/*/*_metadata.json"):
        rewrite(path, code_identity="f" * 32)
    chosen = plan_submission(results.root, division="CLOSED", organisation="acme", system="box")
    with pytest.raises(ConfigurationError, match="other code"):
        package(chosen, tmp_path / "out")
    assert not [p.name for p in tmp_path.iterdir() if "out" in p.name]


def test_links_in_results_are_not_packaged(results: Results, tmp_path: Path) -> None:
    """A link in a run's directory is left out of the tree."""
    run = max(results.root.glob("training/unet3d/run/*"))
    (run / "passwd").symlink_to("/etc/passwd")
    chosen = plan_submission(results.root, division="CLOSED", organisation="acme", system="box")
    root = package(chosen, tmp_path / "out")
    assert not list(root.rglob("passwd"))


def test_failed_members_are_shown(results: Results) -> None:
    """A run of a set that failed is among its runs, and its set lacks one."""
    results.add(status=Status.FAILED, verdict=None, set_id="s", set_role="measured")
    (one,) = [one for one in report_of(results.root).sets if one.id == "s"]
    assert [run.status for run in one.runs] == ["failed"]
    assert one.verdict is Category.INVALID
