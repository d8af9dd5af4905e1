"""The last block on the terminal: what came of a run, and what to do about it, in a few rows.

Verdict, headline with its range and against the previous run of the same plan, what limited it,
warnings, where the files are, and what to do next.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.measures import Better
from mlpstorage.core.rules import INCOMPLETE, Category
from mlpstorage.core.run import Status
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.comparing import comparer_of
from mlpstorage.kinds.repetition import WARM_UP
from mlpstorage.report.limits import limits_of, together, words
from mlpstorage.store.codec import encode, read_json, read_metadata
from mlpstorage.store.layout import METADATA_SUFFIX
from mlpstorage.store.runs import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlpstorage.core.measures import Measure
    from mlpstorage.core.rules import Issue, Verdict
    from mlpstorage.report.limits import SharedLimit
    from mlpstorage.store.codec import Metadata

# How many earlier runs are looked at for one of the same plan.
LOOKED_AT = 50
_HEADLINES = 3
TITLE = "in short"
_WARNINGS, _NEXT = "warnings", "next"


@dataclass(frozen=True)
class Ending:
    """What is known at the end of a run; `summary` as it is stored."""

    metadata: Metadata
    directory: Path
    results_dir: Path
    summary: Mapping[str, Any]
    verdict: Verdict | None
    stopped: bool


def conclude(ending: Ending) -> Section:
    """The last block of a run."""
    before = previous(ending.directory, ending.metadata)
    rows = [
        *verdict_rows(ending.verdict, stopped=ending.stopped),
        *_headlines(ending, before),
        *limit_rows(together([limits_of(ending.summary.get("bottleneck"))])),
        *warning_rows(ending.metadata.warnings),
        Row("files", str(ending.directory)),
        *next_rows(_next(ending)),
    ]
    return Section(TITLE, rows=tuple(rows))


def brief(sections: Sequence[Section], title: str) -> tuple[Section, ...]:
    """What a run of a set shows of its result: its last block without what the set's block says."""
    if not sections or sections[-1].title != TITLE:
        return tuple(sections)
    rows = sections[-1].rows
    until = next((n for n, row in enumerate(rows) if row.label == _NEXT), len(rows))
    kept = tuple(row for row in rows[:until] if row.label != _WARNINGS)
    return (Section(title, rows=kept, lines=("",)),)  # what follows is printed by itself


def verdict_rows(verdict: Verdict | None, *, stopped: bool) -> Iterator[Row]:
    """The verdict with its first reason; how it ended, where it is not judged."""
    if verdict is None:
        yield Row("status", "interrupted" if stopped else "complete")
        return
    worst = [issue for issue in verdict.issues if issue.category is verdict.category]
    worst.sort(key=lambda issue: issue.rule != INCOMPLETE)  # what the user did explains the rest
    note = f"{worst[0].rule}: {worst[0].what}" if worst else ""
    more = f", and {len(worst) - 1} more" if len(worst) > 1 else ""
    interrupted = " (interrupted)" if stopped else ""
    yield Row("verdict", f"{verdict.category.name}{interrupted}", f"{note}{more}")


def _headlines(ending: Ending, before: Mapping[str, Any] | None) -> Iterator[Row]:
    comparer = comparer_of(ending.metadata.benchmark_type)
    if comparer is not None:
        earlier = comparer.measures_of(before) if before else ()
        yield from headline_rows(comparer.measures_of(ending.summary), earlier, "previous run")


def headline_rows(
    measures: Sequence[Measure], earlier: Sequence[Measure], called: str
) -> Iterator[Row]:
    """The first figures, each with the range of its parts, and the change since last time.

    `called` is what `earlier` is of, such as "previous run".
    """
    known = {measure.name: measure for measure in earlier}
    for measure in measures[:_HEADLINES]:
        told = [_range(measure), _change(measure, known.get(measure.name), called)]
        note = "; ".join(text for text in told if text)
        yield Row(measure.label, f"{figure(measure.value)} {measure.unit}".rstrip(), note)


def _range(measure: Measure) -> str:
    if len(measure.samples) < 2:  # noqa: PLR2004 (a range needs two values)
        return ""
    least, most = figure(min(measure.samples)), figure(max(measure.samples))
    return f"{least} to {most} over {len(measure.samples)} {measure.sampled}"


def _change(measure: Measure, before: Measure | None, called: str) -> str:
    """Against what was before; better or worse only where the ranges of both lie apart."""
    if before is None or not before.value:
        return ""
    percent = 100 * (measure.value / before.value - 1)
    told = f"{called} {figure(before.value)}, {percent:+.1f} %"
    if min(len(measure.samples), len(before.samples)) < 2:  # noqa: PLR2004 (as above)
        return told
    lower, upper = sorted((measure, before), key=lambda one: one.value)
    if max(lower.samples) >= min(upper.samples):
        return f"{told}, within the ranges"
    is_better = (percent > 0) is (measure.better is Better.HIGHER)
    return f"{told}, {'better' if is_better else 'worse'}"


def figure(value: float) -> str:
    """Four digits, and whole numbers as they are.

    >>> figure(12.6912), figure(2048.0), figure(0.001234)
    ('12.69', '2048', '0.001234')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 (four digits)


def limit_rows(limits: Sequence[SharedLimit]) -> Iterator[Row]:
    """What limited the run or set; where it has several phases, each of them."""
    if limits:
        yield Row("limited by", words(limits))


def warning_rows(warnings: Sequence[str]) -> Iterator[Row]:
    """The first warning that is not in the verdict, and how many others there are."""
    others = [text for text in warnings if " by rule " not in text]
    if others:
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        yield Row(_WARNINGS, f"{others[0]}{more}")


def next_rows(texts: Sequence[str]) -> Iterator[Row]:
    """What a user can do now."""
    yield from (Row("" if number else _NEXT, text) for number, text in enumerate(texts))


def _next(ending: Ending) -> list[str]:
    results = shlex.quote(str(ending.results_dir))
    metadata = ending.metadata
    if ending.stopped and metadata.set_id:
        return [f"go on with the set: mlpstorage resume {metadata.set_id} --results-dir {results}"]
    if ending.stopped and ending.verdict is None:
        run = metadata.run_id
        goes_on = ending.summary.get("goes_on", True)
        what = "go on where it stopped" if goes_on else "begin it anew"
        return [f"{what}: mlpstorage resume {run} --results-dir {results}"]
    if ending.stopped:
        return [f"run it again, to its end: {metadata.executed_command}"]
    if ending.verdict is None:
        return ["the data are complete: run the benchmark on them"]
    return advice(ending.verdict, ending.results_dir)


def advice(verdict: Verdict, results_dir: Path) -> list[str]:
    """What the verdict asks for, or the report of the results."""
    invalid = _first(verdict, Category.INVALID)
    if invalid is not None:
        return [invalid.fix or "see the verdict above", f"what a rule asks: {_explain(invalid)}"]
    report = f"mlpstorage reports reportgen --results-dir {shlex.quote(str(results_dir))}"
    opened = _first(verdict, Category.OPEN)
    if opened is not None and opened.fix:
        return [report, f"for CLOSED: {opened.fix}"]
    return [report]


def _first(verdict: Verdict, category: Category) -> Issue | None:
    return next((issue for issue in verdict.issues if issue.category is category), None)


def _explain(issue: Issue) -> str:
    return f"mlpstorage explain {issue.rule}"


def previous(directory: Path, metadata: Metadata) -> Mapping[str, Any] | None:
    """The summary of the latest earlier run of the same plan that is complete; None without one.

    The same plan is the same benchmark, workload, ranks and engine, whatever the seed. The other
    runs of the run's own set are left out, for what they have in common is told with the set, and
    so are warm-ups. One that cannot be read is not the user's concern now.
    """
    try:
        earlier = sorted(
            (one for one in directory.parent.iterdir() if one.name < directory.name), reverse=True
        )
    except OSError:
        return None
    for one in earlier[:LOOKED_AT]:
        found = _summary_of_same_plan(one, metadata)
        if found is not None:
            return found
    return None


def _summary_of_same_plan(directory: Path, metadata: Metadata) -> Mapping[str, Any] | None:
    try:
        record = next(directory.glob(f"*{METADATA_SUFFIX}"), None)
        other = read_metadata(record) if record is not None else None
        if other is None or other.status is not Status.COMPLETE or other.set_role == WARM_UP:
            return None
        of_one_set = bool(metadata.set_id) and other.set_id == metadata.set_id
        if of_one_set or plan_of(other) != plan_of(metadata):
            return None
        summary = read_json(directory / SUMMARY)
    except (OSError, MlpstorageError):
        return None
    return summary if isinstance(summary, dict) else None


def plan_of(metadata: Metadata) -> tuple[Any, ...]:
    """What two runs of the same plan have in common, whatever their seeds."""
    parameters = dict(metadata.parameters)
    train = parameters.get("train")
    if isinstance(train, dict):
        parameters["train"] = {name: value for name, value in train.items() if name != "seed"}
    return (
        metadata.benchmark_type,
        metadata.command,
        metadata.model,
        metadata.accelerator,
        metadata.num_processes,
        metadata.engine,
        encode(parameters),  # as it is stored: there, a tuple is a list
    )
