"""A table and an index of pgvector behind the interface of backends."""

from __future__ import annotations

import importlib
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.kinds.vectordb.backends.interface import QueryFailedError
from mlpstorage.kinds.vectordb.backends.pgvector.copying import packed_rows, packed_vector
from mlpstorage.kinds.vectordb.backends.pgvector.description import MOST_DIMENSION
from mlpstorage.kinds.vectordb.backends.pgvector.place import Embedded, Served
from mlpstorage.watch.inventory import usable_cpus

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

_METRICS = {
    "cosine": ("<=>", "vector_cosine_ops"),
    "l2": ("<->", "vector_l2_ops"),
    "ip": ("<#>", "vector_ip_ops"),
}
_EFFORT = {"HNSW": "hnsw.ef_search", "IVFFLAT": "ivfflat.probes"}
# A graph is built in memory if this holds it: its vectors, and as much again for neighbours.
_LEAST_BUILD_BYTES, _MOST_BUILD_BYTES = 64 << 20, 64 << 30
_PROGRESS_SECONDS = 1.0


def embedded(collection: Collection) -> Pgvector:
    """The backend on a PostgreSQL of its own, in the collection's folder."""
    return Pgvector(collection, Embedded(collection.folder))


def served(collection: Collection) -> Pgvector:
    """The backend on a PostgreSQL that is running."""
    return Pgvector(collection, Served(collection.host, collection.port, _table(collection)))


def _table(collection: Collection) -> str:
    """The quoted name of a collection's table; names of collections have no quotes."""
    return f'"mlpstorage_{collection.name}"'


class Pgvector:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection, place: Embedded | Served) -> None:
        self._collection = collection
        self._place = place
        self._psycopg = importlib.import_module("psycopg")
        self._table = _table(collection)
        self._index = f'"mlpstorage_{collection.name}_v"'
        self._connection: Any = None
        self._versions: dict[str, str] = {}
        self._files: list[Path] = []

    def version(self) -> dict[str, str]:
        """Versions of server, extension and client, and how the server reads."""
        if not self._versions:
            closed = self._connection is None
            asked = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
            self._versions = {
                "PostgreSQL": self._one("SHOW server_version"),
                "pgvector": self._one(asked),
                "psycopg": version("psycopg"),
                "io": "pread, page cache",
            }
            if closed:
                self.close()
        return self._versions

    def record(self) -> bytes | None:
        """The record that is kept where the table is."""
        return self._place.record(self._connected) if self._place.may_hold() else None

    def keep(self, record: bytes) -> None:
        """Keep the record where the table is."""
        self._place.keep(self._connected, record)

    def _connected(self) -> Any:  # noqa: ANN401 (psycopg's connection)
        if self._connection is None:
            words = self._place.acquire()
            try:
                self._connection = self._psycopg.connect(words, autocommit=True)
                self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                self._register()
            except self._psycopg.Error as error:
                self.close()
                raise ConfigurationError(
                    f"PostgreSQL with pgvector does not answer: {str(error).strip()}",
                    why=self._place.title,
                    fix="see that it runs and has the extension vector; PGUSER, PGPASSWORD and "
                    "PGDATABASE say who connects to what",
                ) from error
        return self._connection

    def _register(self) -> None:
        """Have packed vectors sent as they are, typed as vectors."""
        adapt, pq = importlib.import_module("psycopg.adapt"), self._psycopg.pq
        found = self._psycopg.types.TypeInfo.fetch(self._connection, "vector")

        def dump(_self: object, packed: _Packed) -> bytes:
            return packed.data

        members = {"format": pq.Format.BINARY, "oid": found.oid, "dump": dump}
        dumper = type("VectorDumper", (adapt.Dumper,), members)
        self._connection.adapters.register_dumper(_Packed, dumper)

    def _run(self, statement: str) -> Any:  # noqa: ANN401 (psycopg's cursor)
        try:
            return self._connected().execute(statement)
        except self._psycopg.Error as error:
            raise BenchmarkError(
                f"PostgreSQL failed: {str(error).strip()}",
                why=self._place.title,
                fix="see its log; --rebuild makes the collection anew",
            ) from error

    def _one(self, statement: str) -> Any:  # noqa: ANN401 (a value of any type)
        row = self._run(statement).fetchone()
        return None if row is None else row[0]

    def create(self) -> None:
        """An empty table, whose rows keep their vectors within the page.

        Raises:
            ConfigurationError: the vectors are too long for an index of pgvector.
        """
        dimension = self._collection.dimension
        if dimension > MOST_DIMENSION:
            raise ConfigurationError(
                f"pgvector indexes no vectors of {dimension} numbers",
                why=f"its indexes take {MOST_DIMENSION} numbers of 32 bits",
                fix=f"give --dimension {MOST_DIMENSION} or less, or choose another --vdb-engine",
            )
        self.close()
        self._place.empty()
        self._run(f"DROP TABLE IF EXISTS {self._table}")
        self._run(f"CREATE TABLE {self._table} (id bigint, v vector({dimension}))")
        self._run(f"ALTER TABLE {self._table} ALTER COLUMN v SET STORAGE PLAIN")

    def rows(self) -> int:
        """Rows of the table: each call of `load` is in whole, or not at all."""
        return int(self._one(f"SELECT count(*) FROM {self._table}"))  # noqa: S608 (own name)

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Copy rows in, in one transaction."""
        statement = f"COPY {self._table} (id, v) FROM STDIN (FORMAT BINARY)"
        try:
            with self._connected().cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(packed_rows(first_id, vectors))
        except self._psycopg.Error as error:
            raise BenchmarkError(
                f"PostgreSQL takes no more vectors: {str(error).strip()}",
                why=self._place.title,
                fix="see its log; the next run goes on after the rows that are in",
            ) from error

    def flush(self) -> None:
        """Mark all rows as seen by everybody, so that no search writes; then a checkpoint."""
        self._run(f"VACUUM (ANALYZE) {self._table}")
        self._run("CHECKPOINT")

    def build(self, report: Report) -> None:
        """Build the index in parallel, and find rows by id for comparison."""
        collection = self._collection
        wanted = 2 * collection.vectors * (collection.dimension * 4 + 256)
        memory = min(max(wanted, _LEAST_BUILD_BYTES), _MOST_BUILD_BYTES) >> 10
        operators = _METRICS[collection.metric][1]
        options = ", ".join(f"{name} = {value}" for name, value in collection.build.items())
        self._run(f"SET maintenance_work_mem = '{memory}kB'")
        self._run(f"SET max_parallel_maintenance_workers = {max(0, int(usable_cpus()) - 1)}")
        self._run(f"DROP INDEX IF EXISTS {self._index}")
        pid, done = self._one("SELECT pg_backend_pid()"), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(pid, report, done), daemon=True)
        watcher.start()
        try:
            self._run(
                f"CREATE INDEX {self._index} ON {self._table} USING {collection.index.name.lower()}"
                f" (v {operators}) WITH ({options})"
            )
        finally:
            done.set()
            watcher.join()
        self._run(f"CREATE INDEX ON {self._table} (id)")
        self._run("CHECKPOINT")

    def _watch(self, pid: int, report: Report, done: threading.Event) -> None:
        """Report what the server tells of its build, by another connection."""
        asked = "SELECT tuples_done, tuples_total FROM pg_stat_progress_create_index WHERE pid = %s"
        words = self._place.words
        while not done.wait(_PROGRESS_SECONDS):
            try:
                with self._psycopg.connect(words) as watching:
                    row = watching.execute(asked, (pid,)).fetchone()
            except self._psycopg.Error:
                return  # how far it is, is no reason to fail; the build itself tells
            if row is not None and row[1]:
                report(row[0], row[1])

    def parameters(self) -> dict[str, Any]:
        """The options of the index as the server's catalogue has them, and its kind."""
        name = self._index.strip('"')
        options = self._one(f"SELECT reloptions FROM pg_class WHERE relname = '{name}'")  # noqa: S608 (own name)
        pairs = (option.partition("=") for option in options or ())
        return {key: int(value) for key, _, value in pairs}

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """The vectors of these ids; NaN for an id that is not there."""
        listed = ", ".join(str(int(number)) for number in ids)
        found = self._run(f"SELECT id, v::real[] FROM {self._table} WHERE id IN ({listed})")  # noqa: S608 (own name, numbers)
        by_id = {number: np.array(vector, np.float32) for number, vector in found}
        nothing = np.full(self._collection.dimension, np.nan, np.float32)
        return np.stack([by_id.get(int(number), nothing) for number in ids])

    def open(self) -> None:
        """Connect, and see that a search uses the index.

        Raises:
            ConfigurationError: it would not.
        """
        self.close()
        # The planner takes a whole scan for cheaper where the table is small.
        self._run("SET enable_seqscan = off")
        zero = "[" + ",".join("1" * self._collection.dimension) + "]"
        order = f"v {_METRICS[self._collection.metric][0]} '{zero}'"
        plan = self._run(f"EXPLAIN SELECT id FROM {self._table} ORDER BY {order} LIMIT 1")  # noqa: S608 (own name)
        name = self._index.strip('"')
        if not any(name in line for (line,) in plan):
            raise ConfigurationError(
                f"PostgreSQL does not use the index {name}", fix="build it again with --rebuild"
            )
        self._files = self._place.files(self._connected(), (self._table, self._index))

    def searcher(self, k: int, effort: int) -> Search:
        """A statement that the server has planned once; vectors go in binary."""
        psycopg, connection = self._psycopg, self._connection
        if connection is None:
            raise BenchmarkError("the collection is not open")
        self._run(f"SET {_EFFORT[self._collection.index.name]} = {effort}")
        cursor = connection.cursor(binary=True)
        operator = _METRICS[self._collection.metric][0]
        statement = f"SELECT id FROM {self._table} ORDER BY v {operator} %s LIMIT {k}"  # noqa: S608 (own name)

        def search(queries: NDArray[np.float32]) -> list[list[int]]:
            try:
                return [
                    [
                        row[0]
                        for row in cursor.execute(
                            statement, (_Packed(packed_vector(one)),), prepare=True
                        )
                    ]
                    for one in queries
                ]
            except psycopg.Error as error:
                raise QueryFailedError(f"PostgreSQL failed: {str(error).strip()}") from error

        return search

    def counters(self) -> OwnCounters | None:
        """None: PostgreSQL counts pages that it asks for, also those of the page cache."""
        return None

    def files(self) -> list[Path]:
        """The files of table and index, as far as this host has them."""
        return [path for path in self._files if path.is_file()]

    def disk_bytes(self) -> int | None:
        """What table and indexes take."""
        return int(self._one(f"SELECT pg_total_relation_size('{self._table}')"))

    def processes(self) -> list[int]:
        """The server that this run has started, while it runs; of others nothing is known."""
        return self._place.processes()

    def close(self) -> None:
        """Disconnect; the last one of a host ends a server that the run has started."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._place.release()


class _Packed:
    """A vector that is packed for the server."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data
