from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.rules import Category
from mlpstorage.core.run import Status
from mlpstorage.kinds.sets import report_of
from mlpstorage.report.files import COLUMNS, as_csv, as_json, write_files
from mlpstorage.report.table import sections_of
from mlpstorage.report.terminal import render
from results_made import Results, training_summary

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(text: str) -> list[dict[str, str]]:
    """The lines of a CSV text."""
    return list(csv.DictReader(io.StringIO(text)))


def test_a_set_with_its_figures(tmp_path: Path) -> None:
    """The mean is over the measured runs, without the warm-up, and data generation never counts."""
    results = Results(tmp_path)
    results.datagen()
    results.training_set()
    document = report_of(tmp_path)
    (one,) = document.sets
    assert one.verdict is Category.CLOSED
    assert [run.role.value for run in one.runs] == ["warm-up", *["measured"] * 5]
    throughput = next(m for m in one.metrics if m.name == "train_throughput_samples_per_second")
    assert throughput.values == (40.1, 40.2, 40.3, 40.4, 40.5)
    assert abs(throughput.mean - 40.3) < 1e-9
    assert [run.command for run in document.others] == ["datagen"]


def test_the_files_agree(tmp_path: Path) -> None:
    """JSON and CSV hold the same figures, and are what was written."""
    results = Results(tmp_path / "results")
    results.training_set()
    document = report_of(tmp_path / "results")
    json_path, csv_path = write_files(document, tmp_path)
    written = json.loads(json_path.read_text(encoding="utf-8"))
    assert written == as_json(document)
    rows = rows_of(csv_path.read_text(encoding="utf-8"))
    assert tuple(rows[0]) == COLUMNS
    (one,) = written["sets"]
    of_set = [row for row in rows if row["record"] == "set"]
    assert {row["metric"]: float(row["value"]) for row in of_set} == {
        name: metric["mean"] for name, metric in one["metrics"].items()
    }
    runs = {row["run_id"] for row in rows if row["record"] == "run"}
    assert runs == {run["run_id"] for run in one["runs"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results", "results.csv", "results.json",
    ]  # fmt: skip


def test_runs_that_did_not_end(tmp_path: Path) -> None:
    """A failed and a killed run are shown with what happened, and have no figures."""
    results = Results(tmp_path)
    results.add(status=Status.FAILED, verdict=None, error={"what": "no space left"}, exit_code=6)
    results.add(status=Status.STARTED, verdict=None, end_time="", launcher_boot_id="earlier",
                launcher_host=__import__("os").uname().nodename)  # fmt: skip
    document = report_of(tmp_path)
    assert [run.status for one in document.sets for run in one.runs] == ["failed", "killed"]
    text = render(sections_of(document))
    assert "no space left" in text
    (killed,) = [row for row in rows_of(as_csv(document)) if row["status"] == "killed"]
    assert killed["metric"] == ""


def test_formulas_are_no_formulas(tmp_path: Path) -> None:
    """A name that a spreadsheet would compute begins with an apostrophe."""
    results = Results(tmp_path)
    results.add(summary=training_summary(), run_id="=HYPERLINK(1)", model="@x")
    for row in rows_of(as_csv(report_of(tmp_path))):
        assert row["model"] == "'@x"
        assert row["run_id"] in {"", "'=HYPERLINK(1)"}


def test_setups_are_kept_apart(tmp_path: Path) -> None:
    """Runs of one directory with other accelerators, ranks or parameters are other sets."""
    results = Results(tmp_path)
    results.add(summary=training_summary())
    results.add(summary=training_summary(), accelerator="a100")
    results.add(summary=training_summary(), num_processes=2)
    results.add(summary=training_summary(), parameters={"reader": {"read_threads": 9}})
    results.add(summary=training_summary())
    for _ in range(4):
        results.add(summary=training_summary())
    assert sorted(len(one.runs) for one in report_of(tmp_path).sets) == [1, 1, 1, 6]


def test_sittings(tmp_path: Path) -> None:
    """Six runs by hand are a warm-up and five; one more, a day later, is a single run."""
    results = Results(tmp_path)
    for number in range(6):
        results.add(summary=training_summary(), pause=60 if number < 5 else 86_400)
    results.add(summary=training_summary())
    first, second = report_of(tmp_path).sets
    assert [run.role.value for run in first.runs] == ["warm-up", *["measured"] * 5]
    assert first.verdict is Category.CLOSED
    assert len(second.runs) == 1
    assert first.not_a_set == ""
    assert second.not_a_set.startswith("not a set: a result needs a warm-up and 5 measured runs")


def test_a_few_runs_by_hand_are_no_set(tmp_path: Path) -> None:
    """Three runs with one seed and one failure are single runs, each judged, none accused."""
    results = Results(tmp_path)
    alike: dict[str, Any] = {"parameters": {"train": {"seed": 7}}}
    results.add(summary=training_summary(40.0), **alike)
    results.add(summary=training_summary(20.0), verdict="OPEN", pause=1800, **alike)
    results.add(status=Status.FAILED, verdict=None, error={"what": "no space"}, **alike)
    document = report_of(tmp_path)
    assert [one.state for one in document.sets] == ["CLOSED", "OPEN", "failed"]
    assert not any(one.findings or one.unjudged for one in document.sets)
    text = render(sections_of(document))
    assert "3 single runs in" in text
    assert text.count("not a set: a result needs") == 3
    assert all(one["not_a_set"] for one in as_json(document)["sets"])


def test_runs_that_a_record_ties_together_are_a_set(tmp_path: Path) -> None:
    """A set of two runs is judged as a set, and so are few runs in the tree of a submission."""
    Results(tmp_path / "own").training_set(runs=2)
    (one,) = report_of(tmp_path / "own").sets
    assert "2.1.17" in {finding.rule for finding in one.findings}
    theirs = Results(tmp_path / "closed/acme/results/box")
    theirs.add(summary=training_summary())
    theirs.add(summary=training_summary())
    (one,) = report_of(tmp_path / "closed").sets
    assert len(one.runs) == 2
    assert "2.1.17" in {finding.rule for finding in one.findings}


def limited(*verdicts: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (any JSON value)
    """Summaries of runs that were limited so."""
    return [
        {**training_summary(), "bottleneck": {"verdict": verdict, "explanation": f"why {verdict}"}}
        for verdict in verdicts
    ]


def test_what_limited_runs_and_sets(tmp_path: Path) -> None:
    """One word where all runs agree, else each with its count; in JSON, CSV and on the terminal."""
    results = Results(tmp_path)
    for summary in limited("storage-bound", "mixed", "storage-bound"):
        results.add(summary=summary, set_id="s", set_role="measured")
    (summary,) = limited("network-bound")
    results.add(summary=summary, set_id="t", set_role="measured")
    document = report_of(tmp_path)
    one, other = as_json(document)["sets"]
    assert one["limited_by"] == "storage-bound in 2 of 3, mixed in 1 of 3"
    assert one["bottleneck"][0] == {
        "phase": None, "verdict": "storage-bound", "explanation": "why storage-bound",
        "runs": 2, "of": 3,
    }  # fmt: skip
    assert [run["limited_by"] for run in one["runs"]] == ["storage-bound", "mixed", "storage-bound"]
    assert other["limited_by"] == "network-bound"
    rows = rows_of(as_csv(document))
    assert {row["limited_by"] for row in rows if row["set_id"] == "s" and row["run_id"]} == {
        "storage-bound", "mixed",
    }  # fmt: skip
    assert list(rows[0])[-1] == "limited_by"
    text = render(sections_of(document))
    assert "storage-bound in 2 of 3 (first run: why storage-bound)" in text
    assert "network-bound (why network-bound)" in text


def test_phases_are_limited_by_themselves(tmp_path: Path) -> None:
    """Writing and reading of checkpoints each have what limited them."""
    bottleneck = {"save": {"verdict": "storage-bound"}, "load": {"verdict": "mixed"}}
    summary = {
        "metric": {"save_checkpoint_duration_mean_seconds": 1.0}, "bottleneck": bottleneck,
        "save": {"checkpoints": 10}, "load": {"checkpoints": 10},
    }  # fmt: skip
    Results(tmp_path).add("checkpointing", ("checkpointing", "m"), summary=summary, model="m")
    (one,) = as_json(report_of(tmp_path))["sets"]
    assert one["limited_by"] == "writing: storage-bound, reading: mixed"
    assert [limit["phase"] for limit in one["bottleneck"]] == ["writing", "reading"]


@pytest.mark.parametrize(
    ("kind", "summary"),
    [
        ("training", training_summary()),
        ("checkpointing", {"metric": {"save_checkpoint_duration_mean_seconds": 1.0}}),
        ("vector_database", {"throughput_qps": 5.0}),
        ("kv_cache", {"metric": {"read_gbps": 2.0}}),
    ],
)
@pytest.mark.parametrize(
    "found", [None, 7, "mixed", [], {"verdict": 7}, {"verdict": "a", "explanation": {}},
              {"save": [], "load": {"verdict": ""}}, {"verdict": "x\ud800"}],
)  # fmt: skip
def test_a_strange_bottleneck_spoils_nothing(
    tmp_path: Path, kind: str, summary: dict[str, Any], found: Any  # noqa: ANN401 (any JSON value)
) -> None:  # fmt: skip
    """Whatever stands where the bottleneck should, the run keeps its figures."""
    path = Results(tmp_path).add(kind, (kind, "run"), model="m")
    (path / "summary.json").write_text(json.dumps({**summary, "bottleneck": found}))
    document = report_of(tmp_path)
    (one,) = document.sets
    assert one.metrics
    assert as_csv(document)
    assert render(sections_of(document))


def test_sets_of_one_workload_are_told_apart(tmp_path: Path) -> None:
    """The settings in which sets differ are named, with the values of each; seeds are none."""
    results = Results(tmp_path)
    for threads in (4, 8):
        parameters = {"reader": {"read_threads": threads, "batch_size": 7}, "train": {}}
        results.add(summary=training_summary(), parameters=parameters)
    results.add(summary=training_summary(), accelerator="a100")
    found = {one.accelerator + str(dict(one.differs)) for one in report_of(tmp_path).sets}
    assert found == {
        "h100{'reader.read_threads': '4'}", "h100{'reader.read_threads': '8'}", "a100{}",
    }  # fmt: skip
    assert "reader.read_threads 8" in render(sections_of(report_of(tmp_path)))


def test_findings_that_runs_share_are_told_once(tmp_path: Path) -> None:
    """Five runs with the same finding have one line of it in the terminal."""
    results = Results(tmp_path)
    issue = {"rule": "3.4.2", "category": "OPEN", "what": "one filesystem", "parameter": "-rd"}
    for number in range(5):
        results.add(summary=training_summary(), verdict="OPEN", issues=(issue,), set_id="s",
                    set_role="measured", seed=number)  # fmt: skip
    text = render(sections_of(report_of(tmp_path)))
    assert text.count("one filesystem") == 1
    assert "5 of 5 runs" in text
