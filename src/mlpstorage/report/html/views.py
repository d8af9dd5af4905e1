"""What the templates show of a report: the model's values, arranged, with charts beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.report.html.panels import curve_chart, rank_panel, time_panel
from mlpstorage.report.html.samples import named, read_samples
from mlpstorage.report.limits import together, words
from mlpstorage.report.table import counted, differing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mlpstorage.report.html.budget import Budget
    from mlpstorage.report.html.charts import Chart
    from mlpstorage.report.html.panels import RankPanel, TimePanel
    from mlpstorage.report.limits import SharedLimit
    from mlpstorage.report.model import (
        Finding,
        HostView,
        ReportDocument,
        RunDetails,
        RunSet,
        RunView,
        SeriesReference,
        Setting,
        Spread,
    )

_COLUMNS = 6
_MOST_RUNS_IN_A_CHART = 12


@dataclass(frozen=True)
class Told:
    """A finding and the runs that it was found in; no names where it is the set's own."""

    finding: Finding
    where: str


@dataclass(frozen=True)
class RunPage:
    """One run: its details and charts; `settings` and `hosts` only where they are the run's own.

    `limits` says what limited it.
    """

    name: str
    run: RunView
    limits: tuple[SharedLimit, ...]
    curves: tuple[Chart, ...]
    ranks: tuple[RankPanel, ...]
    time: TimePanel | None
    settings: tuple[Setting, ...]
    hosts: tuple[HostView, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SetPage:
    """One set: `curves` are those of all its measured runs together, and so are its `limits`.

    `where` is on how many ranks and hosts, `differs` what tells it from others of its workload.
    """

    anchor: str
    set: RunSet
    told: tuple[Told, ...]
    curves: tuple[Chart, ...]
    runs: tuple[RunPage, ...]
    settings: tuple[Setting, ...]
    hosts: tuple[HostView, ...]
    columns: tuple[str, ...]
    limits: tuple[SharedLimit, ...]
    where: str
    differs: str


@dataclass(frozen=True)
class Cell:
    """A metric of a set in the overview, or None where the set lacks it."""

    spread: Spread | None
    label: str


@dataclass(frozen=True)
class OverviewRow:
    """A set in the overview; for `where` and `differs` see `SetPage`."""

    anchor: str
    set: RunSet
    state: str
    limited: str
    where: str
    differs: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Overview:
    """The sets of one kind, under the headline metrics that they have."""

    kind: str
    head: tuple[str, ...]
    rows: tuple[OverviewRow, ...]


def anchor_of(index: int) -> str:
    """The name of a set's place in the page."""
    return f"set-{index + 1}"


def overviews(document: ReportDocument) -> tuple[Overview, ...]:
    """The sets kind by kind, in the order of the document."""
    kinds = list(dict.fromkeys(one.kind for one in document.sets))
    return tuple(_overview(kind, document) for kind in kinds)


def _overview(kind: str, document: ReportDocument) -> Overview:
    places = [(n, one) for n, one in enumerate(document.sets) if one.kind == kind]
    heads = {m.name: _head(m) for _, one in places for m in one.headline}
    shown = dict(list(heads.items())[:_COLUMNS])
    rows = []
    for place, one in places:
        known = {metric.name: metric for metric in one.headline}
        cells = tuple(Cell(known.get(name), label) for name, label in shown.items())
        limited = words(together(run.limits for run in one.measured))
        where, differs = where_of(one), differing(one.differs)
        row = OverviewRow(anchor_of(place), one, one.state, limited, where, differs, cells)
        rows.append(row)
    return Overview(kind, tuple(shown.values()), tuple(rows))


def where_of(one: RunSet) -> str:
    """On how many ranks and hosts a set ran, as far as that is known."""
    ranks = counted(one.ranks, "rank") if one.ranks is not None else ""
    hosts = counted(one.hosts, "host") if one.hosts is not None else ""
    return " on ".join(part for part in (ranks, hosts) if part)


def _head(metric: Spread) -> str:
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def set_page(index: int, one: RunSet, budget: Budget) -> SetPage:
    """A set with everything that is read and drawn for it."""
    names = _run_names(one.runs)
    details = [run.details() for run in one.runs]
    first = next((n for n, run in enumerate(one.runs) if run.counts), 0)
    common = details[first] if details else None
    runs = tuple(
        _run_page(names[n], run, details[n], budget, beside=common if n != first else None)
        for n, run in enumerate(one.runs)
    )
    columns = dict.fromkeys(m.name for run in one.runs for m in run.metrics if m.headline)
    return SetPage(
        anchor=anchor_of(index),
        set=one,
        told=_told(one, names),
        curves=_curves_together(one, names, details),
        runs=runs,
        settings=common.settings if common else (),
        hosts=common.hosts if common else (),
        columns=tuple(columns)[:_COLUMNS],
        limits=together(run.limits for run in one.measured),
        where=where_of(one),
        differs=differing(one.differs),
    )


def _run_names(runs: Sequence[RunView]) -> list[str]:
    """What each run is called within its set."""
    if len(runs) == 1:
        return ["run"]
    names, number = [], 0
    for run in runs:
        if run.role.value == "measured":
            number += 1
            names.append(f"measured {number}")
        else:
            names.append(run.role.value)
    return names


def _told(one: RunSet, names: Sequence[str]) -> tuple[Told, ...]:
    """The findings of the set and of its runs, the worst first, each once."""
    where: dict[Finding, list[str]] = {finding: [] for finding in one.findings}
    for name, run in zip(names, one.runs, strict=True):
        for finding in run.findings:
            where.setdefault(finding, []).append(name)
    told = [
        Told(finding, "" if len(runs) in {0, len(names)} else ", ".join(dict.fromkeys(runs)))
        for finding, runs in where.items()
    ]
    return tuple(sorted(told, key=lambda t: -t.finding.category))


def _curves_together(
    one: RunSet, names: Sequence[str], details: Sequence[RunDetails]
) -> tuple[Chart, ...]:
    """Each curve of all measured runs in one chart, where there are several."""
    counted = [n for n, run in enumerate(one.runs) if run.counts][:_MOST_RUNS_IN_A_CHART]
    if len(counted) < 2:  # noqa: PLR2004
        return ()
    charts = []
    for curve in details[counted[0]].curves:
        same = [
            (names[n], other)
            for n in counted
            for other in details[n].curves
            if (other.title, other.y_label) == (curve.title, curve.y_label)
        ]
        chart = curve_chart(curve, same)
        charts += [chart] if chart else []
    return tuple(charts)


def _run_page(
    name: str, run: RunView, details: RunDetails, budget: Budget, *, beside: RunDetails | None
) -> RunPage:
    notes = list(details.problems)
    time = None
    if details.series is not None:
        time, problem = _time_of(details, details.series, budget)
        notes += [problem] if problem else []
    ranks = (rank_panel(spread) for spread in details.ranks)
    known = set(beside.settings) if beside else set()
    return RunPage(
        name=name,
        run=run,
        limits=together([run.limits]),
        curves=_charts(curve_chart(curve, [("", curve)], run.run_id) for curve in details.curves),
        ranks=tuple(panel for panel in ranks if panel is not None),
        time=time,
        settings=tuple(s for s in details.settings if s not in known) if beside else (),
        hosts=details.hosts if beside and not _alike(details.hosts, beside.hosts) else (),
        notes=tuple(notes),
    )


def _alike(some: Sequence[HostView], others: Sequence[HostView]) -> bool:
    return [host.name for host in some] == [host.name for host in others]


def _charts(found: Iterable[Chart | None]) -> tuple[Chart, ...]:
    return tuple(chart for chart in found if chart is not None)


def _time_of(
    details: RunDetails, series: SeriesReference, budget: Budget
) -> tuple[TimePanel | None, str]:
    """The hosts over time, and what prevented that."""
    try:
        if not budget.takes(_size(series.path)):
            return None, (
                f"{series.path.name} is not drawn: the time series of so many runs would be too "
                "much for one page; make a report of this run's directory alone"
            )
        samples = named(read_samples(series.path))
    except MlpstorageError as error:
        return None, error.what
    except OSError as error:
        return None, f"{series.path.name}: {(error.strerror or str(error)).lower()}"
    return (
        time_panel(samples, details.phases, most_points=budget.points, most_hosts=budget.hosts),
        "",
    )


def _size(path: Path) -> int:
    """The bytes that drawing a series reads: those of our lines where they are beside it."""
    lines = path.with_suffix(".jsonl")
    return (lines if lines.is_file() else path).stat().st_size
