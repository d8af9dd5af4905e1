from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.kinds.sets import report_of
from mlpstorage.kinds.tree_package import package, plan_submission
from mlpstorage.kinds.tree_verdict import validate
from mlpstorage.report.files import as_csv, as_json
from mlpstorage.report.html.page import render
from mlpstorage.report.table import sections_of
from mlpstorage.store.codec import encode
from mlpstorage.store.history import scan
from results_made import Results, small_code, training_summary

__all__ = ["small_code"]  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.report.model import ReportDocument

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "binary": lambda _: bytes(range(256)) * 20,
    "null": lambda _: b"null",
    "a list": lambda _: b"[1, 2, 3]",
    "a word": lambda _: b'"results"',
    "wrong types": lambda whole: whole.replace(b": 1", b': {"x": []}').replace(b':"', b':["'),
    "objects everywhere": lambda _: b'{"metric": [], "hosts": 5, "parameters": "x", "storage": 1}',
    "a huge number": lambda whole: whole.replace(b"1", b"9" * 5000),
    "huge exponents": lambda whole: whole.replace(b"40", b"1e999").replace(b"95", b"-1e999"),
    "deeply nested": lambda _: b'{"metric":' * 100_000,
    "deep lists": lambda _: b"[" * 100_000 + b"]" * 100_000,
    "deep YAML": lambda _: b"a: " + b"{a: " * 20_000,
    "not a number": lambda whole: whole.replace(b"1", b"NaN"),
    "lone surrogates": lambda whole: whole.replace(b"node01", b"\\ud800"),
    "newer": lambda whole: whole.replace(b'"schema_version": 1', b'"schema_version": 99'),
}
# Damage that leaves the meaning: a program may read such a file as before.
HARMLESS = {"null", "not a number", "huge exponents", "lone surrogates", "newer", "a huge number"}


@pytest.fixture
def tree(tmp_path: Path, small_code: Path) -> Path:
    """A submission of one set of training, with everything that belongs to it."""
    assert small_code.is_dir()
    results = Results(tmp_path / "results")
    results.datagen()
    results.training_set()
    system = tmp_path / "system.yaml"
    system.write_text(SYSTEM, encoding="utf-8")
    chosen = plan_submission(
        tmp_path / "results",
        division="CLOSED",
        organisation="acme",
        system="box",
        system_file=system,
    )
    return package(chosen, tmp_path / "acme")


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


def everything_told(document: ReportDocument) -> str:
    """All words that a reader of the report may meet; every renderer runs."""
    words = [render(document), as_csv(document), str(as_json(document)), str(sections_of(document))]
    for one in document.sets:
        for run in one.runs:
            words += run.details().problems
    return "\n".join(words)


def names_told(document: ReportDocument) -> str:
    """What the report says is wrong; every renderer runs."""
    everything_told(document)
    words = [*document.problems]
    for one in document.sets:
        for run in one.runs:
            words += [run.reason, *run.details().problems]
    words += [word for run in document.others for word in (run.reason, *run.details().problems)]
    return "\n".join(words)


def files_below(tree: Path) -> list[Path]:
    """Every file that some reader takes in, of one run of each command, and of the tree itself."""
    runs = sorted(p.parent for p in tree.rglob("run/*/summary.json"))
    others = {run.name for run in runs[:-1]}
    kept = [p for p in sorted(tree.rglob("*")) if p.is_file() and "code-images" not in p.parts]
    kept = [p for p in kept if p.suffix in {".json", ".yaml"} and p.name != "results.json"]
    return [p for p in kept if not others & set(p.parts)]


@pytest.mark.parametrize("damage", DAMAGE)
def test_any_file_may_be_damaged(tree: Path, damage: str) -> None:
    """Whatever file is damaged in whatever way, each reader goes on, and names the file."""
    for path in files_below(tree):
        whole = path.read_bytes()
        broken = DAMAGE[damage](whole)
        if broken == whole:
            continue
        path.write_bytes(broken)
        told = names_told(report_of(tree))
        judgement = validate(tree)
        scan(tree)
        path.write_bytes(whole)
        told += " ".join(
            f"{placed.place} {placed.finding.what}"
            for placed in judgement.findings
            if placed.finding.rule != "S.2"  # the checksums tell every change
        )
        assert path.name in told or damage in HARMLESS, path
        assert not judgement.is_valid, path


KINDS: dict[str, tuple[tuple[str, ...], dict[str, object], dict[str, object]]] = {
    "checkpointing": (
        ("checkpointing", "llama3-8b"),
        {
            "metric": {"save_checkpoint_io_mean_GB_per_second": 40.0},
            "save": {"checkpoints": 10},
            "checkpoints": [{"phase": "save", "number": 1, "duration_seconds": 40.0}],
        },
        {"hostname": "node01", "checkpoints": [{"phase": "save", "seconds": 1.0, "bytes": 40}]},
    ),
    "kv_cache": (
        ("kv_cache", "run"),
        {
            "metric": {"read_gbps": 40.0, "series": {"read_bytes": [1, 2], "written_bytes": [1]}},
            "search": [{"users": 1, "met": True, "restore_p95_ms": 40.0}],
        },
        {"hostname": "node01", "phases": [{"name": "score", "record": {"read_bytes": 1}}]},
    ),
    "vector_database": (
        ("vector_database", "run"),
        {
            "throughput_qps": 40.0,
            "recall": 0.95,
            "scored_point": 1,
            "points": [{"clients": 1, "qps": 40.0, "latency_ms": {"p50": 1.0}}],
        },
        {"hostname": "node01", "points": [{"queries": 1, "window_seconds": 1.0}]},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind(tmp_path: Path, kind: str) -> None:
    """Damaged summaries and outputs of ranks of the other kinds are named, too."""
    segments, summary, output = KINDS[kind]
    run = Results(tmp_path).add(kind, segments, summary=summary, model="m")
    (run / "0_output.json").write_bytes(encode(output))
    assert names_told(report_of(tmp_path)).strip() == ""
    for name in ("summary.json", "0_output.json"):
        whole = (run / name).read_bytes()
        for damage, spoil in DAMAGE.items():
            if spoil(whole) == whole:
                continue
            (run / name).write_bytes(spoil(whole))
            assert name in names_told(report_of(tmp_path)) or damage in {
                *HARMLESS, "wrong types", "objects everywhere",
            }, damage  # fmt: skip
        (run / name).write_bytes(whole)


def test_undamaged(tree: Path) -> None:
    """The tree of these tests is whole: only the PDF of its system is missing."""
    found = {placed.finding.rule for placed in validate(tree).findings}
    assert found == {"2.1.7"}


def test_links_out_of_the_tree_are_not_followed(tree: Path, tmp_path: Path) -> None:
    """A file or directory that is a link to elsewhere is not read, and named."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = max(tree.rglob("training_2026*_metadata.json")).parent
    secret = elsewhere / "summary.json"
    (run / "summary.json").rename(secret)
    (run / "summary.json").symlink_to(secret)
    other = run.parent / "20260111_000000"
    (elsewhere / "run").mkdir()
    (elsewhere / "run" / "summary.json").write_text('{"metric": {"secret": 1}}', encoding="utf-8")
    other.symlink_to(elsewhere / "run")
    document = report_of(tree)
    assert "there is no summary.json" in everything_told(document)
    assert str(other) not in str(as_json(document))
    linked = [p.place for p in validate(tree).findings if p.finding.rule == "S.3"]
    assert {place.rpartition("/")[2] for place in linked} == {"summary.json", "20260111_000000"}


def test_special_files(tree: Path) -> None:
    """A named pipe where a summary should be is not waited for."""
    summary = next(tree.rglob("run/*/summary.json"))
    summary.unlink()
    os.mkfifo(summary)
    assert "there is no summary.json" in everything_told(report_of(tree))
    assert not validate(tree).is_valid


def test_broken_runs_keep_their_place(tmp_path: Path) -> None:
    """A set with a run that cannot be read has the others' figures, and shows that one broken."""
    results = Results(tmp_path)
    runs = results.training_set()
    (runs[3] / "summary.json").write_text('{"metric": 7}', encoding="utf-8")
    (one,) = report_of(tmp_path).sets
    assert [run.status for run in one.runs] == ["complete"] * 3 + ["broken"] + ["complete"] * 2
    assert str(runs[3] / "summary.json") in one.runs[3].reason
    assert len(one.measured) == 4
    assert [f.rule for f in one.findings] == ["2.1.17"]


def test_hostile_summary_numbers(tmp_path: Path) -> None:
    """Figures that are no numbers are left out, and never become nan in a report."""
    results = Results(tmp_path)
    path = results.add(summary=training_summary())
    text = (path / "summary.json").read_text(encoding="utf-8")
    (path / "summary.json").write_text(text.replace("95.0", "1e999"), encoding="utf-8")
    (one,) = report_of(tmp_path).sets
    assert [metric.name for metric in one.headline] == [
        "train_throughput_samples_per_second",
        "train_io_MiB_per_second",
    ]


def test_errors_are_of_ours(tmp_path: Path) -> None:
    """Nothing that may be submitted is an error with words, not a traceback."""
    (tmp_path / "training").mkdir()
    with pytest.raises(MlpstorageError, match="no set in"):
        plan_submission(tmp_path, division="CLOSED", organisation="a", system="b")
