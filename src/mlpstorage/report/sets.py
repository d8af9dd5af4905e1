"""A set of runs, for the terminal and as JSON, where it ends."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlpstorage.report.model import Finding, RunSet, RunView, Spread


def document_of(view: RunSet) -> dict[str, Any]:
    """The set as JSON-ready values."""
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
            }
            for run in view.runs
        ],
        "metrics": [_spread_document(metric) for metric in view.metrics],
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
    view: RunSet, parts: Mapping[str, str], directory: Path, next_command: str = ""
) -> tuple[Section, ...]:
    """The set for people: its runs, what the measured ones have in common, and the verdict.

    `parts` says what each run is in the set, by its id; an interrupted set has a `next_command`,
    and no verdict of the whole.
    """
    what = " ".join(part for part in (view.kind, view.model, view.accelerator) if part)
    count = len(view.measured)
    figures = tuple(_row(metric) for metric in view.metrics)
    place = (Row("id", view.id), Row("directory", str(directory)))
    return (
        Section(f"set of {len(parts)} runs: {what}", table=_runs(view, parts)),
        Section(f"mean of {count} measured run{'s' if count != 1 else ''}", rows=figures),
        *(() if next_command else _judgement(view)),
        Section("record of the set", rows=place),
        *((Section("interrupted: go on with", lines=(next_command,)),) if next_command else ()),
    )


def _runs(view: RunSet, parts: Mapping[str, str]) -> Table:
    headline = view.headline
    head = ("run", "", "took", "verdict", *(f"{m.label} {m.unit}".rstrip() for m in headline))
    body = tuple(
        (
            run.run_id,
            parts.get(run.run_id, run.role.value),
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
    lines = [_text(finding) for finding in view.findings]
    lines += [
        f"{_text(finding)}: in {len(runs)} of {len(view.measured)} runs"
        for finding, runs in worse.values()
    ]
    return (Section(f"verdict of the set: {view.verdict.name}", lines=tuple(lines)),)


def _text(finding: Finding) -> str:
    detail = f" (expected {finding.expected}, is {finding.actual})" if finding.expected else ""
    parameter = f"{finding.parameter}: " if finding.parameter else ""
    return f"{finding.category.name} by rule {finding.rule}: {parameter}{finding.what}{detail}"
