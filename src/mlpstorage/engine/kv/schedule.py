"""What must precede what in a plan: worked out in arrays before the clock starts.

Operations on one block keep the plan's order as far as it matters: reads of a block may overlap
each other, writes and deletes may not overlap anything. So a WRITE or DELETE follows all reads
since the last WRITE or DELETE of its block, and a READ follows the last WRITE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.kv.layouts import Places
    from mlpstorage.engine.kv.plan import KvPlan


@dataclass(frozen=True)
class Order:
    """The order within each block (and slot); arrays of the operations' length.

    Args:
        source: For a READ or DELETE, the WRITE that it reads from or undoes; -1 when the block is
            there from the start, and for a WRITE; int64.
        follower: The next WRITE or DELETE of the same block, which waits for this operation; -1
            when there is none; int64.
        takes_place: For a DELETE, the WRITE that uses the freed slot and waits for it; otherwise
            -1; int64.
        needs: For a WRITE or DELETE, how many operations it waits for; int64.
    """

    source: NDArray[np.int64]
    follower: NDArray[np.int64]
    takes_place: NDArray[np.int64]
    needs: NDArray[np.int64]


def order_of(plan: KvPlan, places: Places) -> Order:
    """The order of a plan's operations.

    Raises:
        ConfigurationError: the plan reads or deletes a block that it has deleted.
    """
    count = len(plan.op)
    source = np.full(count, -1, np.int64)
    follower, takes_place = source.copy(), source.copy()
    needs = np.zeros(count, np.int64)
    by_block = np.argsort(plan.block, kind="stable")
    if count:
        _within_blocks(plan, by_block, source, follower, needs)
    taken = places.freed_by >= 0
    takes_place[places.freed_by[taken]] = np.flatnonzero(taken)
    needs[taken] += 1
    return Order(source, follower, takes_place, needs)


def _within_blocks(
    plan: KvPlan,
    by_block: NDArray[np.int64],
    source: NDArray[np.int64],
    follower: NDArray[np.int64],
    needs: NDArray[np.int64],
) -> None:
    """Fill the arrays in; positions count operations that are sorted by block, then by index."""
    op, block = plan.op[by_block], plan.block[by_block]
    positions = np.arange(len(op))
    first = np.r_[True, block[1:] != block[:-1]]
    begin = np.maximum.accumulate(np.where(first, positions, 0))
    exclusive = op != Op.READ
    last = np.r_[-1, np.maximum.accumulate(np.where(exclusive, positions, -1))[:-1]]
    last = np.where(last >= begin, last, -1)
    users = (op != Op.WRITE) & (last >= 0)
    _refuse_deleted(plan, by_block, positions[users][op[last[users]] == Op.DELETE])
    source[by_block[users]] = by_block[last[users]]
    since = np.where(last >= 0, last, begin)
    needs[by_block[exclusive]] = (positions - since)[exclusive]
    # Backwards: the nearest WRITE or DELETE behind, if it is of the same block.
    end = len(op)
    behind = np.where(exclusive, positions, end)[::-1]
    following = np.r_[np.minimum.accumulate(behind)[::-1][1:], end]
    safe = np.minimum(following, end - 1)
    found = (following < end) & (block[safe] == block)
    follower[by_block[found]] = by_block[safe[found]]


def _refuse_deleted(
    plan: KvPlan, by_block: NDArray[np.int64], positions: NDArray[np.int64]
) -> None:
    if len(positions):
        index = int(by_block[positions[0]])
        raise ConfigurationError(
            f"operation {index} of the plan uses block {int(plan.block[index]):016x},"
            " which an earlier one deletes",
            why="a plan's reads are hits of its simulated cache, and it deletes what is there",
        )


def most_blocks(plan: KvPlan, resident: int) -> int:
    """The most blocks that are there at a time, when `resident` are there at the start.

    Blocks that are written again while they are there are counted twice: a bound, and exact for
    plans that write only what is missing.
    """
    change = (plan.op == Op.WRITE).astype(np.int64) - (plan.op == Op.DELETE)
    return resident + max(0, int(np.cumsum(change).max(initial=0)))
