from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.store.codec import read_metadata
from mlpstorage.store.files import read_as, read_file
from mlpstorage.store.heads import read_head
from mlpstorage.store.places import place_of
from mlpstorage.store.runs import read_runs
from results_made import Results, host, training_summary

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {**training_summary(), "start": "2024-08-20T12:58:36", "end": "2024-08-20T13:15:00"}
OVERRIDES = """\
- workload=resnet50_h100
- ++workload.workflow.generate_data=False
- '++workload.dataset.num_files_train=4903'
- ++workload.dataset.data_folder=/data=1
"""


def dlio_run(path: Path, config: str = ".hydra", overrides: str = OVERRIDES) -> Path:
    """A folder as DLIO leaves it."""
    (path / config).mkdir(parents=True)
    (path / config / "overrides.yaml").write_text(overrides, encoding="utf-8")
    (path / "summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
    (path / "dlio.log").write_text("", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            "closed/acme/results/box/training/unet3d/run",
            ("CLOSED", "acme", "box", "training", "unet3d", "run", "v2.0"),
        ),
        (
            "Open/acme/results/box/checkpointing/llama3-8b",
            ("OPEN", "acme", "box", "checkpointing", "llama3-8b", "run", "v2.0"),
        ),
        (
            "open/acme/results/box/vector_database/milvus/DISKANN/run",
            ("OPEN", "acme", "box", "vector_database", "", "run", "v2.0"),
        ),
        (
            "Closed/acme/results/box/unet3d_h100",
            ("CLOSED", "acme", "box", "", "unet3d_h100", "", "v1.0"),
        ),
        ("kv_cache/run", ("", "", "", "kv_cache", "", "run", "")),
        ("training/unet3d/datagen", ("", "", "", "training", "unet3d", "datagen", "")),
        ("hydra_log/unet3d", ("", "", "", "", "", "", "")),
    ],
)
def test_places(tmp_path: Path, place: str, expected: tuple[str, ...]) -> None:
    """The directories above a run say whose it is, in the layout of every round."""
    found = place_of(tmp_path, tmp_path / place / "20260110_093000")
    assert (
        found.division, found.organisation, found.system, found.kind, found.model, found.command,
        found.round,
    ) == expected  # fmt: skip


def test_the_root_may_be_a_part_of_a_tree(tmp_path: Path) -> None:
    """A submitter's directory, or a single run's, is understood by what is above it."""
    run = tmp_path / "closed/acme/results/box/training/unet3d/run/20260110_093000"
    for root in (tmp_path / "closed", tmp_path / "closed/acme/results/box", run):
        found = place_of(root, run)
        assert (found.division, found.organisation, found.system) == ("CLOSED", "acme", "box")
        assert (found.kind, found.model, found.command) == ("training", "unet3d", "run")


def test_marks_of_the_third_round(tmp_path: Path) -> None:
    """A pool of code images at the root makes a tree one of the third round."""
    (tmp_path / "code-images").mkdir()
    run = tmp_path / "closed/acme/results/box/training/unet3d/run/20260110_093000"
    assert place_of(tmp_path, run).round == "v3.0"


@pytest.mark.parametrize("config", [".hydra", "configs", "dlio_config"])
def test_plain_dlio_folders(tmp_path: Path, config: str) -> None:
    """A folder of DLIO tells model, accelerator, ranks and times, wherever hydra kept them."""
    dlio_run(tmp_path / "hydra_log/resnet50/2024-08-20-12-58-36", config)
    (run,) = read_runs(tmp_path).runs
    assert (run.origin, run.kind, run.command) == ("DLIO", "training", "run")
    assert (run.model, run.accelerator, run.ranks) == ("resnet50", "h100", 1)
    assert run.status == "complete"
    assert run.overrides["dataset.num_files_train"] == "4903"
    assert run.overrides["dataset.data_folder"] == "/data=1"


def test_a_dlio_folder_of_generation(tmp_path: Path) -> None:
    """A folder without a summary whose overrides generate data is no run that broke."""
    generation = OVERRIDES.replace("generate_data=False", "generate_data=True")
    path = dlio_run(tmp_path / "2024-08-20-12-58-36", overrides=generation)
    (path / "summary.json").unlink()
    (run,) = read_runs(tmp_path).runs
    assert (run.command, run.status) == ("datagen", "unknown")


def test_a_run_that_lost_its_summary(tmp_path: Path) -> None:
    """A directory of a run without a summary is there, broken, with the file that is missing."""
    path = dlio_run(tmp_path / "Closed/acme/results/box/resnet50_h100/run-1", "configs")
    (path / "summary.json").unlink()
    (run,) = read_runs(tmp_path).runs
    assert run.status == "broken"
    assert run.reason == f"{path / 'summary.json'}: there is no such file"


def test_our_runs(tmp_path: Path) -> None:
    """A record of ours is read with its set, its seed and its code; records of sets are no runs."""
    results = Results(tmp_path)
    paths = results.training_set(runs=2)
    record = tmp_path / "training/unet3d/set/20260110_093000"
    record.mkdir(parents=True)
    (record / "training_20260110_093000_set.json").write_text("{}", encoding="utf-8")
    first, second = read_runs(tmp_path).runs
    assert [first.directory, second.directory] == paths
    assert (first.role, second.role, second.seed) == ("warm-up", "measured", 1001)
    assert first.set_id == second.set_id
    assert len(first.code) == 32


def test_heads_are_metadata_without_the_hosts(tmp_path: Path) -> None:
    """What lists need is read as the whole record has it, and nothing of the hosts."""
    results = Results(tmp_path)
    path = results.add(system_info={"hosts": [host()]}, warnings=("careful",))
    (file,) = path.glob("*_metadata.json")
    whole, head = read_metadata(file), read_head(file)
    assert whole.system_info is not None
    assert head.system_info is None
    for name in set(whole.__struct_fields__) - {"system_info"}:
        assert getattr(head, name) == getattr(whole, name), name


def test_records_of_other_tools_are_heads_too(tmp_path: Path) -> None:
    """A metadata file without our version is read as ever."""
    path = tmp_path / "training_20260110_093000_metadata.json"
    path.write_text('{"benchmark_type": "training", "model": "unet3d"}', encoding="utf-8")
    assert read_head(path) == read_metadata(path)


def test_a_tree_that_is_too_deep(tmp_path: Path) -> None:
    """Directories that lead on and on are left, with a word about it."""
    (tmp_path / "/".join("abcdefghijklmnop")).mkdir(parents=True)
    found = read_runs(tmp_path)
    assert found.runs == ()
    assert "too deep" in found.problems[0]


def test_only_regular_files_of_reasonable_size(tmp_path: Path) -> None:
    """A link, a directory or a file that is too large is refused by name."""
    file = tmp_path / "a.json"
    file.write_text("[1]", encoding="utf-8")
    (tmp_path / "link").symlink_to(file)
    assert read_as(file, list[int]) == [1]
    for path, most in ((tmp_path / "link", 10), (tmp_path, 10), (file, 2)):
        with pytest.raises(MlpstorageError) as caught:
            read_file(path, most)
        assert str(path) in caught.value.what
