"""Centroids by k-means, and the list of every vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.vectors.distances import scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_ROUNDS = 6
# Rows per centroid that training looks at: more changes the lists little.
_ROWS_PER_LIST = 40
_SLICE_ROWS = 8192


def train(rows: Callable[[NDArray[np.int64]], Floats], count: int, lists: int) -> Floats:
    """Centroids (lists, dimension) of a sample of the vectors; Euclidean, whatever the metric.

    The sample and the first centroids are evenly spread rows: the same data give the same index.

    Args:
        rows: The vectors of these numbers.
        count: How many vectors there are.
        lists: How many centroids are wanted.
    """
    wanted = min(count, lists * _ROWS_PER_LIST)
    sample = rows(np.linspace(0, count - 1, wanted).astype(np.int64))
    centroids = sample[np.linspace(0, wanted - 1, lists).astype(np.int64)].copy()
    for _ in range(_ROUNDS):
        nearest = assign(sample, centroids)
        centroids = _means(sample, nearest, centroids)
    return centroids


def assign(vectors: Floats, centroids: Floats) -> NDArray[np.int32]:
    """The nearest centroid of each vector, by Euclidean distance."""
    nearest = np.empty(len(vectors), np.int32)
    for begin in range(0, len(vectors), _SLICE_ROWS):
        part = slice(begin, begin + _SLICE_ROWS)
        nearest[part] = scores(vectors[part], centroids, "l2").argmax(axis=1)
    return nearest


def _means(sample: Floats, nearest: NDArray[np.int32], centroids: Floats) -> Floats:
    """The mean of every list; an empty one starts anew at a vector of the sample."""
    order = np.argsort(nearest, kind="stable")
    counts = np.bincount(nearest, minlength=len(centroids))
    filled = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[filled]
    sums = np.add.reduceat(sample[order], starts, axis=0)
    moved = centroids.copy()
    moved[filled] = sums / counts[filled, None]
    empty = np.flatnonzero(counts == 0)
    moved[empty] = sample[np.linspace(0, len(sample) - 1, len(empty)).astype(np.int64)]
    return moved
