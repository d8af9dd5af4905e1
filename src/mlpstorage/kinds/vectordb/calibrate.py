"""Finding the least search effort that reaches a recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.kinds.vectordb.record import CalibrationStep

if TYPE_CHECKING:
    from collections.abc import Callable

# Efforts this near to each other are taken for the same.
_NEAR = 1.04


def calibrate(
    recall_at: Callable[[int], float], target: float, least: int, most: int, start: int
) -> tuple[int, list[CalibrationStep]]:
    """The least effort whose recall reaches the target, to about 4 %, and what was tried.

    Recall does not fall when effort grows: from `start` the effort is halved while the recall is
    high enough, or doubled until it is, and the rest is bisection. When even `most` does not reach
    the target, that is the effort.

    >>> effort, steps = calibrate(lambda effort: 1 - 1 / effort, 0.95, 1, 1000, 8)
    >>> effort, len(steps) < 12
    (20, True)
    >>> calibrate(lambda effort: 0.5, 0.95, 1, 16, 4)[0]
    16
    """
    steps: list[CalibrationStep] = []

    def reaches(effort: int) -> bool:
        recall = recall_at(effort)
        steps.append(CalibrationStep(effort=effort, recall=recall))
        return recall >= target

    low, high = least - 1, min(max(start, least), most)
    while not reaches(high):
        if high == most:
            return most, steps
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
    return high, steps
