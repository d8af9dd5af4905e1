from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, NotFoundError
from mlpstorage.engine.vectors import blocks as blocks_module
from mlpstorage.engine.vectors.blocks import BlockFile
from mlpstorage.engine.vectors.distances import METRICS, distances
from mlpstorage.engine.vectors.files import MatrixVectors
from mlpstorage.engine.vectors.truth import TRUTH_NAME, Truth, TruthWork

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

K = 20


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 100 rows, so that a small data set has many."""
    monkeypatch.setattr(blocks_module, "BLOCK_ROWS", 100)


def work_of(folder: Path, base: NDArray[np.float32], metric: str) -> TruthWork:
    """The work on a base of which ten queries are slightly moved vectors, and ten are not."""
    file = BlockFile(folder / "base.fbin", *base.shape)
    file.begin()
    file.make(0, 1, lambda a, b: base[a:b], lambda _done, _moved: None)
    rng = np.random.default_rng(5)
    near = base[:10] + rng.normal(0, 0.01, (10, base.shape[1]))
    far = rng.normal(0, 1, (10, base.shape[1]))
    queries = np.vstack([near, far]).astype(np.float32)
    return TruthWork(file, file.checksums(), queries, metric, K, "token")


def some_base() -> NDArray[np.float32]:
    """1,050 vectors of different lengths, every tenth a copy of its neighbour: real ties."""
    rng = np.random.default_rng(3)
    base = (rng.normal(0, 1, (1050, 16)) * rng.uniform(0.5, 2, (1050, 1))).astype(np.float32)
    base[1::10] = base[::10]
    return base


def nothing(_done: int, _total: int) -> None:
    """No report."""


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.usefixtures("small_blocks")
def test_neighbours_are_those_of_a_full_sort(tmp_path: Path, metric: str, ranks: int) -> None:
    """Ids and distances are those of sorting all exact distances, smaller ids first at ties."""
    base = some_base()
    work = work_of(tmp_path, base, metric)
    for rank in range(ranks):
        work.share(rank, ranks, set(), nothing)
    truth = work.finish(MatrixVectors(base))
    for number, query in enumerate(work.queries):
        far = distances(query, base, metric)
        order = np.argsort(far, kind="stable")[:K]
        assert truth.ids[number].tolist() == order.tolist()
        assert np.allclose(truth.distances[number], far[order], rtol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    """Only blocks that nobody has saved are compared again, by any number of ranks."""
    base = some_base()
    work = work_of(tmp_path, base, "l2")
    work.share(0, 3, set(), nothing)
    (tmp_path / ".truth-9-torn.npz").write_bytes(b"PK\x03\x04 torn")
    held = work.held().blocks
    assert len(held) == 4
    seen: list[tuple[int, int]] = []
    for rank in range(2):
        work.share(rank, 2, held, lambda done, total: seen.append((done, total)))
    assert max(total for _, total in seen) == 4
    assert work.finish(MatrixVectors(base)).ids.shape == (20, K)


@pytest.mark.usefixtures("small_blocks")
def test_partial_results_of_other_data_are_not_used(tmp_path: Path) -> None:
    """A saved part counts for the token it was made for, and a missing block is an error."""
    base = some_base()
    work = work_of(tmp_path, base, "l2")
    work.share(0, 1, set(), nothing)
    other = TruthWork(work.base, work.checksums, work.queries, "l2", K, "another")
    assert not other.held().blocks
    with pytest.raises(BenchmarkError, match="0 of 11"):
        other.finish(MatrixVectors(base))
    work.forget()
    assert not list(tmp_path.glob(".truth-*"))


@pytest.mark.usefixtures("small_blocks")
def test_a_changed_block_is_noticed(tmp_path: Path) -> None:
    """One flipped bit of the base ends the search with the file and block."""
    work = work_of(tmp_path, some_base(), "l2")
    data = bytearray(work.base.path.read_bytes())
    data[8 + 16 * 4 * 250] ^= 1
    work.base.path.write_bytes(data)
    with pytest.raises(BenchmarkError, match="block 2"):
        work.share(0, 1, set(), nothing)


def saved(folder: Path) -> Truth:
    """A truth in a folder."""
    ids = np.arange(12, dtype=np.int32).reshape(3, 4)
    truth = Truth(ids, np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    truth.save(folder, dataset_hash="d", query_hash="q", metric="l2")
    return truth


def test_a_saved_truth_is_the_big_ann_layout(tmp_path: Path) -> None:
    """Counts, ids, then distances; loading gives the same."""
    truth = saved(tmp_path)
    raw = (tmp_path / TRUTH_NAME).read_bytes()
    assert np.frombuffer(raw, "<u4", 2).tolist() == [3, 4]
    assert np.frombuffer(raw, "<i4", 12, 8).tolist() == list(range(12))
    again = Truth.load(tmp_path, dataset_hash="d", query_hash="q", metric="l2")
    assert (again.ids == truth.ids).all()
    assert (again.distances == truth.distances).all()


@pytest.mark.parametrize(
    ("changed", "told"),
    [("dataset_hash", "data set"), ("query_hash", "queries"), ("metric", "metric")],
)
def test_a_stale_truth_is_refused(tmp_path: Path, changed: str, told: str) -> None:
    """A truth of other data, queries or metric is named as stale, never used."""
    saved(tmp_path)
    wanted = {"dataset_hash": "d", "query_hash": "q", "metric": "l2", changed: "cosine"}
    with pytest.raises(ConfigurationError, match=f"stale.*{told}"):
        Truth.load(tmp_path, **wanted)


def test_a_damaged_or_missing_truth_is_refused(tmp_path: Path) -> None:
    """A flipped byte is damage, an empty folder has none."""
    with pytest.raises(NotFoundError):
        Truth.load(tmp_path, dataset_hash="d", query_hash="q", metric="l2")
    saved(tmp_path)
    data = bytearray((tmp_path / TRUTH_NAME).read_bytes())
    data[-1] ^= 1
    (tmp_path / TRUTH_NAME).write_bytes(data)
    with pytest.raises(ConfigurationError, match="damaged"):
        Truth.load(tmp_path, dataset_hash="d", query_hash="q", metric="l2")
