"""Adds up the progress of ranks, and works out rate and remaining time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.core.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from mlpstorage.core.events import Progress


@dataclass
class Tally:
    """The latest progress of every rank in one activity; `began` is a monotonic time."""

    activity: str
    began: float
    ranks: dict[int, Progress] = field(default_factory=dict)

    def add(self, progress: Progress) -> None:
        """Take note of a rank's latest progress."""
        self.ranks[progress.rank] = progress

    @property
    def done(self) -> int:
        """Units done by all ranks heard of."""
        return sum(p.done for p in self.ranks.values())

    @property
    def total(self) -> int:
        """Units to do by all ranks heard of."""
        return sum(p.total for p in self.ranks.values())

    def text(self, now: float) -> str:
        """One line: percent, units, rate, elapsed and remaining time.

        >>> from mlpstorage.core.events import Progress
        >>> tally = Tally("epoch 1/5", began=0.0)
        >>> tally.add(Progress(0, "epoch 1/5", 25, 100, "steps", 50 << 20))
        >>> tally.text(10.0)
        'epoch 1/5: 25 % (25/100 steps), 5.00 MiB/s, 10.0 s elapsed, 30.0 s left'
        """
        elapsed = max(now - self.began, 1e-9)
        share = self.done / self.total if self.total else 1.0
        unit = next(iter(self.ranks.values())).unit if self.ranks else ""
        moved = sum(p.bytes for p in self.ranks.values())
        left = elapsed * (1 - share) / share if share else 0.0
        parts = [
            f"{self.activity}: {100 * share:.0f} % ({self.done}/{self.total} {unit})",
            f"{format_bytes(moved / elapsed)}/s",
            f"{format_seconds(elapsed)} elapsed",
        ]
        if 0 < share < 1:
            parts.append(f"{format_seconds(left)} left")
        return ", ".join(parts)
