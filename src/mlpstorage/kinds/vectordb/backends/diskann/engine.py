"""DiskANN's static index on disk behind the interface of backends."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.generation import storage_errors
from mlpstorage.kinds.vectordb.backends.diskann.description import (
    BEAM_WIDTH,
    SECTOR,
    chunks_for,
)
from mlpstorage.kinds.vectordb.backends.folder import CollectionFolder
from mlpstorage.kinds.vectordb.backends.interface import OwnCounters, QueryFailedError
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import Collection, Report, Search

_STAGED_NAME = "staged.bin"
_INDEX_NAME = "index"
_PREFIX = "ann"
_ASKED_NAME = "asked.json"
# The file of vectors and the compressed ones begin with two numbers of 32 bits: rows, row length.
_HEADER_BYTES = 8
# In the header of the graph's file, in numbers of 64 bits from byte 8: nodes, dimension, the first
# node, bytes of a node, nodes per sector.
_GRAPH_HEADER = 6
_GIB = 1 << 30
# DiskANN builds in parts when this does not hold everything; twice what it needs holds it.
_BUILD_MEMORY_SHARE = 2


class Diskann:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._folder = CollectionFolder(collection.folder)
        self._staged = collection.folder / _STAGED_NAME
        self._index = collection.folder / _INDEX_NAME
        with _quiet():
            self._diskann = importlib.import_module("diskannpy")
        self._open: Any = None
        self._reads = 0
        self.record = self._folder.record
        self.keep = self._folder.keep

    def version(self) -> dict[str, str]:
        """The wheel, and how it reads."""
        return {"diskannpy-rust": version("diskannpy-rust"), "io": "O_DIRECT"}

    def create(self) -> None:
        """An empty file of vectors; its header comes with the index, when all rows are in."""
        self._folder.empty()
        with storage_errors(self._folder.path):
            self._staged.write_bytes(bytes(_HEADER_BYTES))

    @property
    def _row_bytes(self) -> int:
        return self._collection.dimension * 4

    def rows(self) -> int:
        """Whole rows that are staged, or those that the index says it has."""
        if self._staged.is_file():
            return (self._staged.stat().st_size - _HEADER_BYTES) // self._row_bytes
        return int(self._header()["nodes"])

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Stage rows; those of `cosine` at length 1, where l2 has the same order."""
        vectors = self._prepared(vectors)
        place = _HEADER_BYTES + first_id * self._row_bytes
        with storage_errors(self._folder.path, self._staged), self._staged.open("r+b") as file:
            file.truncate(place)
            file.seek(place)
            file.write(np.ascontiguousarray(vectors, "<f4").data.cast("B"))

    def _prepared(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._collection.metric != "cosine":
            return vectors
        length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        scaled: NDArray[np.float32] = vectors / np.maximum(length, np.float32(1e-30))[:, None]
        return scaled

    def flush(self) -> None:
        """Make the staged rows durable."""
        with storage_errors(self._folder.path), self._staged.open("rb") as file:
            os.fsync(file.fileno())

    def build(self, report: Report) -> None:
        """Build the graph from the staged rows with every usable CPU, and remove them."""
        del report  # DiskANN does not tell how far it is
        rows, dimension = self._collection.vectors, self._collection.dimension
        asked, chunks = self._collection.build, self._chunks
        with storage_errors(self._folder.path):
            with self._staged.open("r+b") as file:
                file.write(np.array([rows, dimension], "<u4").tobytes())
            self._index.mkdir(exist_ok=True)
        footprint = self._collection.index.footprint(rows, dimension, asked)
        self._asked(
            lambda: self._diskann.build_disk_index(
                str(self._staged),
                "l2",
                str(self._index),
                complexity=asked["complexity"],
                graph_degree=asked["graph_degree"],
                build_memory_maximum=max(
                    1.0, _BUILD_MEMORY_SHARE * footprint.build_disk_bytes / _GIB
                ),
                num_threads=max(1, int(usable_cpus())),
                num_of_pq_chunks=chunks,
                vector_dtype=np.float32,
                index_prefix=_PREFIX,
            )
        )
        with storage_errors(self._folder.path):
            # The graph's file does not tell with how many candidates it was built.
            complexity = json.dumps({"complexity": asked["complexity"]}).encode()
            write_whole(self._index / _ASKED_NAME, complexity)
            self._staged.unlink()

    @property
    def _chunks(self) -> int:
        return chunks_for(self._collection.dimension, self._collection.build["num_pq_chunks"])

    def _asked(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 (what diskannpy returns)
        """What DiskANN says; its refusals become errors that name the collection."""
        try:
            with _quiet():
                return ask()
        except (RuntimeError, ValueError, OSError) as error:
            raise self._folder.failed("diskannpy-rust", str(error)) from error

    def _header(self) -> dict[str, int]:
        """What the graph's file says of itself."""
        path = self._index / f"{_PREFIX}_disk.index"
        try:
            values = np.fromfile(path, "<u8", _GRAPH_HEADER, offset=_HEADER_BYTES).tolist()
        except OSError as error:
            raise ConfigurationError(
                f"the index cannot be opened: {path}: {error}", fix="build it again with --rebuild"
            ) from error
        names = ("nodes", "dimension", "first", "node_bytes", "nodes_per_sector")
        return dict(zip(names, values, strict=False))

    def parameters(self) -> dict[str, Any]:
        """The degree by the bytes of a node, and the chunks by the file of compressed vectors.

        The file of the graph does not hold the candidates while building: a file beside it does.
        """
        header, asked = self._header(), self._collection.build
        compressed = self._index / f"{_PREFIX}_pq_compressed.bin"
        chunks = int(np.fromfile(compressed, "<u4", 2)[1])
        room = (header["node_bytes"] - 4 * header["dimension"] - 4) // 4
        kept = json.loads((self._index / _ASKED_NAME).read_bytes())
        return {
            "graph_degree": room,
            "complexity": kept["complexity"],
            "num_pq_chunks": chunks if asked["num_pq_chunks"] else 0,
            "pq_chunks": chunks,
            "nodes_per_sector": header["nodes_per_sector"],
        }

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """Vectors from the nodes of the graph."""
        header, path = self._header(), self._index / f"{_PREFIX}_disk.index"
        rows = []
        for number in ids:
            if header["nodes_per_sector"]:
                sector, place = divmod(number, header["nodes_per_sector"])
                begin = (1 + sector) * SECTOR + place * header["node_bytes"]
            else:
                begin = (1 + number * -(-header["node_bytes"] // SECTOR)) * SECTOR
            rows.append(np.fromfile(path, "<f4", header["dimension"], offset=begin))
        return np.stack(rows)

    def open(self) -> None:
        """Open the graph for one thread, with no node in memory: any number of processes may."""
        self.close()
        beam = self._collection.search.get("beam_width", BEAM_WIDTH)
        try:
            with _quiet():
                self._open = self._diskann.StaticDiskIndex(
                    str(self._index), 1, beam, num_nodes_to_cache=0, index_prefix=_PREFIX
                )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"diskannpy-rust cannot open {self._index}: {error}",
                fix="make it anew with --rebuild",
            ) from error
        self._reads = 0

    def searcher(self, k: int, effort: int) -> Search:
        """Ask in batches on this thread: the answer brings its number of reads.

        Queries are taken as they are: their length does not change the order of unit vectors.
        """
        if self._open is None:
            raise BenchmarkError("the collection is not open")
        ask, effort = self._open.batch_search, max(effort, k)
        none = np.iinfo(np.uint32).max

        def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            try:
                found = ask(queries, k, effort, 1)
            except RuntimeError as error:
                raise QueryFailedError(f"diskannpy-rust: {error}") from error
            self._reads += round(found.search_stats["mean_ios"] * len(queries))
            ids: NDArray[np.int64] = np.asarray(found.identifiers).astype(np.int64)
            ids[ids == none] = -1
            return ids

        return search

    def counters(self) -> OwnCounters | None:
        """The reads of all answers by DiskANN's own count, each of one sector or node."""
        if self._open is None:
            return None
        size = -(-self._header()["node_bytes"] // SECTOR) * SECTOR
        return OwnCounters(self._reads, self._reads * size)

    def files(self) -> list[Path]:
        """Every file of the index."""
        return [path for path in self._index.rglob("*") if path.is_file()]

    def disk_bytes(self) -> int | None:
        """Allocated bytes of all files."""
        return self._folder.disk_bytes()

    def processes(self) -> list[int]:
        """The calling process reads."""
        return []

    def close(self) -> None:
        """Forget the index: its last reference closes its file."""
        self._open = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what the library prints to the standard output elsewhere; show it if all fails.

    It writes past Python, so the descriptor itself is turned.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 1)
        try:
            yield
        except Exception:
            told.seek(0)
            sys.stderr.write(told.read().decode("utf-8", "replace"))
            raise
        finally:
            os.dup2(kept, 1)
            os.close(kept)
