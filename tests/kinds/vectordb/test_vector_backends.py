from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError, MlpstorageError, UsageError
from mlpstorage.engine.vectors.files import MatrixVectors
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.engine.vectors.recipe import Recipe
from mlpstorage.engine.vectors.truth import exact
from mlpstorage.kinds.vectordb.backends import BACKENDS, backend_named
from mlpstorage.kinds.vectordb.backends.interface import (
    Collection,
    checked_parameters,
    require_effective,
)
from mlpstorage.kinds.vectordb.backends.ivf_probe.layout import LISTS_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import Backend, Description

N, D, K = 2000, 32, 10
EMBEDDED = [backend for backend in BACKENDS if not backend.server]


def base_vectors() -> NDArray[np.float32]:
    """The vectors of every test here."""
    return Recipe("clustered", D, clusters=40).rows("base", 0, N)


def collection_of(description: Description, folder: Path, **build: int) -> Collection:
    """A collection of the default index."""
    index = description.indexes[0]
    return Collection(
        name="c",
        folder=folder / "c",
        vectors=N,
        dimension=D,
        metric="cosine",
        index=index,
        build=checked_parameters(build, index.build, "index", description.name),
    )


def nothing(_done: int, _total: int) -> None:
    """No report."""


def built(description: Description, folder: Path, **build: int) -> Backend:
    """A collection with all vectors, indexed and closed."""
    if description.missing() is not None:
        pytest.skip(f"{description.name} is not installed")
    backend = description.connect(collection_of(description, folder, **build))
    backend.create()
    vectors = base_vectors()
    for begin in range(0, N, 600):
        backend.load(begin, vectors[begin : begin + 600])
    backend.flush()
    assert backend.rows() == N
    backend.build(nothing)
    backend.close()
    return backend


@pytest.mark.parametrize("description", EMBEDDED, ids=lambda d: d.name)
def test_every_backend_keeps_its_promises(description: Description, tmp_path: Path) -> None:
    """Loaded, built, opened again: right neighbours, parameters in force, vectors as given."""
    backend = built(description, tmp_path)
    assert backend.record() is None
    backend.keep(b"something")
    assert backend.record() == b"something"
    backend.open()
    require_effective(
        collection_of(description, tmp_path).build, backend.parameters(), description.name
    )
    vectors, queries = base_vectors(), Recipe("clustered", D, clusters=40).rows("query", 0, 50)
    index = description.indexes[0]
    search = backend.searcher(K, min(index.effort.most, 1000))
    answers = np.array([list(found) for found in search(queries)], np.int64)
    assert answers.shape == (50, K)
    whole = MatrixVectors(vectors)
    everything = np.broadcast_to(np.arange(N), (50, N))
    truth = exact(queries, everything, whole, "cosine", K)
    found = recalls(answers, np.arange(50), queries, truth, whole, "cosine")
    assert found.mean() > 0.95  # engines draw the beginnings of their lists at random
    assert backend.rows() == N
    disk = backend.disk_bytes()
    assert disk is not None
    assert disk > N * D * 4
    assert all(path.is_file() for path in backend.files())
    backend.close()
    stored = backend.fetch([0, 1999, 700])
    if stored is not None:
        assert np.abs(stored - vectors[[0, 1999, 700]]).max() < 1e-5
    backend.close()


@pytest.mark.parametrize("description", EMBEDDED, ids=lambda d: d.name)
def test_loading_is_resumed_after_what_is_in(description: Description, tmp_path: Path) -> None:
    """A second program sees the rows that are in, and goes on after them."""
    if description.missing() is not None:
        pytest.skip(f"{description.name} is not installed")
    vectors, collection = base_vectors(), collection_of(description, tmp_path)
    first = description.connect(collection)
    first.create()
    first.load(0, vectors[:1000])
    first.flush()
    first.close()
    second = description.connect(collection)
    assert second.rows() == 1000
    second.load(1000, vectors[1000:])
    second.flush()
    assert second.rows() == N
    second.build(nothing)
    second.close()
    second.open()
    assert list(second.searcher(1, 100)(vectors[1500:1501])[0]) == [1500]
    second.close()


@pytest.mark.parametrize("description", BACKENDS, ids=lambda d: d.name)
def test_unknown_parameters_are_refused(description: Description) -> None:
    """A parameter that the index does not have, or a value it cannot take, is an error."""
    index = description.indexes[0]
    with pytest.raises(UsageError, match=r"no parameter index\.nonsense"):
        checked_parameters({"nonsense": 1}, index.build, "index", description.name)
    known = index.build[0] if index.build else index.effort
    for wrong in (known.most + 1, known.least - 1, "8", True, 1.5):
        with pytest.raises(UsageError, match=known.name):
            checked_parameters({known.name: wrong}, (known,), "index", description.name)


@pytest.mark.parametrize("description", BACKENDS, ids=lambda d: d.name)
def test_every_index_has_a_footprint_that_grows(description: Description) -> None:
    """Bytes and seconds are positive and grow with the vectors; the disk holds the vectors."""
    for index in description.indexes:
        build = checked_parameters({}, index.build, "index", description.name)
        small, large = (index.footprint(n, 768, build) for n in (10_000, 1_000_000))
        assert 0 < small.memory_bytes < large.memory_bytes
        assert 0 < small.disk_bytes < large.disk_bytes
        assert large.disk_bytes <= large.build_disk_bytes
        assert 0 < small.build_core_seconds < large.build_core_seconds


def test_a_parameter_that_is_not_in_force_is_an_error() -> None:
    """Dropped or changed by the engine: named with both values."""
    require_effective({"a": 1}, {"a": 1, "b": 2}, "x")
    with pytest.raises(BenchmarkError, match="a=1 in force, but 2"):
        require_effective({"a": 1}, {"a": 2}, "x")
    with pytest.raises(BenchmarkError, match="nothing"):
        require_effective({"a": 1}, {}, "x")


def test_an_unknown_backend_is_named() -> None:
    """A slip of the finger gets the right name."""
    with pytest.raises(UsageError) as refused:
        backend_named("zvek")
    assert "zvec" in refused.value.fix


def test_a_missing_wheel_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its wheel a backend says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    missing = backend_named("zvec").missing()
    assert isinstance(missing, MlpstorageError)
    assert "pip install 'mlpstorage[zvec]'" in missing.fix


def kernel_bytes() -> int:
    """What the kernel has read from storage for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


def test_the_probe_reads_exactly_the_lists_of_a_query(tmp_path: Path) -> None:
    """Its own counters are those of its lists, and the kernel has read the same bytes."""
    backend = built(backend_named("ivf-probe"), tmp_path, nlist=40)
    backend.open()
    queries = Recipe("clustered", D, clusters=40).rows("query", 0, 30)
    search = backend.searcher(K, 3)
    before, kernel = backend.counters(), kernel_bytes()
    for number in range(30):
        search(queries[number : number + 1])
    after = backend.counters()
    assert before is not None
    assert after is not None
    assert after.reads - before.reads <= 90
    assert after.reads - before.reads > 80  # an empty list costs no read
    moved = after.bytes - before.bytes
    assert moved % 4096 == 0
    if os.statvfs(tmp_path).f_fsid and kernel_bytes() > kernel:
        assert kernel_bytes() - kernel == moved
    backend.close()


def test_the_probe_with_all_lists_is_exact(tmp_path: Path) -> None:
    """Reading every list finds the true neighbours, and every list is read once, whole."""
    backend = built(backend_named("ivf-probe"), tmp_path, nlist=16)
    backend.open()
    vectors, queries = base_vectors(), Recipe("clustered", D, clusters=40).rows("query", 0, 20)
    found = np.array(backend.searcher(K, 16)(queries))
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :K]
    assert (np.sort(found, axis=1) == np.sort(order, axis=1)).all()
    counters = backend.counters()
    assert counters is not None
    size = (tmp_path / "c" / LISTS_NAME).stat().st_size
    assert counters.bytes == 20 * size
    backend.close()


def test_the_probe_names_a_cut_index(tmp_path: Path) -> None:
    """Lists that lost their end are an error in the search, not fewer neighbours."""
    backend = built(backend_named("ivf-probe"), tmp_path, nlist=16)
    lists = tmp_path / "c" / LISTS_NAME
    os.truncate(lists, lists.stat().st_size - 4096)
    backend.open()
    with pytest.raises(BenchmarkError, match="truncated"):
        backend.searcher(K, 16)(base_vectors()[:1])
    backend.close()


def test_any_metric_finds_its_own_neighbours(tmp_path: Path) -> None:
    """Vectors of different lengths: l2 and ip differ, and the probe finds each."""
    rng = np.random.default_rng(1)
    vectors = (rng.normal(0, 1, (N, D)) * rng.uniform(0.2, 3, (N, 1))).astype(np.float32)
    for metric in ("l2", "ip"):
        values: dict[str, Any] = {"metric": metric}
        plain = collection_of(backend_named("ivf-probe"), tmp_path, nlist=8)
        collection = Collection(**{**vars_of(plain), **values})
        backend = backend_named("ivf-probe").connect(collection)
        backend.create()
        backend.load(0, vectors)
        backend.build(nothing)
        backend.open()
        query = vectors[7:8]
        whole = MatrixVectors(vectors)
        truth = exact(query, np.arange(N)[None], whole, metric, K)
        assert sorted(np.array(backend.searcher(K, 8)(query))[0]) == sorted(truth.ids[0])
        backend.close()


def vars_of(collection: Collection) -> dict[str, Any]:
    """The fields of a collection."""
    return {name: getattr(collection, name) for name in Collection.__dataclass_fields__}
