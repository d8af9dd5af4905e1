"""A report as files: results.json for programs, results.csv for spreadsheets.

Both are described in docs/reports.md; their keys and columns only ever grow.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from mlpstorage.report.limits import together, words
from mlpstorage.store.codec import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mlpstorage.core.rules import Category
    from mlpstorage.report.model import (
        Finding,
        Limit,
        Metric,
        ReportDocument,
        RunSet,
        RunView,
        Spread,
    )

REPORT_SCHEMA = 1
COLUMNS = (
    "record", "set_id", "run_id", "kind", "model", "accelerator", "organisation", "system",
    "origin", "edition", "division", "role", "status", "verdict", "ranks", "hosts", "start",
    "runtime_seconds", "metric", "unit", "better", "value", "stdev", "minimum", "maximum", "count",
    "directory", "reason", "limited_by",
)  # fmt: skip
# A cell that begins so is a formula to a spreadsheet; names in results may come from anybody.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_files(document: ReportDocument, output_dir: Path) -> tuple[Path, Path]:
    """Write results.json and results.csv, each in one step; their paths.

    Raises:
        AccessError, NotFoundError, ConfigurationError: they cannot be written.
    """
    json_path, csv_path = output_dir / "results.json", output_dir / "results.csv"
    write_json(json_path, as_json(document))
    write_text(csv_path, as_csv(document))
    return json_path, csv_path


def as_json(document: ReportDocument) -> dict[str, Any]:
    """The report as JSON-ready values."""
    return {
        "schema": REPORT_SCHEMA,
        "title": document.title,
        "root": document.root,
        "created": document.created,
        "mlpstorage_version": document.version,
        "sets": [_set(one) for one in document.sets],
        "other_runs": [_run(run) for run in document.others],
        "problems": list(document.problems),
    }


def _word(category: Category | None) -> str | None:
    return None if category is None else category.name


def _set(one: RunSet) -> dict[str, Any]:
    return {
        "set_id": one.id,
        "kind": one.kind,
        "model": one.model,
        "accelerator": one.accelerator or None,
        "organisation": one.organisation or None,
        "system": one.system or None,
        "origin": one.origin,
        "edition": one.edition,
        "division": one.asked or None,
        "ranks": one.ranks,
        "hosts": one.hosts,
        "verdict": _word(one.verdict),
        "not_a_set": one.not_a_set or None,
        "differs": dict(one.differs),
        **_limited([run.limits for run in one.measured]),
        "findings": [_finding(finding) for finding in one.findings],
        "not_recorded": [
            {"rule": rule.rule, "title": rule.title, "why": rule.why} for rule in one.unjudged
        ],
        "metrics": {metric.name: _spread(metric) for metric in one.metrics},
        "runs": [_run(run) for run in one.runs],
    }


def _limited(runs: Sequence[Sequence[Limit]]) -> dict[str, Any]:
    """What limited a run, or the measured runs of a set: in words, then phase by phase."""
    limits = together(runs)
    return {
        "limited_by": words(limits) or None,
        "bottleneck": [limit.as_dict() for limit in limits],
    }


def _spread(metric: Spread) -> dict[str, Any]:
    return {
        "unit": metric.unit,
        "better": metric.better.value,
        "mean": metric.mean,
        "stdev": metric.stdev,
        "minimum": metric.minimum,
        "maximum": metric.maximum,
        "count": len(metric.values),
        "values": list(metric.values),
    }


def _run(run: RunView) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "command": run.command,
        "model": run.model,
        "accelerator": run.accelerator or None,
        "role": run.role.value,
        "counts": run.counts,
        "status": run.status,
        "reason": run.reason or None,
        "verdict": _word(run.verdict),
        **_limited([run.limits]),
        "findings": [_finding(finding) for finding in run.findings],
        "metrics": {
            metric.name: {
                "unit": metric.unit,
                "better": metric.better.value,
                "value": metric.value,
            }
            for metric in run.metrics
        },
        "start": run.start or None,
        "end": run.end or None,
        "runtime_seconds": run.runtime_seconds,
        "ranks": run.ranks,
        "hosts": run.hosts,
        "directory": str(run.directory),
        "executed_command": run.executed_command or None,
        "warnings": list(run.warnings),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "title": finding.title,
        "category": finding.category.name,
        "what": finding.what,
        "parameter": finding.parameter,
        "expected": finding.expected,
        "actual": finding.actual,
        "fix": finding.fix,
    }


def as_csv(document: ReportDocument) -> str:
    """The report as comma-separated values: a line for every metric of every set and run."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for line in _lines(document):
        writer.writerow({name: _cell(value) for name, value in line.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:  # noqa: ANN401 (a cell)
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value


def _lines(document: ReportDocument) -> Iterator[dict[str, Any]]:
    for one in document.sets:
        for metric in one.metrics or (None,):
            yield _set_line(one, metric)
        for run in one.runs:
            for figure in run.metrics or (None,):
                yield _run_line(one, run, figure)
    for run in document.others:
        yield _run_line(None, run, None)


def _set_line(one: RunSet, metric: Spread | None) -> dict[str, Any]:
    line = {"record": "set", **_set_columns(one), "verdict": _word(one.verdict)}
    line |= {"ranks": one.ranks, "hosts": one.hosts}
    line |= {"limited_by": words(together(run.limits for run in one.measured))}
    if metric is not None:
        line |= {
            "metric": metric.name,
            "unit": metric.unit,
            "better": metric.better.value,
            "value": metric.mean,
            "stdev": metric.stdev,
            "minimum": metric.minimum,
            "maximum": metric.maximum,
            "count": len(metric.values),
        }
    return line


def _set_columns(one: RunSet) -> dict[str, Any]:
    return {
        "set_id": one.id,
        "kind": one.kind,
        "model": one.model,
        "accelerator": one.accelerator,
        "organisation": one.organisation,
        "system": one.system,
        "origin": one.origin,
        "edition": one.edition,
        "division": one.asked,
    }


def _run_line(one: RunSet | None, run: RunView, metric: Metric | None) -> dict[str, Any]:
    line = {
        "record": "run",
        **(_set_columns(one) if one else {"kind": run.kind, "model": run.model}),
        "run_id": run.run_id,
        "role": run.role.value,
        "status": run.status,
        "verdict": _word(run.verdict),
        "ranks": run.ranks,
        "hosts": run.hosts,
        "start": run.start,
        "runtime_seconds": run.runtime_seconds,
        "directory": str(run.directory),
        "reason": run.reason,
        "limited_by": words(together([run.limits])),
    }
    if metric is not None:
        line |= {
            "metric": metric.name,
            "unit": metric.unit,
            "better": metric.better.value,
            "value": metric.value,
            "count": 1,
        }
    return line
