"""`history show` and `resume` of what ended well, failed, was broken off or killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.run import Status
from results_made import Results, training_summary

if TYPE_CHECKING:
    from conftest import Program

ISSUE = {
    "rule": "3.3.2", "category": "INVALID", "what": "too slow", "expected": ">= 90 %",
    "actual": "50 %", "fix": "use faster storage",
}  # fmt: skip
LIMITED = {"verdict": "storage-bound", "explanation": "AU 50 %"}


@pytest.fixture
def results(program: Program) -> Results:
    """The results directory of the program."""
    return Results(program.home / "results")


def test_a_run_that_ended(program: Program, results: Results) -> None:
    """Verdict with its reasons, headline figures, what limited it, duration in words, directory."""
    path = results.add(
        summary={**training_summary(), "bottleneck": LIMITED}, verdict="INVALID", issues=(ISSUE,),
        seconds=754.0391, warnings=("the clocks differ",),
    )  # fmt: skip
    done = program("history", "show", "-i", "1")
    assert done.code == 0, done.err
    for expected in (
        "INVALID by rule 3.3.2: too slow (expected >= 90 %, is 50 %)", "40 samples/s",
        "storage-bound", "the clocks differ", "use faster storage", str(path),
        "mlpstorage explain 3.3.2",
    ):  # fmt: skip
        assert expected in done.out, expected
    (took,) = [line.split(maxsplit=1)[1] for line in done.out.splitlines() if " took " in line]
    assert took == "12 min 34 s"
    document = program("history", "show", "--json").json
    assert document["reasons"][0]["rule"] == "3.3.2"
    assert document["limited_by"] == "storage-bound"
    assert {one["name"]: one["value"] for one in document["figures"]}["au"] == 95.0
    assert document["runtime_seconds"] == 754.0391


def test_a_run_that_failed(program: Program, results: Results) -> None:
    """What failed, why, what mends it, and the command that tries it again."""
    error = {"what": "no space left", "why": "the disk is full", "fix": "make room"}
    results.add(status=Status.FAILED, verdict=None, error=error, exit_code=6)
    done = program("history", "show")
    assert done.code == 0, done.err
    assert "failed  no space left (the disk is full)" in done.out
    assert "make room" in done.out
    run = done.out.split("id ")[1].split()[0]
    assert f"then try again: mlpstorage resume {run}" in done.out
    document = program("history", "show", "--json").json
    assert document["error"] == error
    assert document["next"][0] == "make room"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": Status.INTERRUPTED, "verdict": None}, "go on: mlpstorage resume training_run"),
        ({"status": Status.INTERRUPTED, "verdict": None, "set_id": "set-1"}, "resume set-1 "),
        ({"status": Status.STARTED, "verdict": None, "launcher_boot_id": "earlier",
          "launcher_host": os.uname().nodename}, "go on: mlpstorage resume training_run"),
    ],
)  # fmt: skip
def test_a_run_that_did_not_end(
    program: Program, results: Results, facts: dict[str, Any], expected: str
) -> None:
    """What was broken off or killed is resumed: a run of a set with its set."""
    results.add(**facts)
    done = program("history", "show")
    assert done.code == 0, done.err
    assert expected in done.out
    assert str(results.root) in done.out


def test_a_record_that_cannot_be_read(program: Program, results: Results) -> None:
    """A broken record is shown as such, with the reason."""
    path = results.add(summary=training_summary())
    next(path.glob("*_metadata.json")).write_text("{", encoding="utf-8")
    done = program("history", "show")
    assert done.code == 0, done.err
    assert "broken" in done.out
    assert "_metadata.json" in done.out
    strange = results.add(summary=training_summary(), verification={"category": 7})
    (strange / "summary.json").write_text("[]", encoding="utf-8")
    assert program("history", "show").code == 0
    (strange / "summary.json").write_text("{", encoding="utf-8")
    done = program("history", "show")
    assert done.code == 0
    assert "summary.json" in done.out


def test_resume_without_a_name_leaves_alone_what_failed(program: Program, results: Results) -> None:
    """A failed run, though the latest, is named and not made again; the broken-off one is taken."""
    failed = results.add(
        status=Status.FAILED, verdict=None, error={"what": "no space left"}, exit_code=6
    )
    done = program("resume")
    assert done.code == 3
    assert "was interrupted" in done.err
    assert f"mlpstorage resume training_run_unet3d_{failed.name}" in done.err
    taken = results.add(status=Status.INTERRUPTED, verdict=None, executed_command="other tool")
    results.add(status=Status.FAILED, verdict=None, error={"what": "no space left"}, exit_code=6)
    done = program("resume")
    assert f"resuming training_run_unet3d_{taken.name}, which was interrupted" in done.err
    assert "does not record a benchmark of mlpstorage" in done.err  # and there it ends
