"""The geometry of a chart: everything that the template needs to draw it, nothing to compute.

A plot is a square of `SIDE` units that the page stretches to any width; strokes and texts are not
stretched with it. So a chart fits a phone, a screen and paper without a script.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlpstorage.report.html.rates import decimated
from mlpstorage.report.html.scales import Axis, axis_of, number, sane

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlpstorage.report.html.rates import Points
    from mlpstorage.report.html.scales import Tick

SIDE = 10_000
COLOURS = 8
MOST_LINES = 12
MOST_BANDS = 200
_MOST_DOTS = 600
_WIDE_ENOUGH = 9.0  # percent of the plot that a band's name needs


@dataclass(frozen=True)
class Stroke:
    """One line: its colour and dash by number, its path, and its dots where it has some."""

    name: str
    colour: int
    dash: int
    path: str
    dots: str = ""
    joined: bool = True


@dataclass(frozen=True)
class Band:
    """A part of the x axis, in percent, behind the lines."""

    name: str
    left: float
    width: float
    odd: bool

    @property
    def shows_name(self) -> bool:
        """Whether there is room for its name."""
        return self.width >= _WIDE_ENOUGH


@dataclass(frozen=True)
class Limit:
    """A level to stay above or below, in percent of the height."""

    at: float
    name: str


@dataclass(frozen=True)
class Chart:
    """One chart, ready to draw; `spoken` says in words what it shows."""

    title: str
    x_label: str
    unit: str
    x: Axis
    y: Axis
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    strokes: tuple[Stroke, ...]
    bands: tuple[Band, ...] = ()
    limit: Limit | None = None
    spoken: str = ""
    note: str = ""


@dataclass(frozen=True)
class Data:
    """The points of one line, in the order of x; a y of None is a gap."""

    name: str
    points: Points
    joined: bool = True


@dataclass(frozen=True)
class Look:
    """How a chart is drawn.

    `x_at_values` marks the x axis at the points instead of at round numbers; `x_range` fixes its
    ends. `limit` is a level with its name.
    """

    from_zero: bool = True
    dots: bool = False
    x_at_values: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    limit: tuple[float, str] | None = None
    most_points: int = 400


def chart_of(
    title: str, data: Sequence[Data], *, x_label: str, unit: str, look: Look = Look()
) -> Chart | None:
    """The chart of these lines, or None where there is not a single point to draw."""
    lines = [replace(line, points=_finite(line.points)) for line in data]
    lines = [line for line in lines if any(y is not None for _, y in line.points)]
    if not lines:
        return None
    note = ""
    if len(lines) > MOST_LINES:
        note = f"the first {MOST_LINES} of {len(lines)} lines"
        lines = lines[:MOST_LINES]
    xs = sorted({x for line in lines for x, _ in line.points})
    ys = [y for line in lines for _, y in line.points if y is not None]
    level = None
    if look.limit and math.isfinite(look.limit[0]):
        level = (sane(look.limit[0]), look.limit[1])
    x = Axis(*look.x_range) if look.x_range else _x_axis(xs, padded=look.dots)
    y = (
        Axis(*look.y_range)
        if look.y_range
        else axis_of([*ys, *([level[0]] if level else [])], from_zero=look.from_zero)
    )
    return Chart(
        title=title,
        x_label=x_label,
        unit=unit,
        x=x,
        y=y,
        x_ticks=x.ticks_at(xs) if look.x_at_values else x.ticks(),
        y_ticks=y.ticks(),
        strokes=tuple(_stroke(n, line, x, y, look) for n, line in enumerate(lines)),
        limit=Limit(round(100 * y.place(level[0]), 2), level[1]) if level else None,
        spoken=f"{title}: " + "; ".join(_in_words(line, unit) for line in lines),
        note=note,
    )


def with_bands(chart: Chart, spans: Iterable[tuple[str, float, float]]) -> Chart:
    """The chart with parts of its x axis marked: name, begin and end of each."""
    bands: list[Band] = []
    for place, (name, begin, end) in enumerate(spans):
        left, right = chart.x.place(begin), chart.x.place(end)
        if right > left and len(bands) < MOST_BANDS:
            width = round(100 * (right - left), 2)
            bands.append(Band(name, round(100 * left, 2), width, bool(place % 2)))
    return replace(chart, bands=tuple(bands))


def _finite(points: Points) -> Points:
    return [
        (sane(x), sane(y) if y is not None and math.isfinite(y) else None)
        for x, y in points
        if math.isfinite(x)
    ]


def _x_axis(xs: Sequence[float], *, padded: bool) -> Axis:
    """From the first to the last; with room beside dots, so that none is cut in half."""
    span = xs[-1] - xs[0]
    if span <= abs(xs[-1]) * 1e-9:
        return Axis(xs[0] - 1, xs[0] + 1) if abs(xs[0]) < 1e9 else axis_of(xs, from_zero=False)  # noqa: PLR2004 (1 would be lost)
    room = 0.03 * span if padded else 0.0
    return Axis(xs[0] - room, xs[-1] + room)


def _stroke(index: int, line: Data, x: Axis, y: Axis, look: Look) -> Stroke:
    places = [
        (round(SIDE * x.place(at)), None if v is None else round(SIDE * (1 - y.place(v))))
        for at, v in decimated(line.points, look.most_points)
    ]
    known = [(at, v) for at, v in places if v is not None]
    alone = not line.joined or len(known) == 1
    dots = (look.dots and len(known) <= _MOST_DOTS) or alone
    return Stroke(
        line.name,
        index % COLOURS,
        index // COLOURS,
        _path(places),
        "".join(f"M{at} {v}h0" for at, v in known) if dots else "",
        not alone,
    )


def _path(places: Iterable[tuple[int, int | None]]) -> str:
    """The path of a line; each part between gaps begins with its own M.

    >>> _path([(0, 5), (1, None), (2, 6), (3, 7)])
    'M0 5M2 6 3 7'
    """
    parts: list[str] = []
    pen = False
    for x, y in places:
        if y is not None:
            parts.append(f"{' ' if pen else 'M'}{x} {y}")
        pen = y is not None
    return "".join(parts)


def _in_words(line: Data, unit: str) -> str:
    known = [y for _, y in line.points if y is not None]
    mean = math.fsum(y / len(known) for y in known)
    name = f"{line.name} " if line.name else ""
    return f"{name}{number(min(known))} to {number(max(known))} {unit}, mean {number(mean)}"
