"""The last block of a set: verdict, means with their ranges, limits, and one thing to do next."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mlpstorage.core.rules import Category, Verdict, incomplete
from mlpstorage.core.run import Status
from mlpstorage.kinds.set_conclusion import SetEnding, conclude_set, verdict_of_set, view_of
from mlpstorage.report.sets import document_of, sections_of
from mlpstorage.report.terminal import render
from mlpstorage.store.codec import write_json
from mlpstorage.store.layout import RunDirectory
from mlpstorage.store.sets import SetMember, SetRecord, write_set
from results_made import Results, training_summary

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = {"train": {"epochs": 5}, "reader": {"read_threads": 4}}


def a_set(results: Results, *rates: float, roles: int = 0) -> SetEnding:
    """A set of a warm-up and runs of these rates, on disk; `roles` is how many it was to have."""
    root = results.root
    directory = RunDirectory.create(
        root, ("training", "unet3d", "set"), results.now.astimezone(), command="set"
    )
    name = f"training_set_unet3d_{directory.timestamp}"
    members = []
    for number, rate in enumerate((1.0, *rates)):
        summary = {
            **training_summary(rate), "bottleneck": {"verdict": "mixed" if number % 2 else "slow"}
        }  # fmt: skip
        role = "measured" if number else "warm-up"
        path = results.add(
            summary=summary, set_id=name, set_role=role, set_place=number + 1, seed=number,
            parameters=PARAMETERS, warnings=("the clocks differ",),
        )  # fmt: skip
        run = f"training_run_unet3d_{path.name}"
        members.append(
            SetMember(role=role, seed=number, run_id=run, directory=str(path.relative_to(root)))
        )
    members += [SetMember(role="measured") for _ in range(roles - len(members))]
    record = SetRecord(
        set_id=name, benchmark_type="training", model="unet3d", members=tuple(members),
        status=Status.COMPLETE, division="CLOSED",
    )  # fmt: skip
    write_set(directory.set_record, record)
    view = view_of(record, directory.path, root)
    assert view is not None
    write_json(directory.summary, document_of(view))
    return SetEnding(view, record, directory.path, root)


def test_a_whole_set(tmp_path: Path) -> None:
    """Means with the range of the runs, what limited them, where they are, and the report next."""
    text = render((conclude_set(a_set(Results(tmp_path), 40, 41, 40, 41, 40)),))
    assert text.startswith("in short\n  verdict     CLOSED")
    assert "40 to 41 over 5 runs" in text
    assert "mixed in 3 of 5, slow in 2 of 5" in text
    assert "the clocks differ" in text
    assert "and 4 more" not in text
    assert f"mlpstorage reports reportgen --results-dir {tmp_path}" in text
    assert "previous set" not in text


def test_against_the_previous_set_of_the_same_plan(tmp_path: Path) -> None:
    """The change is told, and better or worse only where the ranges of the sets lie apart."""
    results = Results(tmp_path)
    a_set(results, 20, 21, 20, 21, 20)
    slower = conclude_set(a_set(results, 10, 11, 10, 11, 10))
    assert "previous set 20.4, -49.0 %, worse" in render((slower,))
    again = render((conclude_set(a_set(results, 10, 11, 10, 11, 12)),))
    assert "previous set 10.4, +3.8 %, within the ranges" in again


def test_a_set_that_was_broken_off(tmp_path: Path) -> None:
    """One thing to do next, no mean of nothing, and the runs that it was to have."""
    ending = a_set(Results(tmp_path), roles=3)
    cut = Verdict(Category.INVALID, (incomplete("3 runs", "1 of them"),))
    stopped = SetEnding(
        ending.view, ending.record, ending.directory, tmp_path, cut, "mlpstorage resume x"
    )
    names = ("warm-up", "measured 1/2", "measured 2/2")
    ids = (member.run_id for member in ending.record.members)
    parts = [*zip(names, ids, strict=True)]
    shown = (
        *sections_of(ending.view, parts, ending.directory, whole=False), conclude_set(stopped)
    )  # fmt: skip
    text = render(shown)
    assert "set of 3 runs, 1 of them begun" in text
    assert "mean of" not in text
    assert "INVALID (interrupted)" in text
    assert text.count("next") == 1
    assert "go on with it: mlpstorage resume x" in text
    assert "run it again" not in text


def test_one_value_has_no_spread(tmp_path: Path) -> None:
    """A set with one measured run shows its figures without ± and without a range."""
    ending = a_set(Results(tmp_path), 40)
    parts = [("run", member.run_id) for member in ending.record.members]
    text = render(sections_of(ending.view, parts, ending.directory))
    assert "the measured run\n" in text
    assert "±" not in text


def test_what_several_runs_share_is_one_reason(tmp_path: Path) -> None:
    """A finding of all runs counts once, behind those of the set."""
    results = Results(tmp_path)
    for number, value in enumerate(("1 %", "2 %")):
        issue = {"rule": "3.3.2", "category": "INVALID", "what": "too low", "actual": value}
        results.add(summary=training_summary(), verdict="INVALID", issues=(issue,), set_id="s",
                    set_role="measured", seed=number)  # fmt: skip
    (path,) = {one.parent for one in tmp_path.glob("training/unet3d/run/*")}
    record = SetRecord(
        set_id="s",
        members=tuple(
            SetMember(role="measured", run_id=f"training_run_unet3d_{one.name}")
            for one in path.iterdir()
        ),
    )
    view = view_of(record, tmp_path / "training/unet3d/set/x", tmp_path)
    assert view is not None
    verdict = verdict_of_set(view)
    assert verdict is not None
    assert [issue.rule for issue in verdict.issues] == ["2.1.17", "3.3.2"]
    assert verdict.issues[1].actual == "1 %"
    shutil.rmtree(path)
    assert view_of(record, tmp_path / "training/unet3d/set/x", tmp_path) is None
