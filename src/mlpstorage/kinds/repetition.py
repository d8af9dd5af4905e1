"""Runs that count together: which there are, in what order, and how far apart they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.run import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.kinds.measurement import Measurement

WARM_UP = "warm-up"
MEASURED = "measured"
WRITE = "write"
READ = "read"


def any_gap(_durations: Sequence[float]) -> float:
    """No rule about the time between runs."""
    return math.inf


def gap_of_a_run(durations: Sequence[float]) -> float:
    """Rule 2.1.18: the time between two runs is shorter than the longest run; seconds.

    >>> gap_of_a_run([61.0, 60.0])
    61.0
    """
    return max(durations, default=math.inf)


@dataclass(frozen=True)
class Repetition:
    """A set of runs.

    Attributes:
        make: The run of a turn.
        roles: What the runs are, in their order.
        pause_seconds: How long to wait between two runs.
        longest_gap: The most seconds between two runs, from the durations of those that ended.
    """

    make: Callable[[Turn], Measurement]
    roles: tuple[str, ...]
    pause_seconds: float = 0.0
    longest_gap: Callable[[Sequence[float]], float] = any_gap

    def turn(self, place: int, seed: int) -> Turn:
        """The turn at a place, from 1."""
        return Turn(place, len(self.roles), self.roles[place - 1], seed)

    def lead_in(self, place: int) -> int | None:
        """The place whose run must come shortly before this one's, None if none must.

        >>> measured = Repetition(make=lambda turn: turn, roles=(WARM_UP, MEASURED, MEASURED))
        >>> measured.lead_in(3), measured.lead_in(1)
        (1, None)
        """
        role = self.roles[place - 1]
        if role == READ:
            return place - 1
        return 1 if role == MEASURED and self.roles[0] == WARM_UP else None

    def name_of(self, place: int) -> str:
        """What the run at a place is called.

        >>> Repetition(lambda turn: turn, (WARM_UP, MEASURED, MEASURED)).name_of(3)
        'measured 2/2'
        """
        return part_name(self.roles, place)


def part_name(roles: Sequence[str], place: int) -> str:
    """What the run at a place among these roles is called, wherever it is shown.

    >>> part_name((WARM_UP, MEASURED, MEASURED), 2), part_name((WRITE, READ), 2)
    ('measured 1/2', 'read')
    """
    role = roles[place - 1]
    of = roles.count(role)
    return role if of == 1 else f"{role} {roles[:place].count(role)}/{of}"


def measured_runs(count: int, *, warm_up: bool = False) -> tuple[str, ...]:
    """The roles of measured runs, after a warm-up if one is wanted.

    >>> measured_runs(2, warm_up=True)
    ('warm-up', 'measured', 'measured')
    """
    return (*((WARM_UP,) if warm_up else ()), *((MEASURED,) * count))
