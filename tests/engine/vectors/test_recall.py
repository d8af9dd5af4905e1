from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.engine.vectors.files import MatrixVectors
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.engine.vectors.recipe import Recipe
from mlpstorage.engine.vectors.structure import structure_of
from mlpstorage.engine.vectors.truth import exact

if TYPE_CHECKING:
    from mlpstorage.engine.vectors.truth import Truth


def recall_of(answer: list[int], base: list[list[float]], k_true: int = 4) -> float:
    """The recall of one answer for the query (0, 0) under l2."""
    vectors = MatrixVectors(np.array(base, np.float32))
    query = np.zeros((1, 2), np.float32)
    everything = np.arange(len(base))[None]
    truth = exact(query, everything, vectors, "l2", k_true)
    (found,) = recalls(np.array([answer]), np.array([0]), query, truth, vectors, "l2")
    return float(found)


LINE = [[1, 0], [2, 0], [3, 0], [4, 0], [5, 0]]


@pytest.mark.parametrize(
    ("answer", "recall"),
    [
        ([0, 1, 2], 1.0),
        ([2, 0, 1], 1.0),  # the order does not matter
        ([0, 1, 3], 2 / 3),
        ([0, 0, 0], 1 / 3),  # a neighbour counts once
        ([0, 1, -1], 2 / 3),  # an answer that is short
        ([0, 1, 99], 2 / 3),  # a number that names no vector
        ([4, 3, -1], 0.0),
    ],
)
def test_recall_counts_distinct_true_neighbours(answer: list[int], recall: float) -> None:
    """The share of the k nearest that an answer holds, each counted once."""
    assert recall_of(answer, LINE) == pytest.approx(recall)


def test_any_of_several_equally_far_vectors_counts() -> None:
    """At a tie the answer need not be the one that the truth happens to list."""
    ring = [[1, 0], [0, 2], [2, 0], [0, -2], [-2, 0], [9, 9]]
    assert recall_of([0, 4], ring, k_true=2) == 1.0
    assert recall_of([0, 5], ring, k_true=2) == 0.5


def test_the_default_data_have_structure_and_independent_data_have_none() -> None:
    """Contrast and dimension tell data that can be searched from data that cannot."""
    found = {}
    for distribution, clusters in (("clustered", 200), ("uniform", 0)):
        recipe = Recipe(distribution, 128, clusters=clusters)
        vectors = MatrixVectors(recipe.rows("base", 0, 5000))
        queries = recipe.rows("query", 0, 100)
        everything = np.broadcast_to(np.arange(5000), (100, 5000))
        truth: Truth = exact(queries, everything, vectors, "cosine", 100)
        found[distribution] = structure_of(queries, vectors, truth, "cosine")
    clustered, uniform = found["clustered"], found["uniform"]
    assert clustered.contrast is not None
    assert uniform.contrast is not None
    assert clustered.contrast > 1.6
    assert uniform.contrast < 1.4
    assert clustered.lid is not None
    assert uniform.lid is not None
    assert clustered.lid < 30 < uniform.lid
