"""Finding the least search effort that reaches a recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.kinds.vectordb.record import CalibrationStep

if TYPE_CHECKING:
    from collections.abc import Callable

# Efforts this near to each other are taken for the same.
_NEAR = 1.04


def calibrate(
    recall_at: Callable[[int], float | None],
    target: float,
    least: int,
    most: int,
    start: int,
    steps: list[CalibrationStep],
) -> int | None:
    """The least effort whose recall reaches the target, to about 4 %.

    What is tried is put into `steps`. None as soon as `recall_at` gives None.

    Recall does not fall when effort grows: from `start` the effort is halved while the recall is
    high enough, or doubled until it is, and the rest is bisection. When even `most` does not reach
    the target, that is the effort.

    >>> steps = []
    >>> calibrate(lambda effort: 1 - 1 / effort, 0.95, 1, 1000, 8, steps), len(steps) < 12
    (20, True)
    >>> calibrate(lambda effort: 0.5, 0.95, 1, 16, 4, [])
    16
    >>> calibrate(lambda effort: None, 0.95, 1, 16, 4, [])
    """
    try:
        return _search(recall_at, target, least, most, start, steps)
    except _LeftError:
        return None


class _LeftError(Exception):
    """Nobody wants to know the effort any more."""


def _search(
    recall_at: Callable[[int], float | None],
    target: float,
    least: int,
    most: int,
    start: int,
    steps: list[CalibrationStep],
) -> int:
    def reaches(effort: int) -> bool:
        recall = recall_at(effort)
        if recall is None:
            raise _LeftError
        steps.append(CalibrationStep(effort=effort, recall=recall))
        return recall >= target

    low, high = least - 1, min(max(start, least), most)
    while not reaches(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while low < least and high > least:
        lower = max(high // 2, least)
        if reaches(lower):
            high = lower
        else:
            low = lower
    while high - low > 1 and high > low * _NEAR:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return high
