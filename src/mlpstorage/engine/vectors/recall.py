"""Recall by true distances: an answer counts if it is as near as the k-th true neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.vectors.distances import distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.vectors.files import Vectors
    from mlpstorage.engine.vectors.truth import Truth

# Rounding of float32 distances, not a tolerance for answers that are farther away.
_RELATIVE = 1e-6
_ABSOLUTE = 1e-9


def recalls(
    answers: NDArray[np.int64],
    rows: NDArray[np.int64],
    queries: NDArray[np.float32],
    truth: Truth,
    vectors: Vectors,
    metric: str,
) -> NDArray[np.float64]:
    """The recall@k of each answer, 0 to 1.

    recall = |{r in R : d(q, r) ≤ d_k(q)}| / k over distinct answers R, where d_k is the distance of
    the k-th true neighbour: where several are equally far, any of them counts. The distances are
    worked out here, from the vectors: what the engine says is never used.

    Args:
        answers: Ids (answers, k); −1 and other numbers that name no vector count as misses.
        rows: Which query each answer is for.
        queries: The queries.
        truth: Their true neighbours.
        vectors: The base.
        metric: See `engine.vectors.distances`.
    """
    k = answers.shape[1]
    hits = (answers[:, :, None] == truth.ids[rows][:, None, :k]).any(axis=2)
    first = _first_occurrence(answers)
    real = (answers >= 0) & (answers < vectors.count) & first
    good = hits & first
    for number in np.flatnonzero((real & ~good).any(axis=1)):
        open_ = real[number] & ~good[number]
        found = distances(queries[rows[number]], vectors.take(answers[number][open_]), metric)
        limit = float(truth.distances[rows[number], k - 1])
        good[number, open_] = found <= limit + abs(limit) * _RELATIVE + _ABSOLUTE
    share: NDArray[np.float64] = good.sum(axis=1) / k
    return share


def _first_occurrence(answers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an id stands for the first time in its row: repeating a neighbour earns nothing.

    >>> _first_occurrence(np.array([[5, 7, 5, 7]])).tolist()
    [[True, True, False, False]]
    """
    order = np.argsort(answers, axis=1, kind="stable")
    ranked = np.take_along_axis(answers, order, axis=1)
    new = np.ones_like(answers, bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first
