"""Adds up the progress of ranks in one activity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.display.words import counts_time

if TYPE_CHECKING:
    from mlpstorage.core.events import Progress


@dataclass
class Tally:
    """The latest progress of every rank in one activity; `began` is a monotonic time.

    `ended` is when the last of what is known to be done was: what comes after it, such as a pause,
    is no part of the activity.
    """

    activity: str
    began: float
    ranks: dict[int, Progress] = field(default_factory=dict)
    ended: float | None = None

    def add(self, progress: Progress, now: float) -> None:
        """Take note of a rank's latest progress."""
        self.ranks[progress.rank] = progress
        self.ended = now if self.total and self.done >= self.total else None

    @property
    def done(self) -> int:
        """Units done by all ranks heard of."""
        return sum(p.done for p in self.ranks.values())

    @property
    def total(self) -> int:
        """Units to do by all ranks heard of."""
        return sum(p.total for p in self.ranks.values())

    @property
    def unit(self) -> str:
        """What is counted."""
        return next((p.unit for p in self.ranks.values()), "")

    @property
    def moved(self) -> int:
        """Bytes moved by all ranks heard of."""
        return sum(p.bytes for p in self.ranks.values())

    @property
    def share(self) -> float:
        """The part of this activity that is done, 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 1.0

    @property
    def overall(self) -> float:
        """The part of all activities of its kind, such as epochs, that is done."""
        first = next(iter(self.ranks.values()), None)
        if first is None or first.parts <= 1:
            return self.share
        return (first.part - 1 + self.share) / first.parts

    @property
    def has_parts(self) -> bool:
        """Whether there are more activities of its kind."""
        return any(p.parts > 1 for p in self.ranks.values())

    def elapsed(self, now: float) -> float:
        """Seconds that it took until now, or until all was done."""
        return max((now if self.ended is None else self.ended) - self.began, 0.0)

    def rate(self, now: float) -> str:
        """Bytes per second so far; where no bytes are counted, units."""
        elapsed = max(self.elapsed(now), 1e-9)
        if self.moved or not self.done:
            return f"{format_bytes(self.moved / elapsed)}/s"
        return f"{self.done / elapsed:.3g} {self.unit}/s"

    def text(self, now: float) -> str:
        """One line: percent, units, rate and elapsed time.

        >>> from mlpstorage.core.events import Progress
        >>> tally = Tally("epoch 1/5", began=0.0)
        >>> tally.add(Progress(0, "epoch 1/5", 25, 100, "steps", 50 << 20), now=10.0)
        >>> tally.text(10.0)
        'epoch 1/5: 25 % (25/100 steps), 5.00 MiB/s, 10.0 s elapsed'
        """
        told = f"{self.activity}: {100 * self.share:.0f} % ({self.done}/{self.total} {self.unit})"
        rate = "" if counts_time(self.unit) and not self.moved else f", {self.rate(now)}"
        return f"{told}{rate}, {format_seconds(self.elapsed(now))} elapsed"
