"""How long something still takes: a range, until the pace is steady enough for one figure."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_POINTS = 64
_SEGMENTS = 6
_FEW_SEGMENTS = 3
# While little is known, the time left may be from three quarters to one and a half of the guess.
_LEAST_OF_FEW, _MOST_OF_FEW = 0.75, 1.5
_STEADY_RATIO = 1.2
_STEADY_SECONDS = 10.0
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class TimeLeft:
    """Seconds that are left, at least and at most; `most` is infinite while something stalls."""

    least: float
    most: float

    def __str__(self) -> str:
        """The time for people.

        >>> print(TimeLeft(50, 70)), print(TimeLeft(52, 52)), print(TimeLeft(4000, float("inf")))
        50 s to 1 min 10 s left
        52 s left
        more than 1 h 06 min left
        (None, None, None)
        """
        least, most = roughly(self.least), roughly(self.most)
        if self.most == float("inf"):
            return f"more than {least} left"
        return f"{least} left" if least == most else f"{least} to {most} left"


class Pace:
    """The share done over time, from 0 to 1; what it says depends on how steadily it grew."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def add(self, now: float, share: float) -> None:
        """Take note of the share at a moment, in seconds; a smaller one is a new beginning."""
        if self._points and share < self._points[-1][1]:
            self._points.clear()
        self._points.append((now, share))
        if len(self._points) > _MOST_POINTS:  # older history may be coarser, and none is lost
            self._points = [*self._points[:-2:2], self._points[-1]]

    def left(self) -> TimeLeft | None:
        """The time left; None while nothing is known, or when all is done.

        >>> pace = Pace()
        >>> for second in range(31):
        ...     pace.add(second, second / 60)
        >>> str(pace.left())
        '30 s left'
        """
        rates = self._rates()
        share = self._points[-1][1] if self._points else 1.0
        if share >= 1 or not rates or max(rates) <= 0:
            return None
        began, ended = self._points[0], self._points[-1]
        guess = (1 - share) * (ended[0] - began[0]) / (ended[1] - began[1])
        if len(rates) < _FEW_SEGMENTS:
            return TimeLeft(_LEAST_OF_FEW * guess, _MOST_OF_FEW * guess)
        least = (1 - share) / max(rates)
        most = (1 - share) / min(rates) if min(rates) > 0 else float("inf")
        if most <= _STEADY_RATIO * least and ended[0] - began[0] >= _STEADY_SECONDS:
            return TimeLeft(guess, guess)
        return TimeLeft(least, most)

    def _rates(self) -> list[float]:
        """Shares per second in up to six parts of the history, of about equal length in time."""
        if len(self._points) < 2:  # noqa: PLR2004 (a rate needs two moments)
            return []
        length = (self._points[-1][0] - self._points[0][0]) / _SEGMENTS
        rates, start = [], self._points[0]
        for point in self._points[1:]:
            seconds = point[0] - start[0]
            if seconds >= max(length, 1.0):
                rates.append((point[1] - start[1]) / seconds)
                start = point
        return rates


def roughly(seconds: float) -> str:
    """A duration as exactly as a guess deserves.

    >>> roughly(3.4), roughly(75), roughly(1230), roughly(7384)
    ('3 s', '1 min 15 s', '20 min', '2 h 03 min')
    """
    if seconds == float("inf"):
        return "unknown"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE // 5 * 5:02d} s"
    if whole < _HOUR:
        return f"{round(whole / _MINUTE)} min"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
