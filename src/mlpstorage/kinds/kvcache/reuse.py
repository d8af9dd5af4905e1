"""How far apart the uses of a block are: what a cache of any size would hit follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def reuse_distances(blocks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each use of a block but its first: how many different blocks were used in between.

    Args:
        blocks: The blocks in the order of their use, as numbers from 0 on.

    A use is a hit in a least-recently-used cache of more blocks than that. The different blocks in
    between are those whose last use before is no later than this block's own; they are counted by
    merging sorted halves, level by level, in O(n · log² n).

    >>> reuse_distances(np.array([0, 1, 2, 0, 0, 1])).tolist()
    [2, 0, 2]
    """
    before = previous_use(blocks)
    again = before >= 0
    return (_no_larger_to_the_left(before) - (before + 1))[again]


def previous_use(blocks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The index of each use's last use of the same block, -1 for none.

    >>> previous_use(np.array([5, 6, 5, 5])).tolist()
    [-1, -1, 0, 2]
    """
    order = np.argsort(blocks, kind="stable")
    same = blocks[order[1:]] == blocks[order[:-1]]
    before = np.full(len(blocks), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    return before


def _no_larger_to_the_left(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each value: how many of the values before it are no larger."""
    count = len(values)
    size = 1 << max(0, (count - 1).bit_length())
    padded = np.full(size, np.iinfo(np.int64).max >> 1, np.int64)
    padded[:count] = values
    found = np.zeros(size, np.int64)
    span = np.int64(2 * size + 4)
    width = 1
    while width < size:
        halves = padded.reshape(-1, 2, width)
        pairs = np.arange(len(halves), dtype=np.int64)[:, None]
        left = np.sort(np.minimum(halves[:, 0], size), axis=1) + pairs * span
        right = np.minimum(halves[:, 1], size) + pairs * span
        places = np.searchsorted(left.ravel(), right.ravel(), side="right")
        found.reshape(-1, 2, width)[:, 1] += places.reshape(right.shape) - pairs * width
        width *= 2
    return found[:count]
