from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

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
    assert sorted(len(one.runs) for one in report_of(tmp_path).sets) == [1, 1, 1, 2]


def test_sittings(tmp_path: Path) -> None:
    """Six runs of one sitting are a warm-up and five; a day later another sitting begins."""
    results = Results(tmp_path)
    for number in range(6):
        results.add(summary=training_summary(), pause=60 if number < 5 else 86_400)
    results.add(summary=training_summary())
    first, second = report_of(tmp_path).sets
    assert [run.role.value for run in first.runs] == ["warm-up", *["measured"] * 5]
    assert first.verdict is Category.CLOSED
    assert len(second.runs) == 1
    assert [finding.rule for finding in second.findings] == ["2.1.17"]


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
