"""A set of runs, for the terminal and as JSON, where it ends."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds
from mlpstorage.report.limits import together, words
from mlpstorage.report.table import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.rules import Issue
    from mlpstorage.report.model import Finding, RunSet, RunView, Spread


def document_of(view: RunSet) -> dict[str, Any]:
    """The set as JSON-ready values."""
    limits = together(run.limits for run in view.measured)
    return {
        "set_id": view.id,
        "kind": view.kind,
        "model": view.model,
        "accelerator": view.accelerator,
        "runs": [
            {
                "run_id": run.run_id,
                "role": run.role.value,
                "counts": run.counts,
                "status": run.status,
                "verdict": run.verdict.name if run.verdict else None,
                "directory": str(run.directory),
                "metrics": {metric.name: metric.value for metric in run.metrics},
                "limited_by": words(together([run.limits])) or None,
            }
            for run in view.runs
        ],
        "metrics": [_spread_document(metric) for metric in view.metrics],
        "limited_by": words(limits) or None,
        "bottleneck": [limit.as_dict() for limit in limits],
        "verdict": _verdict(view),
    }


def _spread_document(metric: Spread) -> dict[str, Any]:
    return {
        **asdict(metric),
        "better": metric.better.value,
        "deviation_percent": _deviation(metric),
    }


def _verdict(view: RunSet) -> dict[str, Any] | None:
    if view.verdict is None:
        return None
    issues = [{**asdict(one), "category": one.category.name} for one in view.findings]
    return {"category": view.verdict.name, "issues": issues}


def sections_of(
    view: RunSet, parts: Sequence[tuple[str, str]], directory: Path, *, whole: bool = True
) -> tuple[Section, ...]:
    """The set for people: its runs, what the measured ones have in common, and the verdict.

    `parts` says what each run is in the set, with its id, which is empty while it is not begun; a
    set that is not `whole` has no verdict of its figures.
    """
    what = " ".join(part for part in (view.kind, view.model, view.accelerator) if part)
    count = len(view.measured)
    begun = sum(bool(run_id) for _, run_id in parts)
    some = "" if begun == len(parts) else f", {begun} of them begun"
    title = "the measured run" if count == 1 else f"mean of {count} measured runs"
    figures = (Section(title, rows=tuple(_row(metric) for metric in view.metrics)),)
    return (
        Section(f"set of {counted(len(parts), 'run')}{some}: {what}", table=_runs(view, parts)),
        *(figures if count else ()),
        *(_judgement(view) if whole else ()),
        Section("record of the set", rows=(Row("id", view.id), Row("directory", str(directory)))),
    )


def _runs(view: RunSet, parts: Sequence[tuple[str, str]]) -> Table:
    headline, names = view.headline, {run_id: name for name, run_id in parts}
    head = ("run", "", "took", "verdict", *(f"{m.label} {m.unit}".rstrip() for m in headline))
    body = tuple(
        (
            run.run_id,
            names.get(run.run_id, run.role.value),
            "–" if run.runtime_seconds is None else format_seconds(run.runtime_seconds),
            run.verdict.name if run.verdict else run.status,
            *(_value(run, metric.name) for metric in headline),
        )
        for run in view.runs
    )
    return Table(head, body)


def _value(run: RunView, name: str) -> str:
    found = next((metric.value for metric in run.metrics if metric.name == name), None)
    return "–" if found is None else f"{found:.2f}"


def _row(metric: Spread) -> Row:
    value = f"{metric.mean:.2f} {metric.unit}".rstrip()
    if len(metric.values) == 1:
        return Row(metric.label, value)
    spread = f"± {metric.stdev:.2f}, {metric.minimum:.2f} to {metric.maximum:.2f}"
    away = _deviation(metric) if metric.headline else None
    return Row(
        metric.label,
        value,
        spread if away is None else f"{spread}, within {away:.1f} % of the mean",
    )


def _deviation(metric: Spread) -> float | None:
    """How far the run that is farthest off lies from the mean, in percent; None for a mean of 0."""
    if not metric.mean:
        return None
    return 100 * max(abs(value - metric.mean) for value in metric.values) / abs(metric.mean)


def _judgement(view: RunSet) -> tuple[Section, ...]:
    if view.verdict is None:
        return ()
    worse: dict[tuple[str, str], tuple[Finding, list[str]]] = {}
    for run in view.measured:
        for finding in run.findings:
            worse.setdefault((finding.rule, finding.what), (finding, []))[1].append(run.run_id)
    lines = [finding_text(finding) for finding in view.findings]
    lines += [
        f"{finding_text(finding)}: in {len(runs)} of {counted(len(view.measured), 'run')}"
        for finding, runs in worse.values()
    ]
    return (Section(f"verdict of the set: {view.verdict.name}", lines=tuple(lines)),)


def finding_text(finding: Finding | Issue) -> str:
    """What a rule found, in a line."""
    detail = f" (expected {finding.expected}, is {finding.actual})" if finding.expected else ""
    parameter = f"{finding.parameter}: " if finding.parameter else ""
    return f"{finding.category.name} by rule {finding.rule}: {parameter}{finding.what}{detail}"
