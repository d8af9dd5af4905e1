"""The last block of a set: what came of its runs together, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.measures import Better, Measure, all_numbers, entries, number
from mlpstorage.core.rules import Category, Issue, Verdict
from mlpstorage.core.run import Status
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.conclusion import (
    LOOKED_AT,
    TITLE,
    advice,
    headline_rows,
    limit_rows,
    next_rows,
    plan_of,
    verdict_rows,
    warning_rows,
)
from mlpstorage.kinds.repetition import WARM_UP
from mlpstorage.kinds.sets import member_of, set_view
from mlpstorage.report.limits import together
from mlpstorage.store.codec import read_json, read_metadata
from mlpstorage.store.layout import METADATA_SUFFIX
from mlpstorage.store.runs import SUMMARY, read_runs
from mlpstorage.store.sets import read_set, set_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpstorage.report.model import Finding, RunSet, Spread
    from mlpstorage.store.codec import Metadata
    from mlpstorage.store.sets import SetRecord


@dataclass(frozen=True)
class SetEnding:
    """What is known at the end of a set.

    `unfinished` is the verdict of a set that is not whole, and `again` the command that goes on.
    """

    view: RunSet
    record: SetRecord
    directory: Path
    results_dir: Path
    unfinished: Verdict | None = None
    again: str = ""


def view_of(record: SetRecord, directory: Path, results_dir: Path) -> RunSet | None:
    """A set as reports see it; of a place that was tried again, the latest attempt.

    None where no run of it is left.
    """
    kind = results_dir / directory.relative_to(results_dir).parts[0]
    wanted = {member.run_id for member in record.members}
    found = [
        run for run in read_runs(kind).runs if run.set_id == record.set_id and run.run_id in wanted
    ]
    members = [member_of(run) for run in sorted(found, key=lambda run: run.run_id)]
    return set_view(members) if members else None


def conclude_set(ending: SetEnding) -> Section:
    """The last block of a set."""
    view, stopped = ending.view, bool(ending.again)
    verdict = ending.unfinished if stopped else verdict_of_set(view)
    warnings = tuple(dict.fromkeys(text for run in view.runs for text in run.warnings))
    then = [f"go on with it: {ending.again}"] if stopped else _next(verdict, ending.results_dir)
    rows = [
        *verdict_rows(verdict, stopped=stopped),
        *headline_rows(measures_of(view), _previous(ending), "previous set"),
        *limit_rows(together(run.limits for run in view.measured)),
        *warning_rows(warnings),
        Row("files", str(ending.directory)),
        *next_rows(then),
    ]
    return Section(TITLE, rows=tuple(rows))


def _next(verdict: Verdict | None, results_dir: Path) -> list[str]:
    return advice(verdict or Verdict(Category.CLOSED), results_dir)


def verdict_of_set(view: RunSet) -> Verdict | None:
    """The verdict with all that was found: in the set, then in its runs, each once.

    What several runs share is told with the figures of the first.
    """
    if view.verdict is None:
        return None
    found = [*view.findings, *(one for run in view.measured for one in run.findings)]
    first = {(one.rule, one.what, one.parameter): _issue(one) for one in reversed(found)}
    return Verdict(view.verdict, tuple(reversed(first.values())))


def _issue(one: Finding) -> Issue:
    return Issue(one.rule, one.category, one.what, one.parameter, one.expected, one.actual, one.fix)


def measures_of(view: RunSet) -> list[Measure]:
    """The headline of a set as figures with a value of every measured run."""
    return [_measure(spread) for spread in view.headline]


def _measure(spread: Spread) -> Measure:
    better = Better.LOWER if spread.better.value == Better.LOWER.value else Better.HIGHER
    return Measure(
        spread.name, spread.label, spread.unit, better, spread.mean, spread.values, "runs"
    )


def _previous(ending: SetEnding) -> tuple[Measure, ...]:
    """The figures of the latest earlier set of the same plan that is complete; none without one."""
    own = _metadata_of(ending.record, ending.results_dir)
    if own is None:
        return ()
    try:
        beside = sorted(ending.directory.parent.iterdir(), reverse=True)
    except OSError:
        return ()
    earlier = [one for one in beside if one.name < ending.directory.name]
    for one in earlier[:LOOKED_AT]:
        found = _figures_of_same_plan(one, own, ending.results_dir)
        if found:
            return found
    return ()


def _figures_of_same_plan(directory: Path, own: Metadata, results: Path) -> tuple[Measure, ...]:
    """The figures of a set, none where its plan is another or it cannot be read."""
    try:
        record = next((read_set(path) for path in set_records(directory)), None)
        if record is None or record.status is not Status.COMPLETE:
            return ()
        other = _metadata_of(record, results)
        if other is None or plan_of(other) != plan_of(own):
            return ()
        summary = read_json(directory / SUMMARY)
    except (OSError, MlpstorageError):
        return ()
    return tuple(_recorded(summary)) if isinstance(summary, dict) else ()


def _recorded(summary: dict[str, Any]) -> Iterator[Measure]:
    for one in entries(summary, "metrics"):
        name, mean, values = one.get("name"), number(one, "mean"), one.get("values")
        if isinstance(name, str) and mean is not None and isinstance(values, list):
            yield Measure(name, name, "", Better.HIGHER, mean, all_numbers(values), "runs")


def _metadata_of(record: SetRecord, results: Path) -> Metadata | None:
    """The record of the first measured run of a set; None where it cannot be read."""
    begun = (one for one in record.members if one.role != WARM_UP and one.directory)
    member = next(begun, None)
    if member is None:
        return None
    try:
        path = next((results / member.directory).glob(f"*{METADATA_SUFFIX}"), None)
        return None if path is None else read_metadata(path)
    except (OSError, MlpstorageError):
        return None
