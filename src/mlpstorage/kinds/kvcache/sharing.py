"""Which rank does which operation of a plan that all ranks execute together.

A request is done by the rank of its session, and so are its reads and writes. A deletion is given
to the rank that can keep it in order: the one that writes the block next, or else wrote it last.
There it comes with the first request that is no earlier than the one it made room for. So a rank
never reads a block after it deleted it, and most blocks are one rank's matter alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


def rank_of_requests(session: npt.NDArray[np.int32], ranks: int) -> Ints:
    """The rank of each request; the sessions are dealt out in turn."""
    return (session % ranks).astype(np.int64)


def shared_out(
    op: npt.NDArray[np.uint8],
    block: npt.NDArray[np.uint64],
    first_op: Ints,
    request_rank: Ints,
) -> tuple[Ints, Ints]:
    """For each operation the rank that does it, and the request of that rank it belongs to."""
    request = np.repeat(np.arange(len(first_op) - 1), np.diff(first_op))
    rank = request_rank[request]
    deletes = np.flatnonzero(op == Op.DELETE)
    if len(deletes):
        wanted = _wanted_rank(op, block, rank)[deletes]
        moved = _first_at_or_after(request_rank, request[deletes], wanted)
        found = moved >= 0
        rank[deletes[found]] = wanted[found]
        request[deletes[found]] = moved[found]
    return rank, request


def _wanted_rank(op: npt.NDArray[np.uint8], block: npt.NDArray[np.uint64], rank: Ints) -> Ints:
    """Of each operation: the rank of its block's next WRITE, else of the last, else its own."""
    order = np.argsort(block, kind="stable")
    writes = (op == Op.WRITE)[order]
    sorted_block, sorted_rank = block[order], rank[order]
    places = np.arange(len(order))
    before = np.maximum.accumulate(np.where(writes, places, -1))
    after = np.minimum.accumulate(np.where(writes, places, len(order))[::-1])[::-1]
    wanted = sorted_rank.copy()
    for near in (before, after):
        inside = (near >= 0) & (near < len(order))
        safe = np.where(inside, near, 0)
        same = inside & (sorted_block[safe] == sorted_block)
        wanted[same] = sorted_rank[safe[same]]
    found = np.empty_like(wanted)
    found[order] = wanted
    return found


def _first_at_or_after(request_rank: Ints, request: Ints, wanted: Ints) -> Ints:
    """The first request of the wanted rank that is no earlier; -1 when there is none."""
    found = np.full(len(request), -1, np.int64)
    for rank in np.unique(wanted):
        own = np.flatnonzero(request_rank == rank)
        chosen = wanted == rank
        at = np.searchsorted(own, request[chosen])
        found[chosen] = np.where(at < len(own), own[np.minimum(at, len(own) - 1)], -1)
    return found
