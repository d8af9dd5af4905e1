from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mlpstorage.engine.vectors.recipe import Recipe
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.backends.interface import Collection, checked_parameters


def kernel_bytes() -> int:
    """What the kernel has read from storage for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


@pytest.mark.parametrize(("dimension", "sectors"), [(32, 1), (1100, 2)])
def test_its_own_reads_are_those_of_the_kernel(
    dimension: int, sectors: int, tmp_path: Path
) -> None:
    """Bytes by the engine's count of reads agree with the kernel's within two percent."""
    if importlib.util.find_spec("diskannpy") is None:
        pytest.skip("diskannpy-rust is not installed")
    description = backend_named("diskannpy-rust")
    index, recipe = description.index(""), Recipe("clustered", dimension, clusters=20)
    collection = Collection(
        name="c", folder=tmp_path / "c", vectors=1000, dimension=dimension, metric="cosine",
        index=index, build=checked_parameters({"complexity": 40}, index.build, "index", "x"),
    )  # fmt: skip
    backend = description.connect(collection)
    backend.create()
    backend.load(0, recipe.rows("base", 0, 1000))
    backend.flush()
    backend.build(lambda _done, _total: None)
    backend.open()
    stored = backend.fetch([0, 999])
    assert stored is not None
    search, queries = backend.searcher(10, 30), recipe.rows("query", 0, 40)
    search(queries[:1])
    before, kernel = backend.counters(), kernel_bytes()
    for number in range(40):
        search(queries[number : number + 1])
    after, moved = backend.counters(), kernel_bytes() - kernel
    assert before is not None
    assert after is not None
    own, reads = after.bytes - before.bytes, after.reads - before.reads
    assert own == reads * sectors * 4096
    assert reads > 40 * 10
    if not moved:
        pytest.skip("the kernel counts no reads of this filesystem")
    assert abs(own - moved) <= 0.02 * moved
    backend.close()
