"""Axes and numbers for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_HUGE, _LARGE, _MEDIUM = 1e9, 1000.0, 100.0
_FEW = 12
_SMALLEST, _GREATEST = 1e-290, 1e300


def number(value: float) -> str:
    """A figure with about four digits.

    >>> [number(v) for v in (0, 8.0, 1922.59, 97.124, 3.14159, 0.0636223, 1e300, -2.5)]
    ['0', '8', '1,923', '97.12', '3.142', '0.0636', '1e+300', '-2.500']
    """
    size = abs(value)
    if not math.isfinite(value) or size >= _HUGE:
        return f"{value:.4g}"
    if size >= _LARGE or value == int(value):
        return f"{value:,.0f}"
    if size >= 1:
        return f"{value:.{1 if size >= _MEDIUM else 2 if size >= _MEDIUM / 10 else 3}f}"
    return f"{value:.3g}"


def sane(value: float) -> float:
    """The number, kept to sizes with which axes can still be reckoned.

    >>> sane(1e308), sane(-5e-324), sane(2.5)
    (1e+300, 0.0, 2.5)
    """
    if abs(value) < _SMALLEST:
        return 0.0
    return min(max(value, -_GREATEST), _GREATEST)


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: its place in percent of the axis, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """The numbers from one end of an axis to the other."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1; what lies outside is at the end."""
        share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self, most: int = 5) -> tuple[Tick, ...]:
        """Marks at round numbers.

        >>> [t.text for t in Axis(0, 87).ticks()]
        ['0', '20', '40', '60', '80']
        """
        step = round_step(self.high - self.low, most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        if last - first > 3 * most:  # numbers so large that floats cannot be counted up
            return tuple(Tick(100 * self.place(v), number(v)) for v in (self.low, self.high))
        return tuple(
            Tick(round(100 * self.place(step * k), 2), _tick_text(step * k, step))
            for k in range(first, last + 1)
        )

    def ticks_at(self, values: Sequence[float]) -> tuple[Tick, ...]:
        """Marks at the values themselves where they are few, else at round numbers."""
        if len(values) > _FEW:
            return self.ticks()
        return tuple(Tick(round(100 * self.place(v), 2), f"{v:.6g}") for v in values)


def round_step(span: float, most: int) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that cuts the span in at most `most` parts.

    >>> round_step(87, 5), round_step(0.3, 5)
    (20.0, 0.1)
    """
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next((s * power for s in _STEPS if s * power >= rough * (1 - 1e-9)), 10 * power)


def _tick_text(value: float, step: float) -> str:
    """The value with as many decimals as the steps need."""
    exponent = math.floor(math.log10(step) + 1e-9)
    is_quarter = abs(step / 10.0**exponent - _STEPS[2]) < 1e-6  # noqa: PLR2004
    digits = max(0, is_quarter - exponent)
    if abs(value) >= _HUGE or digits > _FEW / 2:
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def axis_of(values: Iterable[float], *, from_zero: bool) -> Axis:
    """An axis that holds all values, sane ones, with a little room; never of no length.

    >>> axis_of([3, 100], from_zero=True)
    Axis(low=0.0, high=105.0)
    """
    known = list(values)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    span = high - low
    if span <= abs(high) * 1e-9:
        room = abs(high) * 0.05 or 1.0
        return Axis(low if from_zero and low == 0 else low - room, high + room)
    room = 0.05 * span
    bottom = low if from_zero and low == 0 else low - room
    top = high if from_zero and high == 0 else high + room
    return Axis(float(bottom), float(top))


@dataclass(frozen=True)
class Unit:
    """What a shown number counts, and by how much the value was divided for it."""

    name: str
    divisor: float


def rate_unit(largest: float) -> Unit:
    """The decimal unit of a rate in bytes per second.

    >>> rate_unit(3.2e9), rate_unit(12.0)
    (Unit(name='GB/s', divisor=1000000000.0), Unit(name='B/s', divisor=1.0))
    """
    return _unit(largest, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s"), 1000.0)


def memory_unit(largest: float) -> Unit:
    """The binary unit of a number of bytes."""
    return _unit(largest, ("B", "KiB", "MiB", "GiB", "TiB"), 1024.0)


def _unit(largest: float, names: Sequence[str], factor: float) -> Unit:
    power = 0
    while largest >= factor ** (power + 1) and power < len(names) - 1:
        power += 1
    return Unit(names[power], factor**power)


def time_unit(seconds: float) -> Unit:
    """The unit of a time axis of that length.

    >>> time_unit(30), time_unit(3000).name, time_unit(30_000).name
    (Unit(name='s', divisor=1.0), 'min', 'h')
    """
    if seconds < 180:  # noqa: PLR2004
        return Unit("s", 1.0)
    return Unit("min", 60.0) if seconds < 10_800 else Unit("h", 3600.0)  # noqa: PLR2004
