"""The last block of a run: verdict, headline, what limited it, and what to do next."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from mlpstorage.core.rules import Category, Issue, Verdict, incomplete
from mlpstorage.core.run import Status
from mlpstorage.core.section import Section
from mlpstorage.kinds.conclusion import Ending, brief, conclude, previous
from mlpstorage.report.terminal import render
from mlpstorage.store.codec import Metadata, write_json, write_metadata

METADATA = Metadata(
    benchmark_type="training",
    command="run",
    model="unet3d",
    run_datetime="20261124_100000",
    num_processes=4,
    status=Status.COMPLETE,
    parameters={"train": {"epochs": 5, "seed": 1}, "reader": {"read_threads": 4}},
    executed_command="mlpstorage training run",
)
SLOW = Issue("3.3.2", Category.INVALID, "too slow", fix="use faster storage")


def summary_of(*rates: float) -> dict[str, Any]:
    """A summary with a throughput of every epoch."""
    return {
        "metric": {
            "train_throughput_samples_per_second": list(rates),
            "train_throughput_mean_samples_per_second": sum(rates) / len(rates),
        },
        "bottleneck": {"verdict": "storage-bound", "explanation": "long"},
    }


def stored(parent: Path, stamp: str, metadata: Metadata, summary: dict[str, Any]) -> Path:
    """A run on disk."""
    directory = parent / stamp
    directory.mkdir(parents=True)
    write_metadata(directory / f"training_{stamp}_metadata.json", metadata)
    write_json(directory / "summary.json", summary)
    return directory


def ending(directory: Path, verdict: Verdict | None, *rates: float, stopped: bool = False) -> str:
    """The block of a run as text."""
    summary = summary_of(*rates)
    found = Ending(METADATA, directory, Path("results"), summary, verdict, stopped=stopped)
    return render((conclude(found),))


def test_headline_has_range_and_change(tmp_path: Path) -> None:
    """Better or worse is said only where the ranges of both runs lie apart."""
    stored(tmp_path, "20261124_090000", METADATA, summary_of(10, 11))
    now = tmp_path / "20261124_100000"
    valid = Verdict(Category.CLOSED)
    assert "10.5 to 12 over 2 epochs; previous run 10.5, +7.1 %, within the ranges" in ending(
        now, valid, 10.5, 12
    )
    assert "previous run 10.5, +100.0 %, better" in ending(now, valid, 20, 22)
    assert "previous run 10.5, -50.0 %, worse" in ending(now, valid, 5, 5.5)


def test_only_the_same_plan_is_the_previous_run(tmp_path: Path) -> None:
    """Other parameters, ranks, failed runs and broken records are passed over; a seed is not."""
    change = msgspec.structs.replace
    good = summary_of(10, 11)
    other_seed = {"train": {"epochs": 5, "seed": 2}, "reader": {"read_threads": 4}}
    stored(tmp_path, "20261124_010000", change(METADATA, parameters=other_seed), good)
    other = {"train": {"epochs": 5}, "reader": {"read_threads": 8}}
    stored(tmp_path, "20261124_020000", change(METADATA, parameters=other), summary_of(1))
    stored(tmp_path, "20261124_030000", change(METADATA, num_processes=8), summary_of(2))
    stored(tmp_path, "20261124_040000", change(METADATA, status=Status.INTERRUPTED), summary_of(3))
    broken = stored(tmp_path, "20261124_050000", METADATA, summary_of(4))
    (broken / "summary.json").write_text("{")
    (tmp_path / "notes").mkdir()
    stored(tmp_path, "20261124_110000", METADATA, summary_of(5))  # a later one
    assert previous(tmp_path / "20261124_100000", METADATA) == good
    assert previous(tmp_path / "nowhere" / "20261124_100000", METADATA) is None


def test_what_to_do_next_depends_on_the_end(tmp_path: Path) -> None:
    """INVALID gives its fix and the rule, OPEN what CLOSED needs, a stopped run its command."""
    now = tmp_path / "20261124_100000"
    invalid = ending(now, Verdict(Category.INVALID, (SLOW,)), 1)
    assert "INVALID  3.3.2: too slow" in invalid
    assert "use faster storage" in invalid
    assert "mlpstorage explain 3.3.2" in invalid
    opened = dataclasses.replace(SLOW, category=Category.OPEN)
    assert "for CLOSED: use faster storage" in ending(now, Verdict(Category.OPEN, (opened,)), 1)
    assert "mlpstorage reports reportgen" in ending(now, Verdict(Category.CLOSED), 1)
    cut = Verdict(Category.INVALID, (SLOW, incomplete("5 epochs", "epoch 2/5")))
    stopped = ending(now, cut, 1, stopped=True)
    assert "INVALID (interrupted)  run.incomplete: the run was interrupted" in stopped
    assert "run it again, to its end: mlpstorage training run" in stopped
    assert "mlpstorage resume" in ending(now, None, 1, stopped=True)
    assert str(now) in stopped


def test_phases_of_a_run_have_limits_of_their_own(tmp_path: Path) -> None:
    """Where writing and reading were limited by different things, both are named."""
    summary = {"bottleneck": {"save": {"verdict": "storage-bound"}, "load": {"verdict": "mixed"}}}
    found = Ending(METADATA, tmp_path, tmp_path, summary, Verdict(Category.CLOSED), stopped=False)
    assert "writing: storage-bound, reading: mixed" in render((conclude(found),))


def test_runs_of_a_set_point_to_the_set(tmp_path: Path) -> None:
    """A run of a set that was stopped has one thing to do next, and that is the set's."""
    member = msgspec.structs.replace(METADATA, set_id="set-1", set_role="measured")
    cut = Verdict(Category.INVALID, (incomplete("5 epochs", "epoch 2/5"),))
    ending = Ending(member, tmp_path / "b", tmp_path, summary_of(1), cut, stopped=True)
    text = render((conclude(ending),))
    assert f"go on with the set: mlpstorage resume set-1 --results-dir {tmp_path}" in text
    assert "run it again" not in text


def test_the_previous_run_is_none_of_the_same_set(tmp_path: Path) -> None:
    """A run is not held against another of its set, nor against any warm-up."""
    change = msgspec.structs.replace
    member = change(METADATA, set_id="set-2", set_role="measured")
    stored(tmp_path, "20261124_010000", change(member, set_id="set-1"), summary_of(7))
    warm_up = change(member, set_id="set-1", set_role="warm-up")
    stored(tmp_path, "20261124_020000", warm_up, summary_of(8))
    stored(tmp_path, "20261124_030000", member, summary_of(9))
    assert previous(tmp_path / "20261124_100000", member) == summary_of(7)


def test_a_run_of_a_set_is_told_briefly(tmp_path: Path) -> None:
    """Verdict, headline, limit and directory are kept; warnings and what to do next are not."""
    warned = msgspec.structs.replace(METADATA, warnings=("the clocks differ",))
    verdict = Verdict(Category.INVALID, (SLOW,))
    ending = Ending(warned, tmp_path / "b", tmp_path, summary_of(10, 12), verdict, stopped=False)
    whole = (Section("result", lines=("long",)), conclude(ending))
    assert "the clocks differ" in render(whole)
    text = render(brief(whole, "run 2 of 6: measured 1/5"))
    assert text.startswith("run 2 of 6: measured 1/5\n  verdict")
    assert "10 to 12 over 2 epochs" in text
    assert "storage-bound" in text
    assert str(tmp_path / "b") in text
    for absent in ("long", "clocks", "next", "explain"):
        assert absent not in text
    assert brief(whole[:1], "run 2") == whole[:1]
