"""How ranks agree on a common window: one start and one end for all, whatever their clocks say.

A barrier lets everybody go at one moment, which lies between the times at which a rank entered and
left it, on that rank's clock. So each barrier bounds the difference of two clocks, and the rank
that came last has the narrowest bounds: after some rounds the differences are known to a fraction
of a barrier's duration. Rank 0 then names an instant, and each rank waits for it on its own clock.
"""

from __future__ import annotations

import statistics
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.engine.comm import Comm

_ROUNDS = 16
_LEAD_NS = 200_000_000


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A start that all ranks agreed on.

    Args:
        start_ns: The instant, on this rank's `perf_counter_ns`.
        skew_ns: Rank 0 only: by how much the last rank was too late for it; 0 when all were ready.
        error_ns: By how much the ranks' ideas of the instant may differ.
        offsets_ns: Each rank's clock minus rank 0's, by rank.
    """

    start_ns: int
    skew_ns: int
    error_ns: int
    offsets_ns: list[int]


def agree_start(
    comm: Comm,
    *,
    lead_ns: int = _LEAD_NS,
    rounds: int = _ROUNDS,
    clock: Callable[[], int] = perf_counter_ns,
) -> Start:
    """Agree with all ranks on an instant in the near future; every rank must call it.

    Args:
        comm: The ranks.
        lead_ns: How far ahead the instant lies: enough for everybody to hear of it.
        rounds: How many barriers compare the clocks.
        clock: This rank's clock, in nanoseconds.
    """
    spans = []
    for _ in range(rounds):
        entered = clock()
        comm.barrier()
        spans.append((entered, clock()))
    gathered = comm.gather(spans)
    message: list[object] | None = None
    if gathered is not None:
        pairs = [clock_offset(gathered[0], theirs) for theirs in gathered]
        message = [clock() + lead_ns, [pair[0] for pair in pairs], max(pair[1] for pair in pairs)]
    instant, offsets, error = comm.broadcast(message)
    start = instant + offsets[comm.rank]
    late = comm.gather(max(0, clock() - start))
    return Start(
        start_ns=start,
        skew_ns=max(late) if late is not None else 0,
        error_ns=error,
        offsets_ns=offsets,
    )


def agree_cut(comm: Comm, cut_ns: int | None) -> int | None:
    """When the window of all ranks ends early; every rank must call it after its own has ended.

    Ranks hear at different moments that the user wants to stop, and some may have come to the end
    meanwhile. Until the first heard, all were at work: so that moment is the end for everybody.

    Args:
        comm: The ranks.
        cut_ns: When this rank ended its window early, from the start; None if it did not.

    Returns:
        The earliest of these moments, from the start, on every rank; None if there is none.
    """
    gathered = comm.gather(cut_ns)
    cuts = [cut for cut in gathered or () if cut is not None]
    earliest: int | None = comm.broadcast(min(cuts, default=None))
    return earliest


def clock_offset(
    reference: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Another clock minus the reference's, from the same barriers seen by both, and its error.

    Each barrier let both go at one moment within (entered, left) on either clock. All bounds hold
    at once, so they are intersected, and zero is taken if it is possible: ranks of one host share
    their clock. Clocks that drift between the barriers may leave nothing; then the median of the
    middles stands, with their spread as its error.

    >>> clock_offset([(0, 100), (200, 210)], [(1090, 1100), (1200, 1300)])
    (1045, 55)
    >>> clock_offset([(0, 100), (200, 210)], [(90, 100), (200, 300)])
    (0, 100)
    """
    low = max(theirs[0] - ours[1] for ours, theirs in zip(reference, other, strict=True))
    high = min(theirs[1] - ours[0] for ours, theirs in zip(reference, other, strict=True))
    if low <= 0 <= high:
        return 0, max(-low, high)
    if low <= high:
        return (low + high) // 2, (high - low + 1) // 2
    middles = [
        (theirs[0] + theirs[1] - ours[0] - ours[1]) // 2
        for ours, theirs in zip(reference, other, strict=True)
    ]
    return round(statistics.median(middles)), (max(middles) - min(middles) + 1) // 2


def wait_until(instant_ns: int, clock: Callable[[], int] = perf_counter_ns) -> None:
    """Sleep until an instant of the clock."""
    while (left := instant_ns - clock()) > 0:
        sleep(left / 1e9)
