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
from mlpstorage.store.codec import encode, read_json, read_metadata
from mlpstorage.store.layout import METADATA_SUFFIX
from mlpstorage.store.runs import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlpstorage.core.measures import Measure
    from mlpstorage.core.rules import Issue, Verdict
    from mlpstorage.store.codec import Metadata

# How many earlier runs are looked at for one of the same plan.
_LOOKED_AT = 50
_HEADLINES = 3


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
        *_verdict(ending),
        *_headlines(ending, before),
        *_limits(ending.summary.get("bottleneck")),
        *_warnings(ending.metadata.warnings),
        Row("files", str(ending.directory)),
        *(Row("next" if not number else "", text) for number, text in enumerate(_next(ending))),
    ]
    return Section("in short", rows=tuple(rows))


def _verdict(ending: Ending) -> Iterator[Row]:
    verdict = ending.verdict
    if verdict is None:
        yield Row("status", "interrupted, and can go on" if ending.stopped else "complete")
        return
    worst = [issue for issue in verdict.issues if issue.category is verdict.category]
    worst.sort(key=lambda issue: issue.rule != INCOMPLETE)  # what the user did explains the rest
    note = f"{worst[0].rule}: {worst[0].what}" if worst else ""
    more = f", and {len(worst) - 1} more" if len(worst) > 1 else ""
    interrupted = " (interrupted)" if ending.stopped else ""
    yield Row("verdict", f"{verdict.category.name}{interrupted}", f"{note}{more}")


def _headlines(ending: Ending, before: Mapping[str, Any] | None) -> Iterator[Row]:
    """The first figures, each with the range of its parts, and the change since last time."""
    comparer = comparer_of(ending.metadata.benchmark_type)
    if comparer is None:
        return
    earlier = {m.name: m for m in comparer.measures_of(before)} if before else {}
    for measure in comparer.measures_of(ending.summary)[:_HEADLINES]:
        told = [_range(measure), _change(measure, earlier.get(measure.name))]
        note = "; ".join(text for text in told if text)
        yield Row(measure.label, f"{_figure(measure.value)} {measure.unit}".rstrip(), note)


def _range(measure: Measure) -> str:
    if len(measure.samples) < 2:  # noqa: PLR2004 (a range needs two values)
        return ""
    least, most = _figure(min(measure.samples)), _figure(max(measure.samples))
    return f"{least} to {most} over {len(measure.samples)} {measure.sampled}"


def _change(measure: Measure, before: Measure | None) -> str:
    """Against the previous run; better or worse only where the ranges of both lie apart."""
    if before is None or not before.value:
        return ""
    percent = 100 * (measure.value / before.value - 1)
    told = f"previous run {_figure(before.value)}, {percent:+.1f} %"
    if min(len(measure.samples), len(before.samples)) < 2:  # noqa: PLR2004 (as above)
        return told
    lower, upper = sorted((measure, before), key=lambda one: one.value)
    if max(lower.samples) >= min(upper.samples):
        return f"{told}, within the ranges"
    is_better = (percent > 0) is (measure.better is Better.HIGHER)
    return f"{told}, {'better' if is_better else 'worse'}"


def _figure(value: float) -> str:
    """Four digits, and whole numbers as they are.

    >>> _figure(12.6912), _figure(2048.0), _figure(0.001234)
    ('12.69', '2048', '0.001234')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 (four digits)


def _limits(found: Any) -> Iterator[Row]:  # noqa: ANN401 (of a summary)
    """What limited the run; where it has several phases, each of them."""
    if not isinstance(found, dict):
        return
    if "verdict" in found:
        yield Row("limited by", str(found["verdict"]))
        return
    phases = {
        k: told["verdict"]
        for k, told in found.items()
        if isinstance(told, dict) and "verdict" in told
    }
    if phases:
        yield Row(
            "limited by", ", ".join(f"{phase}: {verdict}" for phase, verdict in phases.items())
        )


def _warnings(warnings: Sequence[str]) -> Iterator[Row]:
    others = [text for text in warnings if " by rule " not in text]  # those are in the verdict
    if others:
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        yield Row("warnings", f"{others[0]}{more}")


def _next(ending: Ending) -> list[str]:
    """What a user can do now."""
    results = shlex.quote(str(ending.results_dir))
    if ending.stopped and ending.verdict is None:
        run = ending.metadata.run_id
        return [f"go on where it stopped: mlpstorage resume {run} --results-dir {results}"]
    if ending.stopped:
        return [f"run it again, to its end: {ending.metadata.executed_command}"]
    if ending.verdict is None:
        return ["the data are complete: run the benchmark on them"]
    invalid = _first(ending.verdict, Category.INVALID)
    if invalid is not None:
        return [invalid.fix or "see the verdict above", f"what a rule asks: {_explain(invalid)}"]
    report = f"mlpstorage reports reportgen --results-dir {results}"
    opened = _first(ending.verdict, Category.OPEN)
    if opened is not None and opened.fix:
        return [report, f"for CLOSED: {opened.fix}"]
    return [report]


def _first(verdict: Verdict, category: Category) -> Issue | None:
    return next((issue for issue in verdict.issues if issue.category is category), None)


def _explain(issue: Issue) -> str:
    return f"mlpstorage explain {issue.rule}"


def previous(directory: Path, metadata: Metadata) -> Mapping[str, Any] | None:
    """The summary of the latest earlier run of the same plan that is complete; None without one.

    The same plan is the same benchmark, workload, ranks and engine, whatever the seed. An earlier
    run that cannot be read is not the user's concern now: it is left out.
    """
    try:
        earlier = sorted(
            (one for one in directory.parent.iterdir() if one.name < directory.name), reverse=True
        )
    except OSError:
        return None
    for one in earlier[:_LOOKED_AT]:
        found = _summary_of_same_plan(one, metadata)
        if found is not None:
            return found
    return None


def _summary_of_same_plan(directory: Path, metadata: Metadata) -> Mapping[str, Any] | None:
    try:
        record = next(directory.glob(f"*{METADATA_SUFFIX}"), None)
        other = read_metadata(record) if record is not None else None
        if other is None or other.status is not Status.COMPLETE or _plan(other) != _plan(metadata):
            return None
        summary = read_json(directory / SUMMARY)
    except (OSError, MlpstorageError):
        return None
    return summary if isinstance(summary, dict) else None


def _plan(metadata: Metadata) -> tuple[Any, ...]:
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
