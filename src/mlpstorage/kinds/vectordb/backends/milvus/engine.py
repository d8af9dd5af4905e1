"""A collection of Milvus behind the interface of backends."""

from __future__ import annotations

import base64
import importlib
import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.kinds.vectordb.backends.interface import QueryFailedError

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

_ID, _FIELD = "id", "v"
_RECORD = "mlpstorage_record"
_TEXT = "t"
_MOST_TEXT = 60_000
_METRICS = {"cosine": "COSINE", "l2": "L2", "ip": "IP"}
# Rows of one message, which may have 64 MiB.
_MESSAGE_BYTES = 32 << 20
_LOOK_SECONDS = 1.0
_CALL_SECONDS = 120.0
_LOAD_SECONDS = 3600.0
# A server that fails to build tries again for ever; nothing done for so long is a failure.
_STUCK_SECONDS = 300.0
_QUIET_LOOKS = 3
# Consistency: all that was written is seen by who asks so.
_STRONG, _EVENTUALLY = "Strong", "Eventually"


class Milvus:
    """See `mlpstorage.kinds.vectordb.backends.interface.Backend`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._address = f"{collection.host}:{collection.port}"
        # Milvus has letters, digits and underscores in names.
        self._name = "mlpstorage_" + "".join(c if c.isalnum() else "_" for c in collection.name)
        self._milvus = importlib.import_module("pymilvus")
        # It logs a traceback of every refusal, which becomes an error here.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._client: Any = None
        self._flushed = False

    def version(self) -> dict[str, str]:
        """Versions of server and client."""
        server = self._asked(lambda client: client.get_server_version())
        return {"milvus": str(server), "pymilvus": version("pymilvus")}

    def _asked(self, ask: Callable[[Any], Any]) -> Any:  # noqa: ANN401 (what Milvus answers)
        """What Milvus answers; its refusals become errors that name the server."""
        try:
            if self._client is None:
                self._client = self._milvus.MilvusClient(
                    uri=f"http://{self._address}", timeout=_CALL_SECONDS
                )
            return ask(self._client)
        except self._milvus.MilvusException as error:
            raise BenchmarkError(
                f"Milvus at {self._address} failed: {error.message}",
                fix="see whether it is running, and its log; --rebuild makes the collection anew",
            ) from error

    @property
    def _record_name(self) -> str:
        return f"{self._name}_record"

    def record(self) -> bytes | None:
        """The record in a small collection of its own, as properties may not be the user's."""
        if not self._asked(lambda client: client.has_collection(self._record_name)):
            return None
        self._asked(lambda client: client.load_collection(self._record_name))
        found = self._asked(
            lambda client: client.query(
                self._record_name,
                filter=f"{_ID} == 0",
                output_fields=[_TEXT],
                consistency_level=_STRONG,
            )
        )
        return base64.b64decode(found[0][_TEXT]) if found else None

    def keep(self, record: bytes) -> None:
        """Put the record in place of the last one; the server's log makes it durable."""
        text = base64.b64encode(record).decode("ascii")
        if not self._asked(lambda client: client.has_collection(self._record_name)):
            self._asked(self._make_record)
        row = {_ID: 0, _TEXT: text, _FIELD: [0.0, 0.0]}
        self._asked(lambda client: client.upsert(self._record_name, [row]))

    def _make_record(self, client: Any) -> None:  # noqa: ANN401 (pymilvus's client)
        kind = self._milvus.DataType
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_ID, kind.INT64, is_primary=True)
        schema.add_field(_TEXT, kind.VARCHAR, max_length=_MOST_TEXT)
        schema.add_field(_FIELD, kind.FLOAT_VECTOR, dim=2)  # every collection must have vectors
        indexes = client.prepare_index_params()
        indexes.add_index(_FIELD, index_type="FLAT", index_name=_FIELD, metric_type="L2")
        client.create_collection(self._record_name, schema=schema)
        client.create_index(self._record_name, indexes)

    def create(self) -> None:
        """A collection without an index, which is built when all vectors are in."""
        kind = self._milvus.DataType

        def make(client: Any) -> None:  # noqa: ANN401 (pymilvus's client)
            for name in (self._record_name, self._name):
                if client.has_collection(name):
                    client.drop_collection(name)
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(_ID, kind.INT64, is_primary=True)
            schema.add_field(_FIELD, kind.FLOAT_VECTOR, dim=self._collection.dimension)
            client.create_collection(self._name, schema=schema, num_shards=1)

        self._asked(make)

    def rows(self) -> int:
        """Rows, counted by the server where the collection is loaded, else by its statistics.

        Those know flushed rows only, and what a client that was killed has inserted is there, too.
        """
        state = self._asked(lambda client: client.get_load_state(self._name))["state"]
        if state == self._milvus.client.types.LoadState.Loaded:
            counted = self._asked(
                lambda client: client.query(
                    self._name, filter="", output_fields=["count(*)"], consistency_level=_STRONG
                )
            )
            return int(counted[0]["count(*)"])
        self.flush()
        return int(self._asked(lambda c: c.get_collection_stats(self._name))["row_count"])

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Insert rows, in messages that Milvus takes."""
        step = max(1, _MESSAGE_BYTES // (4 * self._collection.dimension))
        for begin in range(0, len(vectors), step):
            rows = [
                {_ID: first_id + begin + number, _FIELD: vector}
                for number, vector in enumerate(vectors[begin : begin + step])
            ]
            self._insert(rows)

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        self._flushed = False
        self._asked(lambda client: client.insert(self._name, rows))

    def flush(self) -> None:
        """Seal and store what was inserted: once, as Milvus allows one flush in ten seconds."""
        if not self._flushed:
            self._asked(lambda client: client.flush(self._name, timeout=_LOAD_SECONDS))
            self._flushed = True

    def build(self, report: Report) -> None:
        """Have the index built, and wait until every row is in it for some looks in a row."""
        collection = self._collection

        def make(client: Any) -> None:  # noqa: ANN401 (pymilvus's client)
            indexes = client.prepare_index_params()
            indexes.add_index(
                _FIELD,
                index_type=collection.index.name,
                index_name=_FIELD,
                metric_type=_METRICS[collection.metric],
                params=dict(collection.build),
            )
            client.create_index(self._name, indexes, sync=False)

        self._asked(make)
        self._await_index(report)
        # Rows are counted and fetched where the collection is loaded.
        self._asked(lambda client: client.load_collection(self._name, timeout=_LOAD_SECONDS))

    def _await_index(self, report: Report) -> None:
        best, moved, quiet = -1, time.monotonic(), 0
        while quiet < _QUIET_LOOKS:
            told = self._described()
            reason = told.get("failed_reason") or told.get("index_state_fail_reason") or ""
            done, total = int(told["indexed_rows"]), self._collection.vectors
            pending = int(told.get("pending_index_rows", 0))
            report(min(done, total), total)
            quiet = quiet + 1 if done >= total and not pending else 0
            if done > best:
                best, moved = done, time.monotonic()
            stuck = not quiet and time.monotonic() - moved > _STUCK_SECONDS
            if told.get("state") == "Failed" or stuck:
                raise BenchmarkError(
                    f"Milvus does not finish the index: {reason or 'it does not say why'}",
                    why=f"{done} of {total} vectors were in it, and no more for "
                    f"{time.monotonic() - moved:.0f} s",
                    fix="see the log of its index or data node; DISKANN and AISAQ need a build "
                    "for disks and a local disk that may be used",
                )
            time.sleep(_LOOK_SECONDS)

    def _described(self) -> dict[str, Any]:
        return dict(self._asked(lambda client: client.describe_index(self._name, _FIELD)) or {})

    def parameters(self) -> dict[str, Any]:
        """The parameters that the server says the index has.

        Raises:
            BenchmarkError: it has another index or another metric.
        """
        told, wanted = self._described(), self._collection
        for what, value in (
            ("index_type", wanted.index.name),
            ("metric_type", _METRICS[wanted.metric]),
        ):
            if told.get(what) != value:
                raise BenchmarkError(
                    f"Milvus made an index of {what} {told.get(what)}, not {value}",
                    fix="see whether this version of Milvus has it, and make it with --rebuild",
                )
        return {name: int(told[name]) for name in wanted.build if name in told}

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """The vectors of these keys; NaN for a key that is not there."""
        names = [int(number) for number in ids]
        found = self._asked(
            lambda client: client.get(self._name, ids=names, output_fields=[_ID, _FIELD])
        )
        by_id = {row[_ID]: np.array(row[_FIELD], np.float32) for row in found}
        nothing = np.full(self._collection.dimension, np.nan, np.float32)
        return np.stack([by_id.get(number, nothing) for number in names])

    def open(self) -> None:
        """Connect, and have the collection loaded."""
        try:
            self._asked(lambda client: client.load_collection(self._name, timeout=_LOAD_SECONDS))
        except BenchmarkError as error:
            raise ConfigurationError(error.what, why=error.why, fix=error.fix) from error

    def searcher(self, k: int, effort: int) -> Search:
        """One request for all queries of a batch; ids only."""
        if self._client is None:
            raise BenchmarkError("the collection is not open")
        ask, name, refused = self._client.search, self._name, self._milvus.MilvusException
        asked = {
            "metric_type": _METRICS[self._collection.metric],
            "params": {self._collection.index.effort.name: effort},
        }

        def search(queries: NDArray[np.float32]) -> list[list[int]]:
            try:
                found = ask(
                    name,
                    data=queries,
                    anns_field=_FIELD,
                    limit=k,
                    search_params=asked,
                    timeout=_CALL_SECONDS,
                    consistency_level=_EVENTUALLY,
                )
            except refused as error:
                raise QueryFailedError(f"Milvus failed: {error.message}") from error
            return [[hit[_ID] for hit in hits] for hits in found]

        return search

    def counters(self) -> OwnCounters | None:
        """None: Milvus tells no client what it has read."""
        return None

    def files(self) -> list[Path]:
        """None that are known: the server's storage is its own matter."""
        return []

    def disk_bytes(self) -> int | None:
        """Not known to clients."""
        return None

    def processes(self) -> list[int]:
        """None that are known."""
        return []

    def close(self) -> None:
        """Disconnect; the collection stays loaded, as other clients may ask."""
        if self._client is not None:
            self._client.close()
            self._client = None
