from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.engine.vectors.blocks import BlockFile
from mlpstorage.engine.vectors.files import open_vectors
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.engine.vectors.recipe import Recipe
from mlpstorage.engine.vectors.truth import TruthWork

if TYPE_CHECKING:
    from pathlib import Path

faiss = pytest.importorskip("faiss")


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_truth_is_that_of_faiss(tmp_path: Path, metric: str) -> None:
    """Of 1,000 queries the neighbours and distances are those of faiss's exact search."""
    recipe = Recipe("clustered", 96, clusters=400)
    base, queries = recipe.rows("base", 0, 40_000), recipe.rows("query", 0, 1000)
    file = BlockFile(tmp_path / "base.fbin", *base.shape)
    file.begin()
    file.make(0, 1, lambda a, b: base[a:b], lambda _done, _moved: None)
    work = TruthWork(file, file.checksums(), queries, metric, 100, "t")
    work.share(0, 1, set(), lambda _done, _total: None)
    truth = work.finish(open_vectors(file.path))
    index = faiss.IndexFlatL2(96) if metric == "l2" else faiss.IndexFlatIP(96)
    index.add(base)
    scores, ids = index.search(queries, 100)
    found = recalls(ids, np.arange(1000), queries, truth, open_vectors(file.path), metric)
    assert found.min() == 1.0
    far = np.sqrt(scores) if metric == "l2" else -scores + (metric == "cosine")
    assert np.abs(far - truth.distances).max() < 1e-5
