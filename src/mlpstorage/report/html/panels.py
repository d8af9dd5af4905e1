"""What a run measured, as charts: its curves, its ranks, and its hosts over time."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.report.html.charts import MOST_LINES, Data, Look, chart_of, with_bands
from mlpstorage.report.html.rates import disk_total, rates_of, shares_of, steps_of
from mlpstorage.report.html.scales import axis_of, memory_unit, number, rate_unit, sane, time_unit
from mlpstorage.store.codec import utc_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlpstorage.report.html.charts import Chart
    from mlpstorage.report.html.rates import Points
    from mlpstorage.report.html.samples import HostSamples, Samples
    from mlpstorage.report.html.scales import Unit
    from mlpstorage.report.model import Curve, PhaseSpan, RankSpread

_DISKS, _INTERFACES = 4, 3
_HOSTS_BY_COLOUR = 8
_HEADROOM = 1.18
_MEMORY = {"Cached": "page cache", "AnonPages": "programs", "Dirty": "not yet written"}


@dataclass(frozen=True)
class RankPanel:
    """The ranks' chart, and its extremes in words."""

    chart: Chart | None
    lowest: str
    median: str
    highest: str


@dataclass(frozen=True)
class HostPanel:
    """The charts of one host over time."""

    name: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class TimePanel:
    """A run's hosts over time: all together, then each alone; `note` says what is left out."""

    together: tuple[Chart, ...]
    hosts: tuple[HostPanel, ...]
    note: str


def curve_chart(curve: Curve, runs: Sequence[tuple[str, Curve]], run_id: str = "") -> Chart | None:
    """The chart of a curve in one or several runs, each under a name of the run, which may be "".

    A line that bears the run's id needs no name: all lines around it are of that run.
    """
    data = [
        Data(
            _named("" if line.name == run_id else line.name, run, alone=len(one.lines) == 1),
            sorted(zip(line.x, line.y, strict=False), key=lambda p: p[0]),
        )
        for run, one in runs
        for line in one.lines
    ]
    look = Look(
        from_zero=curve.y_from_zero,
        dots=curve.points,
        x_at_values=curve.points,
        limit=None if curve.limit is None else (curve.limit, curve.limit_label),
    )
    return chart_of(curve.title, data, x_label=curve.x_label, unit=curve.y_label, look=look)


def _named(line: str, run: str, *, alone: bool) -> str:
    if not run:
        return line
    return run if alone or not line else f"{run}, {line}"


def rank_panel(spread: RankSpread) -> RankPanel | None:
    """The figure of every rank; None where there is none."""
    rows = list(zip(spread.ranks, spread.hosts, spread.values, strict=False))
    rows = [(rank, host, sane(value)) for rank, host, value in rows if math.isfinite(value)]
    if not rows:
        return None
    hosts = list(dict.fromkeys(host for _, host, _ in rows))
    groups: dict[str, Points] = {}
    for rank, host, value in sorted(rows, key=lambda row: row[0]):
        name = host if len(hosts) <= _HOSTS_BY_COLOUR else "ranks"
        groups.setdefault(name, []).append((float(rank), value))
    middle = statistics.median(row[2] for row in rows)
    chart = chart_of(
        spread.label,
        [Data(name, points, joined=False) for name, points in groups.items()],
        x_label="rank",
        unit=spread.unit,
        look=Look(y_range=_around(middle, rows), dots=True, x_at_values=True, most_points=2000),
    )

    def told(row: tuple[int, str, float]) -> str:
        return f"{number(row[2])} {spread.unit} (rank {row[0]} on {row[1]})"

    return RankPanel(
        chart,
        told(min(rows, key=lambda row: row[2])),
        f"{number(middle)} {spread.unit}",
        told(max(rows, key=lambda row: row[2])),
    )


def _around(middle: float, rows: Sequence[tuple[int, str, float]]) -> tuple[float, float]:
    """The axis of ranks: at least 5 % to each side, so that small differences look small."""
    near = (0.95 * middle, 1.05 * middle)
    axis = axis_of([*near, *(row[2] for row in rows)], from_zero=False)
    return axis.low, axis.high


class _Time:
    """The time axis that all charts of a run share."""

    def __init__(self, samples: Samples, phases: Iterable[PhaseSpan], most_points: int) -> None:
        spans = [(phase.name, _moment(phase.start), _moment(phase.end)) for phase in phases]
        self.spans = [
            (name, begin, end)
            for name, begin, end in spans
            if begin is not None and end is not None
        ]
        walls = [wall for host in samples.hosts.values() for wall in host.wall]
        self.begin = min(walls)
        seconds = max(max(walls) - self.begin, 1.0)
        self.unit = time_unit(seconds)
        self.ends = (0.0, seconds / self.unit.divisor)
        self.most_points = most_points

    def points(self, host: HostSamples, values: Sequence[float | None]) -> Points:
        """Values of a host's samples, or of the steps between them, on this axis."""
        walls = host.wall[len(host) - len(values) :]
        return [(self.at(wall), value) for wall, value in zip(walls, values, strict=True)]

    def at(self, wall: float) -> float:
        return (wall - self.begin) / self.unit.divisor

    def chart(
        self,
        title: str,
        lines: Sequence[tuple[str, Points]],
        unit_for: Callable[[float], Unit] | None,
        *,
        percent: bool = False,
    ) -> list[Chart]:
        """The chart of these lines, none where nothing is known; in a unit that fits them."""
        largest = max((y for _, points in lines for _, y in points if y is not None), default=0.0)
        unit = unit_for(largest) if unit_for else None
        divisor = unit.divisor if unit else 1.0
        data = [
            Data(name, [(x, None if y is None else y / divisor) for x, y in points])
            for name, points in lines
        ]
        look = Look(
            x_range=self.ends,
            # The names of the phases need room above the lines.
            y_range=(0.0, 100 * _HEADROOM if percent else _HEADROOM * largest / divisor or 1.0),
            most_points=self.most_points,
        )
        found = chart_of(
            title, data, x_label=self.unit.name, unit=unit.name if unit else "%", look=look
        )
        if found is None:
            return []
        spans = ((name, self.at(begin), self.at(end)) for name, begin, end in self.spans)
        return [with_bands(found, spans)]


def _moment(text: str) -> float | None:
    try:
        return utc_moment(text).timestamp()
    except (ValueError, OverflowError):
        return None


def time_panel(
    samples: Samples, phases: Iterable[PhaseSpan], *, most_points: int, most_hosts: int
) -> TimePanel | None:
    """The charts of all hosts over time; None where there are no two samples of any host."""
    hosts = {name: host for name, host in samples.hosts.items() if len(host) > 1}
    if not hosts:
        return None
    time = _Time(samples, phases, most_points)
    steps = {name: steps_of(host, samples.interval_seconds) for name, host in hosts.items()}
    together = _together(time, hosts, steps, samples.interval_seconds) if len(hosts) > 1 else []
    shown = list(hosts)[:most_hosts]
    note = ""
    if len(hosts) > len(shown):
        note = f"{len(hosts) - len(shown)} more hosts are in the charts of all hosts only"
    panels = tuple(HostPanel(n, tuple(_of_host(time, hosts[n], steps[n]))) for n in shown)
    return TimePanel(tuple(together), panels, note)


def _together(
    time: _Time,
    hosts: dict[str, HostSamples],
    steps: dict[str, list[float | None]],
    interval: float | None,
) -> list[Chart]:
    def lines(
        of: Callable[[HostSamples, list[float | None]], Sequence[float | None] | None],
    ) -> list[tuple[str, Points]]:
        found = [
            (name, time.points(host, values))
            for name, host in hosts.items()
            if (values := of(host, steps[name])) is not None
        ]
        width = (interval or 10.0) / time.unit.divisor
        return found if len(found) <= MOST_LINES else _envelope(found, width)

    return [
        *time.chart("Read from disks", lines(lambda h, s: disk_total(h, 0, s)), rate_unit),
        *time.chart("Written to disks", lines(lambda h, s: disk_total(h, 1, s)), rate_unit),
        *time.chart("Received by network", lines(lambda h, s: _network(h, 0, s)), rate_unit),
        *time.chart(
            "Processors busy", lines(lambda h, s: shares_of(h.cpu, 0, s)), None, percent=True
        ),
        *time.chart("Page cache", lines(lambda h, _: _gauge(h, "Cached")), memory_unit),
    ]


def _envelope(lines: Sequence[tuple[str, Points]], width: float) -> list[tuple[str, Points]]:
    """The lowest, the median and the highest host in each interval of time."""
    buckets: dict[int, list[float]] = {}
    for _, points in lines:
        for x, y in points:
            if y is not None:
                buckets.setdefault(round(x / width), []).append(y)
    kinds = (("highest host", max), ("median host", statistics.median), ("lowest host", min))
    return [
        (name, [(place * width, function(values)) for place, values in sorted(buckets.items())])
        for name, function in kinds
    ]


def _of_host(time: _Time, host: HostSamples, steps: list[float | None]) -> list[Chart]:
    cpu = [
        ("busy", time.points(host, shares_of(host.cpu, 0, steps))),
        ("waiting for I/O", time.points(host, shares_of(host.cpu, 1, steps))),
    ]
    memory = [
        (label, time.points(host, _gauge(host, name)))
        for name, label in _MEMORY.items()
        if name in host.memory
    ]
    disks = _busiest(host.disks, _DISKS)
    interfaces = _busiest(host.interfaces, _INTERFACES)
    return [
        *time.chart(
            "Devices", _pair_lines(time, host, steps, disks, ("read", "written")), rate_unit
        ),
        *time.chart(
            "Network", _pair_lines(time, host, steps, interfaces, ("received", "sent")), rate_unit
        ),
        *time.chart("Processors", cpu, None, percent=True),
        *time.chart("Memory", memory, memory_unit),
    ]


def _pair_lines(
    time: _Time,
    host: HostSamples,
    steps: list[float | None],
    tables: dict[str, list[tuple[float, float] | None]],
    words: tuple[str, str],
) -> list[tuple[str, Points]]:
    return [
        (f"{name} {word}", time.points(host, rates_of(counts, column, steps)))
        for name, counts in tables.items()
        for column, word in enumerate(words)
    ]


def _busiest(
    tables: dict[str, list[tuple[float, float] | None]], most: int
) -> dict[str, list[tuple[float, float] | None]]:
    """Those that moved the most bytes while they were watched; none that moved nothing."""

    def moved(name: str) -> float:
        known = [sum(pair) for pair in tables[name] if pair is not None]
        return known[-1] - known[0] if known else 0.0

    names = sorted((n for n in tables if n != "lo" and moved(n) > 0), key=moved, reverse=True)
    return {name: tables[name] for name in names[:most]}


def _network(
    host: HostSamples, column: int, steps: list[float | None]
) -> list[float | None] | None:
    rows = [rates_of(c, column, steps) for n, c in host.interfaces.items() if n != "lo"]
    if not rows:
        return None
    return [
        None if step is None else math.fsum(value or 0.0 for value in values)
        for step, values in zip(steps, zip(*rows, strict=True), strict=True)
    ]


def _gauge(host: HostSamples, name: str) -> list[float | None]:
    known = host.memory.get(name, [])
    return [*known, *([None] * (len(host) - len(known)))]
