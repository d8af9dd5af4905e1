"""The largest load that passes: doubled until it fails, then halved in to five percent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 0.05


@dataclass(frozen=True)
class Search:
    """What a search found.

    Args:
        best: The largest load that passed; 0 if none did.
        least_failing: The smallest load that failed; None if none did up to the most.
        probes: Every load that was tried and whether it passed, in the order of trying.
    """

    best: int
    least_failing: int | None
    probes: tuple[tuple[int, bool], ...]

    @property
    def bounded(self) -> bool:
        """Whether more load than `best` was seen to fail: otherwise the search ended too early."""
        return self.least_failing is not None


@dataclass
class _Trials:
    """Probes that were made; a load is never tried twice."""

    probe: Callable[[int], bool]
    results: dict[int, bool] = field(default_factory=dict)

    def passes(self, load: int) -> bool:
        if load not in self.results:
            self.results[load] = self.probe(load)
        return self.results[load]


def find_most(
    probe: Callable[[int], bool], first: int, *, most: int, tolerance: float = TOLERANCE
) -> Search:
    """Find the largest load that passes, to within a tolerance.

    If the first load fails, it is halved until one passes. It is assumed that whatever is above a
    failing load fails as well; noise may break that, so callers confirm `best` (see `confirmed`).

    >>> find_most(lambda load: load <= 83, 10, most=1000)
    Search(best=82, least_failing=85, probes=((10, True), (20, True), (40, True), (80, True), \
(160, False), (120, False), (100, False), (90, False), (85, False), (82, True)))

    Args:
        probe: Tries a load; whether it passes. Called once per load.
        first: The load to begin with, at least 1.
        most: The largest load to try.
        tolerance: How far the smallest failing load may be above the best one, as a share of it.
    """
    trials = _Trials(probe)
    low, high = _bracket(trials, min(max(first, 1), most), most)
    while low and high is not None and high - low > 1 and high > low * (1 + tolerance):
        middle = (low + high) // 2
        if trials.passes(middle):
            low = middle
        else:
            high = middle
    return Search(low, high, tuple(trials.results.items()))


def _bracket(trials: _Trials, load: int, most: int) -> tuple[int, int | None]:
    """A load that passes (0 if none) and the next one tried that fails (None if none)."""
    if trials.passes(load):
        while load < most:
            higher = min(2 * load, most)
            if not trials.passes(higher):
                return load, higher
            load = higher
        return load, None
    high = load
    while high > 1:
        load = high // 2
        if trials.passes(load):
            return load, high
        high = load
    return 0, high


def confirmed(
    probe: Callable[[int], bool], best: int, *, times: int = 3, tolerance: float = TOLERANCE
) -> int:
    """The load that passes so many times in a row, from `best` downwards; 0 if none does.

    Args:
        probe: Tries a load; called anew each time.
        best: Where to begin.
        times: How often it must pass.
        tolerance: The share by which the load is lowered after it failed.
    """
    load = best
    while load > 0:
        if all(probe(load) for _ in range(times)):
            return load
        load = min(load - 1, int(load * (1 - tolerance)))
    return 0
