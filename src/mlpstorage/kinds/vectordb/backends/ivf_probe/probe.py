"""The probe itself: loads rows, builds lists, and reads exactly the lists that a query needs."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.files import prove_direct, read_flags, truncated
from mlpstorage.engine.generation import storage_errors
from mlpstorage.engine.vectors.distances import scores
from mlpstorage.engine.vectors.files import MatrixVectors
from mlpstorage.kinds.vectordb.backends.interface import OwnCounters
from mlpstorage.kinds.vectordb.backends.ivf_probe.description import lists_for
from mlpstorage.kinds.vectordb.backends.ivf_probe.layout import (
    CENTROIDS_NAME,
    LISTS_NAME,
    PLACES_NAME,
    TABLE_NAME,
    Layout,
    write_lists,
)
from mlpstorage.kinds.vectordb.backends.ivf_probe.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import Collection, Report, Search

_STAGED_NAME = "staged.f32"
_RECORD_NAME = "collection.json"
FORMAT_VERSION = "1"


class IvfProbe:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._folder = collection.folder
        self._reader: _Reader | None = None

    def version(self) -> dict[str, str]:
        """The version of the format, and how it reads."""
        return {"ivf-probe": FORMAT_VERSION, "numpy": np.__version__, "io": "preadv, O_DIRECT"}

    def record(self) -> bytes | None:
        """The record beside the lists."""
        path = self._folder / _RECORD_NAME
        return path.read_bytes() if path.is_file() else None

    def keep(self, record: bytes) -> None:
        """Write the record whole."""
        with storage_errors(self._folder):
            write_whole(self._folder / _RECORD_NAME, record)

    def create(self) -> None:
        """An empty folder."""
        with storage_errors(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            (self._folder / _STAGED_NAME).touch()

    def rows(self) -> int:
        """Whole rows that are staged, or all of them once the lists are built."""
        staged = self._folder / _STAGED_NAME
        if staged.is_file():
            return staged.stat().st_size // self._row_bytes
        built = self._folder / TABLE_NAME
        return int(np.load(built)[:, 1].sum()) if built.is_file() else 0

    @property
    def _row_bytes(self) -> int:
        return self._collection.dimension * 4

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Stage rows; those of `cosine` at length 1."""
        if self._collection.metric == "cosine":
            length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            vectors = vectors / np.maximum(length, np.float32(1e-30))[:, None]
        path = self._folder / _STAGED_NAME
        with storage_errors(self._folder, path), path.open("r+b") as file:
            file.truncate(first_id * self._row_bytes)
            file.seek(first_id * self._row_bytes)
            file.write(np.ascontiguousarray(vectors, "<f4").data.cast("B"))

    def flush(self) -> None:
        """Make the staged rows durable."""
        with storage_errors(self._folder), (self._folder / _STAGED_NAME).open("rb") as file:
            os.fsync(file.fileno())

    def build(self, report: Report) -> None:
        """Train the centroids, write the lists, and remove what was staged."""
        staged = self._folder / _STAGED_NAME
        shape = (self._collection.vectors, self._collection.dimension)
        vectors = MatrixVectors(np.memmap(staged, "<f4", "r", 0, shape))
        lists = lists_for(vectors.count, self._collection.build["nlist"])
        centroids = train(vectors.take, vectors.count, lists)
        with storage_errors(self._folder):
            write_lists(self._folder, vectors, centroids, report)
            staged.unlink()

    def parameters(self) -> dict[str, Any]:
        """What is asked for, and the lists that there really are."""
        lists = len(np.load(self._folder / TABLE_NAME, mmap_mode="r"))
        return {"nlist": self._collection.build["nlist"], "lists": lists}

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """Rows from their lists, each of which is read whole."""
        reader = _Reader(self._folder, self._collection.dimension)
        try:
            return reader.fetch(list(ids))
        finally:
            reader.close()

    def open(self) -> None:
        """Read centroids and table into memory and open the lists directly."""
        self._reader = _Reader(self._folder, self._collection.dimension)

    def searcher(self, k: int, effort: int) -> Search:
        """Scan the `effort` lists whose centroids are nearest."""
        if self._reader is None:
            raise BenchmarkError("the collection is not open")
        return self._reader.searcher(k, effort, self._collection.metric)

    def counters(self) -> OwnCounters | None:
        """Every read and byte that queries needed: known exactly, as each list is one read."""
        reader = self._reader
        return None if reader is None else OwnCounters(reader.reads, reader.read_bytes)

    def files(self) -> list[Path]:
        """The lists."""
        return [self._folder / LISTS_NAME]

    def disk_bytes(self) -> int | None:
        """Allocated bytes of all files."""
        return sum(path.stat().st_blocks * 512 for path in self._folder.iterdir())

    def processes(self) -> list[int]:
        """The calling process reads."""
        return []

    def close(self) -> None:
        """Close the lists."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Reader:
    """An open index: what is in memory, one file, and one buffer for the longest list."""

    def __init__(self, folder: Path, dimension: int) -> None:
        table = _loaded(folder / TABLE_NAME)
        self._centroids = _loaded(folder / CENTROIDS_NAME)
        self._layout = Layout(table[:, 0], table[:, 1], dimension)
        self._extents = [self._layout.extent(n) for n in range(len(table))]
        self._sizes: list[int] = self._layout.counts.tolist()
        self._path = folder / LISTS_NAME
        self._buffer = aligned_buffer(self._layout.longest_bytes)
        prove_direct(self._path, self._buffer)
        self._fd = os.open(self._path, read_flags(direct=True))
        self.reads = 0
        self.read_bytes = 0

    def close(self) -> None:
        os.close(self._fd)

    def searcher(self, k: int, effort: int, metric: str) -> Search:
        """See `IvfProbe.searcher`."""
        probes = min(effort, len(self._sizes))
        # Lists are Euclidean; unit vectors have the same order by either.
        near = "ip" if metric == "ip" else "l2"
        within = "l2" if metric == "l2" else "ip"

        def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            found = scores(queries, self._centroids, near)
            # Some lists are empty, and cost no read.
            lists = np.argpartition(found, -probes, axis=1)[:, -probes:]
            out = np.full((len(queries), k), -1, np.int64)
            for number, mine in enumerate(lists.tolist()):
                answer = self._nearest(queries[number : number + 1], mine, k, within)
                out[number, : len(answer)] = answer
            return out

        return search

    def _nearest(
        self, query: NDArray[np.float32], lists: list[int], k: int, metric: str
    ) -> NDArray[np.int64]:
        best_scores, best_ids = [], []
        for number in lists:
            count = self._sizes[number]
            if not count:
                continue
            vectors, ids = self._read(number, count)
            found = scores(query, vectors, metric)[0]
            if count > k:
                top = np.argpartition(found, -k)[-k:]
                found, ids = found[top], ids[top]
            best_scores.append(found)
            best_ids.append(ids.astype(np.int64))
        if not best_ids:
            return np.empty(0, np.int64)
        values, names = np.concatenate(best_scores), np.concatenate(best_ids)
        order: NDArray[np.int64] = names[np.argsort(-values, kind="stable")[:k]]
        return order

    def _read(self, number: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """A list's vectors and ids, in the buffer until the next read."""
        offset, length = self._extents[number]
        got = os.preadv(self._fd, [self._buffer[:length]], offset)
        if got != length:
            raise truncated(self._path, os.fstat(self._fd).st_size, offset + length)
        self.reads += 1
        self.read_bytes += length
        dimension = self._layout.dimension
        vectors = np.frombuffer(self._buffer, np.float32, count * dimension)
        ids = np.frombuffer(self._buffer, np.int32, count, count * dimension * 4)
        return vectors.reshape(count, dimension), ids

    def fetch(self, ids: list[int]) -> NDArray[np.float32]:
        out = np.full((len(ids), self._layout.dimension), np.nan, np.float32)
        places = _loaded(self._path.parent / PLACES_NAME)
        for row, name in enumerate(ids):
            number = int(places[name])
            vectors, names = self._read(number, self._sizes[number])
            found = np.flatnonzero(names == name)
            if len(found):
                out[row] = vectors[found[0]]
        return out


def _loaded(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the index cannot be opened: {path}: {error}", fix="build it again with --rebuild"
        ) from error
