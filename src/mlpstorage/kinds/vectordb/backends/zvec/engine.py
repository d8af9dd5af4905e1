"""zvec's collections behind the interface of backends."""

from __future__ import annotations

import importlib
import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.generation import storage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import (
        Collection,
        OwnCounters,
        Report,
        Search,
    )

_FIELD = "v"
_STORE_NAME = "collection"
_RECORD_NAME = "collection.json"
# With less free space than this, a write that failed has failed for it.
_FULL_BYTES = 8 << 20
# Documents that zvec takes in one call.
_DOCS = 1000
_METRICS = {"cosine": "COSINE", "l2": "L2", "ip": "IP"}
_STARTED: set[int] = set()


def _library() -> Any:  # noqa: ANN401 (the module)
    """zvec, initialised: it allows that once per process, and logs to the standard output."""
    library = importlib.import_module("zvec")
    if os.getpid() not in _STARTED:
        library.init(log_level=library.LogLevel.ERROR, query_threads=1)
        _STARTED.add(os.getpid())
    return library


class Zvec:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._folder = collection.folder
        self._store = self._folder / _STORE_NAME
        self._zvec = _library()
        self._open: Any = None

    def version(self) -> dict[str, str]:
        """The wheel, and the kernel's interface that it reads with."""
        return {"zvec": version("zvec"), "io": self._zvec.io_backend_type().name.lower()}

    def record(self) -> bytes | None:
        """The record beside zvec's own directory."""
        path = self._folder / _RECORD_NAME
        return path.read_bytes() if path.is_file() else None

    def keep(self, record: bytes) -> None:
        """Write the record whole."""
        with storage_errors(self._folder):
            write_whole(self._folder / _RECORD_NAME, record)

    def create(self) -> None:
        """A collection of one vector field, whose index `optimize` builds."""
        with storage_errors(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
        library, build = self._zvec, self._collection.build
        index = library.DiskAnnIndexParam(
            metric_type=getattr(library.MetricType, _METRICS[self._collection.metric]),
            **build,
        )
        vectors = library.VectorSchema(
            _FIELD, library.DataType.VECTOR_FP32, self._collection.dimension, index_param=index
        )
        schema = library.CollectionSchema(name="vectors", fields=[], vectors=[vectors])
        self._open = self._asked(lambda: library.create_and_open(str(self._store), schema))

    def _asked(self, ask: Any) -> Any:  # noqa: ANN401 (what zvec returns)
        """What zvec says; its refusals become errors that name the collection."""
        try:
            return ask()
        except (RuntimeError, ValueError, KeyError) as error:
            raise self._failed(str(error)) from error

    def _failed(self, told: str) -> BenchmarkError:
        """The error for a refusal of zvec, which does not say when the reason is a full disk."""
        full = shutil.disk_usage(self._folder).free < _FULL_BYTES
        return BenchmarkError(
            f"zvec failed on {self._store}: {told}",
            why="the file system there is full" if full else "",
            fix="free space there, or choose another --storage-root; then run with --rebuild"
            if full
            else "see its message; --rebuild makes the collection anew",
        )

    def _writable(self) -> Any:  # noqa: ANN401 (zvec's collection)
        if self._open is None:
            self._open = self._asked(lambda: self._zvec.open(str(self._store)))
        return self._open

    def rows(self) -> int:
        """Documents that are in; what was inserted is in zvec's log, so a crash loses none."""
        return int(self._writable().stats.doc_count)

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Insert documents whose keys are row numbers; a key that is there is replaced."""
        collection, document = self._writable(), self._zvec.Doc
        for begin in range(0, len(vectors), _DOCS):
            docs = [
                document(id=str(first_id + row), vectors={_FIELD: vectors[row]})
                for row in range(begin, min(begin + _DOCS, len(vectors)))
            ]
            for status in self._asked(lambda docs=docs: collection.upsert(docs)):
                if not status.ok():
                    raise self._failed(status.message())

    def flush(self) -> None:
        """Make what was inserted durable."""
        self._asked(self._writable().flush)

    def build(self, report: Report) -> None:
        """Build the graph; zvec tells nothing meanwhile."""
        del report
        collection = self._writable()
        self._asked(collection.optimize)
        complete = collection.stats.index_completeness.get(_FIELD, 0.0)
        if complete < 1:
            raise BenchmarkError(
                f"zvec has indexed {100 * complete:.1f} % of the vectors, not all",
                fix="run again with --rebuild",
            )

    def parameters(self) -> dict[str, Any]:
        """The parameters in the schema that zvec holds."""
        collection = self._open or self._read_only()
        param = collection.schema.vector(_FIELD).index_param
        found = {name: getattr(param, name) for name in self._collection.build}
        if self._open is None:
            collection.close()
        return found

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """The vectors of these keys; NaN for a key that is not there."""
        names = [str(number) for number in ids]
        docs = self._asked(lambda: self._writable().fetch(names, include_vector=True))
        nothing = np.full(self._collection.dimension, np.nan, np.float32)
        rows = [
            np.asarray(docs[name].vector(_FIELD), np.float32) if docs.get(name) else nothing
            for name in names
        ]
        return np.stack(rows)

    def _read_only(self) -> Any:  # noqa: ANN401 (zvec's collection)
        option = self._zvec.CollectionOption(read_only=True, enable_mmap=False)
        try:
            return self._zvec.open(str(self._store), option)
        except (RuntimeError, ValueError) as error:
            raise ConfigurationError(
                f"zvec cannot open {self._store}: {error}",
                fix="end other programs that write to it, or make it anew with --rebuild",
            ) from error

    def open(self) -> None:
        """Open it read-only: any number of processes may."""
        self.close()
        self._open = self._read_only()

    def searcher(self, k: int, effort: int) -> Search:
        """Ask as an application does: one query, its k nearest documents without their fields."""
        if self._open is None:
            raise BenchmarkError("the collection is not open")
        ask, query = self._open.query, self._zvec.Query
        param = self._zvec.DiskAnnQueryParam(list_size=effort)

        def search(queries: NDArray[np.float32]) -> list[list[int]]:
            return [
                [
                    int(doc.id)
                    for doc in ask(query(_FIELD, vector=one, param=param), topk=k, output_fields=[])
                ]
                for one in queries
            ]

        return search

    def counters(self) -> OwnCounters | None:
        """Zvec has none."""
        return None

    def files(self) -> list[Path]:
        """Every file of the collection."""
        return [path for path in self._store.rglob("*") if path.is_file()]

    def disk_bytes(self) -> int | None:
        """Allocated bytes of all files."""
        return sum(path.stat().st_blocks * 512 for path in self.files())

    def processes(self) -> list[int]:
        """The calling process reads."""
        return []

    def close(self) -> None:
        """Close the collection and give its lock back."""
        if self._open is not None:
            self._open.close()
            self._open = None
