from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.engine.vectors.recipe import DISTRIBUTIONS, Recipe, clusters_for

GOLDEN = {
    "clustered": "f3934271a9a3d283",
    "uniform": "853eff60aaa1b724",
    "normal": "b749c8055b3d6983",
    "zipfian": "143cf1395f66f225",
}


def recipe_of(distribution: str, dimension: int = 24) -> Recipe:
    """A recipe as a data set of 2,000 vectors has it."""
    clusters = clusters_for(2000) if distribution == "clustered" else 0
    return Recipe(distribution, dimension, clusters=clusters)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_bytes_of_a_generator_version_never_change(distribution: str) -> None:
    """The vectors of a recipe are these very bytes, on any machine and with any numpy."""
    rows = recipe_of(distribution).rows("base", 0, 2000)
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == GOLDEN[distribution]


def test_bytes_do_not_depend_on_the_kernels_of_the_blas() -> None:
    """Another processor's matrix kernels, which add in another order, give the same bytes."""
    code = (
        "import hashlib; from mlpstorage.engine.vectors.recipe import Recipe;"
        "rows = Recipe('clustered', 384, clusters=50).rows('base', 0, 3000);"
        "print(hashlib.sha256(rows.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "OPENBLAS_CORETYPE": kernel,
                "OPENBLAS_NUM_THREADS": threads,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kernel, threads in (("Haswell", "1"), ("Nehalem", "2"), ("Prescott", "1"))
    }
    assert len(found) == 1


@given(
    st.sampled_from(DISTRIBUTIONS),
    st.sampled_from(["base", "query"]),
    st.integers(0, 900),
    st.integers(1, 300),
)
@settings(max_examples=25, deadline=None)
def test_any_range_can_be_made_alone(distribution: str, pool: str, begin: int, count: int) -> None:
    """A range of rows is the same whether it is made alone or within another."""
    recipe = recipe_of(distribution, 7)
    whole = recipe.rows(pool, 0, 1200)  # type: ignore[arg-type]  # one of the two
    part = recipe.rows(pool, begin, begin + count)  # type: ignore[arg-type]  # one of the two
    assert (whole[begin : begin + count] == part).all()


def test_seeds_and_pools_give_unrelated_vectors() -> None:
    """No vector of another seed, or of the queries, is a vector of the base."""
    base = recipe_of("clustered").rows("base", 0, 500)
    others = (
        recipe_of("clustered").rows("query", 0, 500),
        Recipe("clustered", 24, seed=43, clusters=clusters_for(2000)).rows("base", 0, 500),
    )
    for other in others:
        assert float((base @ other.T).max()) < 0.9999


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_normalised_vectors_have_length_one(distribution: str) -> None:
    """Every length is 1 to float32's rounding."""
    rows = recipe_of(distribution).rows("base", 0, 500).astype(np.float64)
    assert np.abs(np.sqrt((rows**2).sum(axis=1)) - 1).max() < 1e-6


def test_clusters_follow_zipfs_law() -> None:
    """The largest cluster holds about the share that the exponent 0.7 gives it."""
    recipe = Recipe("clustered", 4, clusters=50)
    draws = recipe._words(2, 0, 20_000)
    cluster = np.searchsorted(recipe._limits, draws, side="right")
    weights = np.arange(1, 51) ** -0.7
    counts = np.bincount(cluster, minlength=50)
    assert counts[0] / 20_000 == pytest.approx(weights[0] / weights.sum(), rel=0.08)
    assert counts[49] / 20_000 == pytest.approx(weights[49] / weights.sum(), rel=0.25)
