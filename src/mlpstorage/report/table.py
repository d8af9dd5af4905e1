"""A report as sections for a terminal: a table of sets, then what is wrong with each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.section import Row, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.report.model import Finding, ReportDocument, RunSet, RunView, Spread

_FEW = 3
_TWO_DIGITS = 10
_SHOWN = 40
_ENDED = frozenset({"complete", "unknown"})


def sections_of(document: ReportDocument) -> tuple[Section, ...]:
    """What a terminal shows of a report; longer reports leave the reasons to the files."""
    found = [_table(document)]
    shown = [one for one in document.sets if _reasons(one)]
    found += [Section(_name(one), rows=tuple(_reasons(one))) for one in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        found.append(Section(f"and {len(shown) - _SHOWN} more sets: see results.json"))
    rows = tuple(Row("not read", problem) for problem in document.problems)
    return (*found, Section("problems", rows=rows)) if rows else tuple(found)


def _table(document: ReportDocument) -> Section:
    runs = sum(len(one.runs) for one in document.sets)
    title = f"{_counted(len(document.sets), 'set')} of {_counted(runs, 'run')} in {document.root}"
    if document.others:
        title += f", and {_counted(len(document.others), 'run')} that measure nothing"
    head = ("set", "system", "runs", "verdict", "headline")
    body = tuple(
        (
            _name(one),
            "/".join(part for part in (one.organisation, one.system) if part) or "-",
            f"{len(one.measured)} of {len(one.runs)}",
            one.verdict.name if one.verdict else "not judged",
            ", ".join(_figure(metric) for metric in one.headline[:_FEW]) or "-",
        )
        for one in document.sets
    )
    return Section(title, table=Table(head, body) if body else None)


def _name(one: RunSet) -> str:
    accelerator = f" {one.accelerator}" if one.accelerator else ""
    ranks = f" × {one.ranks}" if one.ranks else ""
    start = one.runs[0].start[:16].replace("T", " ") if one.runs else ""
    return " ".join(f"{one.kind} {one.model}{accelerator}{ranks} {start}".split())


def _figure(metric: Spread) -> str:
    """A figure with its spread.

    Five digits tell everything that two runs have in common.
    """
    spread = f" ± {_short(metric.stdev)}" if len(metric.values) > 1 else ""
    return f"{metric.label} {metric.mean:.5g}{spread} {metric.unit}".rstrip()


def _short(value: float) -> str:
    """Two digits, and no exponent.

    >>> _short(142.66), _short(16.31), _short(2.7182), _short(0.0312)
    ('143', '16', '2.7', '0.031')
    """
    return f"{value:.0f}" if value >= _TWO_DIGITS else f"{value:.2g}"


def _counted(count: int, noun: str) -> str:
    """A number of things.

    >>> _counted(1, "set"), _counted(0, "run")
    ('1 set', '0 runs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _reasons(one: RunSet) -> list[Row]:
    """Why a set is not CLOSED, and which of its runs do not count, each reason once."""
    rows = [_row(finding, "") for finding in one.findings]
    rows += _of_runs(one.runs)
    rows += [
        Row(run.status, run.run_id, run.reason) for run in one.runs if run.status not in _ENDED
    ]
    if one.unjudged:
        numbers = ", ".join(dict.fromkeys(rule.rule for rule in one.unjudged))
        rows.append(Row("not recorded", f"rules {numbers} could not be judged"))
    return rows


def _of_runs(runs: Iterable[RunView]) -> Iterator[Row]:
    """The findings of the runs that count; those that several share are told once."""
    found: dict[tuple[str, str, str], list[Finding]] = {}
    counted = [run for run in runs if run.counts]
    for run in counted:
        for finding in run.findings:
            found.setdefault((finding.rule, finding.what, finding.parameter), []).append(finding)
    for shared in found.values():
        several = f"{len(shared)} of {len(counted)} runs" if len(counted) > 1 else ""
        yield _row(shared[0], several)


def _row(finding: Finding, note: str) -> Row:
    detail = f" (expected {finding.expected}, is {finding.actual})" if finding.expected else ""
    parameter = f"{finding.parameter}: " if finding.parameter else ""
    return Row(
        f"{finding.category.name} {finding.rule}", f"{parameter}{finding.what}{detail}", note
    )
