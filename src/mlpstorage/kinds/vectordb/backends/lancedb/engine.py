"""LanceDB's tables behind the interface of backends."""

from __future__ import annotations

import importlib
import os
import re
import warnings
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.kinds.vectordb.backends.folder import CollectionFolder
from mlpstorage.kinds.vectordb.backends.lancedb.description import REFINE_FACTOR, parts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import (
        Collection,
        OwnCounters,
        Report,
        Search,
    )

_ID, _FIELD, _TABLE = "id", "v", "vectors"
_STORE_NAME = "collection"
_INDEX_NAME = "v_idx"
_METRICS = {"cosine": "cosine", "l2": "l2", "ip": "dot"}
# More lists than any index has: asking for so many tells how many there are.
_ALL_LISTS = 1 << 20


def _library() -> Any:  # noqa: ANN401 (the module)
    """lancedb, told to log errors only: its core would warn of every empty table."""
    os.environ.setdefault("LANCE_LOG", "error")
    return importlib.import_module("lancedb")


class Lancedb:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._folder = CollectionFolder(collection.folder)
        self._store = collection.folder / _STORE_NAME
        self._lancedb = _library()
        self._arrow = importlib.import_module("pyarrow")
        self._parts = parts_for(collection.dimension, collection.build["num_sub_vectors"])
        self._table: Any = None
        self.record = self._folder.record
        self.keep = self._folder.keep

    def version(self) -> dict[str, str]:
        """The wheel, and how it reads."""
        return {"lancedb": version("lancedb"), "io": "pread, page cache"}

    def create(self) -> None:
        """An empty table of ids and vectors.

        Raises:
            ConfigurationError: vectors cannot be divided into the parts that were asked for.
        """
        dimension = self._collection.dimension
        if dimension % self._parts:
            raise ConfigurationError(
                f"index.num_sub_vectors is {self._parts}, which does not divide {dimension}",
                why="the parts of a compressed vector have equally many numbers",
                fix=f"give a divisor of {dimension}, or 0 for one",
            )
        self.close()
        self._folder.empty()
        schema = self._schema()
        self._table = self._asked(
            lambda: self._lancedb.connect(str(self._store)).create_table(_TABLE, schema=schema)
        )

    def _schema(self) -> Any:  # noqa: ANN401 (Arrow's schema)
        arrow = self._arrow
        vector = arrow.list_(arrow.float32(), self._collection.dimension)
        return arrow.schema([(_ID, arrow.int64()), (_FIELD, vector)])

    def _asked(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 (what lancedb returns)
        """What LanceDB says; its refusals become errors that name the collection."""
        try:
            return ask()
        except (RuntimeError, ValueError, OSError) as error:
            raise self._folder.failed("lancedb", str(error)) from error

    def _opened(self) -> Any:  # noqa: ANN401 (lancedb's table)
        if self._table is None:
            self.open()
        return self._table

    def rows(self) -> int:
        """Rows of the table: each call of `load` is in whole, or not at all."""
        return int(self._opened().count_rows())

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Add rows, in one version of the table."""
        arrow, schema = self._arrow, self._schema()
        ids = arrow.array(np.arange(first_id, first_id + len(vectors)))
        flat = arrow.array(np.ascontiguousarray(vectors, np.float32).ravel())
        column = arrow.FixedSizeListArray.from_arrays(flat, self._collection.dimension)
        rows = arrow.table({_ID: ids, _FIELD: column}, schema=schema)
        self._asked(lambda: self._opened().add(rows))

    def flush(self) -> None:
        """Join the fragments of all loads; every load was durable already."""
        with warnings.catch_warnings():
            # It warns that other readers of older versions would fail: there are none yet.
            warnings.simplefilter("ignore", UserWarning)
            self._asked(lambda: self._opened().optimize(cleanup_older_than=timedelta(0)))

    def build(self, report: Report) -> None:
        """Train and write the index; LanceDB does not tell how far it is."""
        del report
        asked = self._collection.build
        config = importlib.import_module("lancedb.index").IvfPq(
            distance_type=_METRICS[self._collection.metric],
            num_partitions=asked["num_partitions"] or None,
            num_sub_vectors=self._parts,
        )
        self._asked(lambda: self._opened().create_index(_FIELD, config=config, name=_INDEX_NAME))

    def parameters(self) -> dict[str, Any]:
        """What the index has, as LanceDB tells it; the lists as a search over all of them counts.

        0 stands where the choice was left to the engine, with what it chose beside it.
        """
        table, asked = self._opened(), self._collection.build
        details = next(i for i in table.list_indices() if i.name == _INDEX_NAME).index_details
        compression = details["compression"]
        lists = self._lists(table)
        parts = int(compression["num_sub_vectors"])
        return {
            "num_partitions": lists if asked["num_partitions"] else 0,
            "num_sub_vectors": parts if asked["num_sub_vectors"] else 0,
            "partitions": lists,
            "sub_vectors": parts,
            "num_bits": int(compression["num_bits"]),
        }

    def _lists(self, table: Any) -> int:  # noqa: ANN401 (lancedb's table)
        query = np.ones(self._collection.dimension, np.float32)
        plan = table.search(query).nprobes(_ALL_LISTS).limit(1).select([_ID, "_distance"])
        told = re.search(r"partitions_ranked=(\d+)", str(plan.analyze_plan()))
        if told is None:
            raise BenchmarkError(
                "lancedb does not tell how many lists its index has",
                fix="install a version of lancedb that the extra of this package names",
            )
        return int(told.group(1))

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """The vectors of these ids; NaN for an id that is not there."""
        listed = ", ".join(str(int(number)) for number in ids)
        query = self._opened().search().where(f"{_ID} IN ({listed})").limit(len(ids))
        found = query.select([_ID, _FIELD]).to_arrow()
        vectors = found.column(_FIELD).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows = vectors.reshape(-1, self._collection.dimension)
        by_id = dict(zip(found.column(_ID).to_pylist(), rows, strict=True))
        nothing = np.full(self._collection.dimension, np.nan, np.float32)
        return np.stack([by_id.get(int(number), nothing) for number in ids])

    def open(self) -> None:
        """Open the table with empty caches: any number of processes may."""
        self.close()
        try:
            self._table = self._lancedb.connect(str(self._store)).open_table(_TABLE)
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"lancedb cannot open {self._store}: {error}", fix="make it anew with --rebuild"
            ) from error

    def searcher(self, k: int, effort: int) -> Search:
        """One query at a time: the nearest by compressed vectors, put in order by whole ones."""
        table = self._table
        if table is None:
            raise BenchmarkError("the collection is not open")
        refine = self._collection.search.get("refine_factor", REFINE_FACTOR)
        columns = [_ID, "_distance"]
        metric = _METRICS[self._collection.metric]

        def search(queries: NDArray[np.float32]) -> list[list[int]]:
            answers = []
            for one in queries:
                asked = table.search(one, vector_column_name=_FIELD).distance_type(metric)
                asked = asked.nprobes(effort).refine_factor(refine).limit(k).select(columns)
                answers.append(asked.to_arrow().column(_ID).to_pylist())
            return answers

        return search

    def counters(self) -> OwnCounters | None:
        """LanceDB tells reads per plan only, not in passing."""
        return None

    def files(self) -> list[Path]:
        """Every file of the collection."""
        return [path for path in self._store.rglob("*") if path.is_file()]

    def disk_bytes(self) -> int | None:
        """Allocated bytes of all files."""
        return self._folder.disk_bytes()

    def processes(self) -> list[int]:
        """The calling process reads."""
        return []

    def close(self) -> None:
        """Forget the table, and with it its caches."""
        self._table = None
