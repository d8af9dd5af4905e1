"""Where a collection's PostgreSQL is: in its folder, or at an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.kinds.vectordb.backends.folder import CollectionFolder
from mlpstorage.kinds.vectordb.backends.pgvector.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Connected = Callable[[], Any]


class Embedded:
    """A server of the run's own; the record is a file beside its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = CollectionFolder(folder)
        self._cluster = Cluster(folder)
        self.title = f"the run starts it in {folder}"
        self.words = ""

    def may_hold(self) -> bool:
        """Whether there may be a collection."""
        return self._folder.path.is_dir()

    def record(self, connected: Connected) -> bytes | None:
        """The record in the folder."""
        del connected
        return self._folder.record()

    def keep(self, connected: Connected, record: bytes) -> None:
        """Write it whole."""
        del connected
        self._folder.keep(record)

    def empty(self) -> None:
        """Remove whatever is in the folder, a server's data included."""
        self._folder.empty()

    def acquire(self) -> str:
        """Start the server if nobody has; the words to connect with."""
        if not self._folder.path.is_dir():
            self._folder.empty()
        if not self._cluster.used:
            self.words = self._cluster.acquire()
        return self.words

    def release(self) -> None:
        """End it if nobody else uses it."""
        self._cluster.release()

    def processes(self) -> list[int]:
        """Its first process, while this one uses it."""
        pid = self._cluster.pid() if self._cluster.used else None
        return [] if pid is None else [pid]

    def files(self, connection: Any, relations: tuple[str, ...]) -> list[Path]:  # noqa: ANN401 (psycopg's)
        """The files of some relations, with all their segments of 1 GiB."""
        found: list[Path] = []
        for relation in relations:
            row = connection.execute("SELECT pg_relation_filepath(%s)", (relation,)).fetchone()
            path = self._cluster.data / row[0]
            found += [path, *path.parent.glob(f"{path.name}.*")]
        return found


class Served:
    """A server at an address; the record is the comment of the collection's table."""

    def __init__(self, host: str, port: int, table: str) -> None:
        self.words = f"host={host} port={port}"
        self.title = f"it is to be at {host}:{port}"
        self._table = table

    def may_hold(self) -> bool:
        """Only the server knows."""
        return True

    def record(self, connected: Connected) -> bytes | None:
        """The comment; None if there is no table, or it has none."""
        asked = "SELECT obj_description(to_regclass(%s), 'pg_class')"
        row = connected().execute(asked, (self._table,)).fetchone()
        return row[0].encode() if row is not None and row[0] else None

    def keep(self, connected: Connected, record: bytes) -> None:
        """Replace the comment."""
        text = record.decode().replace("'", "''")
        connected().execute(f"COMMENT ON TABLE {self._table} IS '{text}'")

    def empty(self) -> None:
        """Nothing: the table alone is the collection's."""

    def acquire(self) -> str:
        """The words to connect with."""
        return self.words

    def release(self) -> None:
        """Nothing: it goes on running."""

    def processes(self) -> list[int]:
        """None that are known."""
        return []

    def files(self, connection: Any, relations: tuple[str, ...]) -> list[Path]:  # noqa: ANN401 (psycopg's)
        """None that are known: they may be on another host."""
        del connection, relations
        return []
