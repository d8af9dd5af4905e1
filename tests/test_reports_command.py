from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from results_made import Results, training_summary

if TYPE_CHECKING:
    from conftest import Program

PUBLISHED = Path(__file__).parents[1].parent / "shared" / "data" / "results-v1.0"
_DIGITS = 1e-6


def report(path: Path) -> Any:  # noqa: ANN401 (a JSON value)
    """A results.json."""
    return json.loads((path / "results.json").read_text(encoding="utf-8"))


def test_published_means(program: Program) -> None:
    """The means and deviations of the published reports are reproduced to six digits."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"no published results at {PUBLISHED}")
    done = program("reports", "reportgen", "-rd", PUBLISHED, "-o", "out")
    assert done.code == 0, done.err
    sets = {
        f"{one['model']}_{one['accelerator']}": one for one in report(program.home / "out")["sets"]
    }
    published = sorted(PUBLISHED.rglob("mlperf_storage_report.json"))
    assert len(published) == len(sets) == 2
    for path in published:
        theirs = json.loads(path.read_text(encoding="utf-8"))["overall"]
        ours = sets[path.parent.name]
        assert ours["verdict"] == "CLOSED"
        assert ours["ranks"] == int(theirs["train_num_accelerators"])
        for name, key in (
            ("train_throughput_samples_per_second", "samples_per_second"),
            ("train_io_MiB_per_second", "MB_per_second"),
        ):
            metric = ours["metrics"][name]
            for ours_value, kind in ((metric["mean"], "mean"), (metric["stdev"], "stdev")):
                expected = theirs[f"train_throughput_{kind}_{key}"]
                assert abs(ours_value - expected) <= _DIGITS * expected
        assert [rule["rule"] for rule in ours["not_recorded"]] == ["3.4.2"]


def test_published_trees_are_judged(program: Program) -> None:
    """The published submission holds its round's rules."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"no published results at {PUBLISHED}")
    done = program("reports", "validate", PUBLISHED, "--json")
    assert done.code == 0, done.out
    assert done.json["edition"] == "1.0"
    assert done.json["findings"] == []


def test_a_directory_of_many_sorts(program: Program) -> None:
    """Real runs, a generation, a broken run and another tool's are one report."""
    assert program.datagen(12).code == 0
    assert program.run(12, "--allow-invalid-params").code == 0
    results = program.home / "results"
    broken = Results(results).add(summary=training_summary())
    next(broken.glob("*_metadata.json")).write_text("{", encoding="utf-8")
    dlio = results / "elsewhere" / "2026-01-10-09-30-00"
    dlio.mkdir(parents=True)
    (dlio / "summary.json").write_text(json.dumps(training_summary()), encoding="utf-8")
    done = program("reports", "reportgen")
    assert done.code == 0, done.err
    assert "1 set of 1 run and 2 single runs" in done.out
    document = report(results)
    origins = {(one["origin"], run["status"]) for one in document["sets"] for run in one["runs"]}
    assert origins == {
        ("mlpstorage", "complete"), ("mlpstorage", "broken"), ("DLIO", "complete"),
    }  # fmt: skip
    assert [run["command"] for run in document["other_runs"]] == ["datagen"]
    (real,) = [one for one in document["sets"] if one["model"] == "tiny"]
    assert real["verdict"] == "INVALID"
    assert real["not_a_set"].startswith("not a set: a result needs a warm-up and 5")
    assert real["limited_by"] == real["runs"][0]["limited_by"]
    assert real["bottleneck"][0]["explanation"].startswith("AU ")
    assert "3.1.2" in {finding["rule"] for finding in real["runs"][0]["findings"]}
    assert real["metrics"]["train_throughput_samples_per_second"]["mean"] > 0
    html = (results / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    with (results / "results.csv").open(encoding="utf-8") as file:
        assert {row["model"] for row in csv.DictReader(file)} >= {"tiny", "unet3d"}


def test_what_was_reported_is_no_run(program: Program) -> None:
    """The report's own files in the results directory change nothing of a second report."""
    Results(program.home / "results").training_set()
    first = program("reports", "reportgen", "--no-html", "--json")
    second = program("reports", "reportgen", "--json")
    assert first.json["sets"] == second.json["sets"]
    assert (program.home / "results" / "report.html").exists()


def test_only_one_kind(program: Program) -> None:
    """--kind leaves the others out, by the names of the commands; an unknown one is refused."""
    results = Results(program.home / "results")
    results.training_set()
    results.add("kv_cache", ("kv_cache", "run"), model="m", summary={"metric": {"read_gbps": 2.0}})
    words = ("reports", "reportgen", "--no-html", "--json", "--kind")
    assert [one["kind"] for one in program(*words, "kvcache").json["sets"]] == ["kv_cache"]
    assert [one["kind"] for one in program(*words, "training").json["sets"]] == ["training"]
    done = program(*words, "kvcach")
    assert done.code == 2
    assert "did you mean kvcache?" in done.err


def test_no_results(program: Program) -> None:
    """A results directory that is not there is an error; an empty one is an empty report."""
    done = program("reports", "reportgen", "-rd", "nowhere")
    assert done.code == 3
    assert "there is no directory nowhere" in done.err
    (program.home / "results").mkdir()
    done = program("reports", "reportgen")
    assert done.code == 0
    assert "no runs that measure anything in" in done.out


def test_from_results_to_a_submission(program: Program) -> None:
    """A set of ours is packaged, with what is left to do, INVALID until that is done."""
    results = Results(program.home / "results")
    results.datagen()
    results.training_set()
    words = ("reports", "package", "--closed", "--organisation", "acme", "--system", "box")
    planned = program(*words, "--what-if", "--json")
    assert planned.code == 0, planned.err
    assert len(planned.json["sets"]) == 1
    assert not (program.home / "submission-acme").exists()
    made = program(*words, "-o", "acme", "--json")
    assert made.code == 0, made.err
    unfilled, diagram = sorted(made.json["to_do"], key=lambda one: one["rule"], reverse=True)
    for name in ("storage.product", "storage.protocol", "storage.usable_capacity_bytes"):
        assert name in unfilled["what"]
    assert str(program.home) not in unfilled["what"]
    assert diagram["place"] == "closed/acme/systems/box.pdf"
    rules = {finding["rule"] for finding in made.json["validation"]["findings"]}
    assert rules == {"2.1.7", "S.1"}
    again = program("reports", "validate", "acme", "-o", "findings.json")
    assert again.code == 1
    assert "closed/acme/systems/box.pdf" in again.out
    (line,) = [line for line in again.out.splitlines() if "storage.product" in line]
    assert line.count("box.yaml") == 1
    told = program(*words, "-o", "other")
    assert told.code == 0, told.err
    assert "still to be done by you" in told.out
    assert "INVALID" not in told.out
    written = json.loads((program.home / "findings.json").read_text(encoding="utf-8"))
    assert written == made.json["validation"] | {"root": written["root"]}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("validate",), "no tree is named"),
        (("validate", "nowhere"), "there is no directory nowhere"),
        (("validate", ".", "--edition", "9"), "--edition '9' is unknown"),
        (("package", "--closed", "--system", "a"), "--organisation is missing"),
        (("package", "--closed", "--organisation", "a/b", "--system", "a"), "'a/b'"),
        (("package", "--organisation", "a", "--system", "a"), "no division"),
    ],
)
def test_words_that_are_refused(program: Program, words: tuple[str, ...], problem: str) -> None:
    """A command that cannot be meant says what is wrong and what mends it."""
    done = program("reports", *words)
    assert done.code in {2, 3}
    assert problem in done.err
    assert "fix:" in done.err


def test_rules(program: Program) -> None:
    """Rules are listed by kind, phase and edition, and explained by number."""
    done = program("rules", "list", "--kind", "training", "--phase", "set", "--edition", "1.0",
                   "--json")  # fmt: skip
    numbers = [rule["rule"] for rule in done.json["rules"]]
    assert "2.1.17" in numbers
    assert "T.5" not in numbers
    text = program("rules", "explain", "2.1.17").out
    assert "six of" in text
    missing = program("rules", "explain", "3.3.22")
    assert missing.code == 3
    assert "did you mean 3.3.2?" in missing.err
    assert program("rules", "list", "--phase", "later").code == 2
