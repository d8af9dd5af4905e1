"""How far a host's clock is from ours, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NS = 10**9
_NANOSECOND_DIGITS = 9


@dataclass(frozen=True)
class ClockReading:
    """A host's wall clock, read between two moments of ours; `step_ns` is how fine it was told."""

    before_ns: int
    host_ns: int
    after_ns: int
    step_ns: int


@dataclass(frozen=True)
class ClockOffset:
    """The host's wall clock minus ours: the truth lies within `error_ns` of `offset_ns`."""

    offset_ns: int
    error_ns: int
    round_trip_ns: int
    method: str


def parse_clock(text: str) -> tuple[int, int]:
    """Nanoseconds since 1970, and the step in which they were told.

    >>> parse_clock("1700000000.250000"), parse_clock("1700000000123456789")
    ((1700000000250000000, 1000), (1700000000123456789, 1))
    >>> parse_clock("1700000000N")  # a date program without nanoseconds
    (1700000000000000000, 1000000000)

    Raises:
        ValueError: the text is not a time.
    """
    word = text.strip().replace("%", "").rstrip("N")
    seconds, _, fraction = word.partition(".")
    whole = seconds + fraction
    if not (whole.isascii() and whole.isdecimal() and seconds and len(word) < 32):  # noqa: PLR2004 - far beyond any time
        raise ValueError(f"not a time: {text[:40]!r}")
    if fraction:
        digits = min(len(fraction), _NANOSECOND_DIGITS)
        part = int(fraction[:digits]) * 10 ** (_NANOSECOND_DIGITS - digits)
        return int(seconds) * _NS + part, 10 ** (_NANOSECOND_DIGITS - digits)
    if len(seconds) > _NANOSECOND_DIGITS + 9:  # %s%N
        return int(seconds), 1
    return int(seconds) * _NS, _NS


def clock_offset(readings: Sequence[ClockReading]) -> ClockOffset:
    """The offset by the reading with the shortest round trip (Cristian's algorithm).

    A clock that is told in whole steps is on average half a step ahead of what it tells.

    >>> clock_offset([ClockReading(0, 150, 100, 1), ClockReading(0, 900, 1000, 1)]).offset_ns
    100

    Raises:
        ValueError: there is no reading.
    """
    if not readings:
        raise ValueError("no reading of the clock")
    best = min(readings, key=lambda reading: reading.after_ns - reading.before_ns)
    trip = best.after_ns - best.before_ns
    middle = best.before_ns + trip // 2
    return ClockOffset(
        offset_ns=best.host_ns + best.step_ns // 2 - middle,
        error_ns=trip // 2 + best.step_ns // 2,
        round_trip_ns=trip,
        method=f"min-rtt of {len(readings)}",
    )
