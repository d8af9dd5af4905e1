"""A report as sections for a terminal: a table of sets, then what is wrong with each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.section import Row, Section, Table
from mlpstorage.report.limits import together, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlpstorage.report.model import Finding, ReportDocument, RunSet, RunView, Spread

_FEW = 3
_TWO_DIGITS = 10
_SHOWN = 40
_DIFFERING, _LONGEST = 5, 60
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
    rows: list[tuple[str, ...]] = [
        (
            _name(one),
            "/".join(part for part in (one.organisation, one.system) if part),
            f"{len(one.measured)} of {len(one.runs)}" if not one.not_a_set else "single",
            one.state,
            words(together(run.limits for run in one.measured)) or "-",
            ", ".join(_figure(metric) for metric in one.headline[:_FEW]) or "-",
        )
        for one in document.sets
    ]
    head: tuple[str, ...] = ("set", "system", "runs", "verdict", "limited by", "headline")
    if not any(row[1] for row in rows):
        head, rows = _without_second(head), [_without_second(row) for row in rows]
    body = tuple(tuple(cell or "-" for cell in row) for row in rows)
    return Section(_title(document), table=Table(head, body) if body else None)


def _without_second(row: tuple[str, ...]) -> tuple[str, ...]:
    return (row[0], *row[2:])


def _title(document: ReportDocument) -> str:
    """How many sets and runs there are, and where."""
    whole = [one for one in document.sets if not one.not_a_set]
    singles = len(document.sets) - len(whole)
    runs = sum(len(one.runs) for one in whole)
    found = [f"{counted(len(whole), 'set')} of {counted(runs, 'run')}"] if whole else []
    found += [counted(singles, "single run")] if singles else []
    title = f"{' and '.join(found) or 'no runs that measure anything'} in {document.root}"
    if document.others:
        measure = "measures" if len(document.others) == 1 else "measure"
        title += f", and {counted(len(document.others), 'run')} that {measure} nothing"
    return title


def _name(one: RunSet) -> str:
    accelerator = f" {one.accelerator}" if one.accelerator else ""
    ranks = f" × {one.ranks}" if one.ranks else ""
    start = one.start[:19].replace("T", " ")
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


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "set"), counted(0, "run")
    ('1 set', '0 runs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _reasons(one: RunSet) -> list[Row]:
    """What limited a set, why it is not CLOSED, and which of its runs do not count; each once."""
    rows = [Row("id", one.id)]
    if one.differs:
        rows.append(Row("differs", differing(one.differs)))
    rows += [Row("limited by", text) for text in explained(one)]
    if one.not_a_set:
        rows.append(Row("single run", one.not_a_set))
    rows += [_row(finding, "") for finding in one.findings]
    rows += _of_runs(one.runs)
    rows += [
        Row(run.status, run.run_id, run.reason) for run in one.runs if run.status not in _ENDED
    ]
    if one.unjudged:
        numbers = ", ".join(dict.fromkeys(rule.rule for rule in one.unjudged))
        rows.append(Row("not recorded", f"rules {numbers} could not be judged"))
    return rows


def explained(one: RunSet) -> list[str]:
    """What limited a set, each with the numbers behind it, which are the first run's of several."""
    found = []
    for limit in together(run.limits for run in one.measured):
        why, whose = limit.limit.explanation, "first run: " if limit.runs > 1 else ""
        found.append(f"{words((limit,))} ({whose}{why})" if why else words((limit,)))
    return found


def differing(settings: Sequence[tuple[str, str]]) -> str:
    """The settings that tell a set from others, the first few of many.

    >>> differing([("reader.read_threads", "8")])
    'reader.read_threads 8'
    """
    few = ", ".join(f"{name} {value[:_LONGEST]}" for name, value in settings[:_DIFFERING])
    more = len(settings) - _DIFFERING
    return f"{few} and {more} more" if more > 0 else few


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
