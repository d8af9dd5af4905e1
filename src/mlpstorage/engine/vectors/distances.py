"""What near means: the metrics, fast scores for searching and exact distances for judging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("cosine", "l2", "ip")


def metric_of(name: str) -> str:
    """The metric that a user's word names: COSINE, L2, IP in either case.

    Raises:
        UsageError: it names none.
    """
    word = name.lower()
    if word not in METRICS:
        raise UsageError(f"--metric-type {name!r} is unknown", fix=did_you_mean(word, METRICS))
    return word


def scores(
    queries: NDArray[np.float32], base: NDArray[np.float32], metric: str
) -> NDArray[np.float32]:
    """How near each base vector is to each query, larger is nearer: float32 (queries, base).

    Fast (one matrix product) and as exact as float32 is: good for finding candidates.

    >>> points = np.array([[0, 1], [3, 3]], np.float32)
    >>> scores(np.array([[0, 2]], np.float32), points, "l2").tolist()
    [[3.0, -6.0]]
    """
    if metric == "cosine":
        length = np.sqrt(np.einsum("ij,ij->i", base, base))
        product = queries @ base.T
        product /= np.maximum(length, np.float32(1e-30))
        return product
    product = queries @ base.T
    if metric == "l2":  # −|q − x|² without the part that is the same for all x
        product *= np.float32(2)
        product -= np.einsum("ij,ij->i", base, base)
    return product


def distances(
    query: NDArray[np.float32], rows: NDArray[np.float32], metric: str
) -> NDArray[np.float64]:
    """The exact distance of each row to a query, smaller is nearer; float64 throughout.

    `cosine` is 1 − cos, `l2` the Euclidean distance, `ip` the negated inner product.

    >>> points = np.array([[3, 4], [0, 2]], np.float32)
    >>> distances(np.array([0, 1], np.float32), points, "l2").round(6).tolist()
    [4.242641, 1.0]
    >>> distances(np.array([0, 1], np.float32), points, "cosine").round(6).tolist()
    [0.2, 0.0]
    """
    wide, one = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        wide -= one
        length: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        return length
    product: NDArray[np.float64] = wide @ one
    if metric == "ip":
        return -product
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide)) * np.sqrt(one @ one)
    angle: NDArray[np.float64] = 1.0 - product / np.maximum(lengths, 1e-300)
    return angle


def straight(found: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Distances as lengths in space, which contrast and dimension are defined on.

    Of `cosine` the chord between unit vectors; of `ip` there is none, so the values stay.
    """
    if metric == "cosine":
        chord: NDArray[np.float64] = np.sqrt(np.maximum(2 * found, 0))
        return chord
    return found
