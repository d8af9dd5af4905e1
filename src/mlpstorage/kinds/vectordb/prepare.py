"""Loading and indexing a collection, or seeing that it is there already: rank 0's work."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, MlpstorageError
from mlpstorage.core.events import Figure, Note
from mlpstorage.core.units import format_seconds
from mlpstorage.engine.files import drop_files
from mlpstorage.kinds.vectordb.backends.interface import require_effective
from mlpstorage.kinds.vectordb.record import CollectionRecord
from mlpstorage.kinds.vectordb.ticking import Ticking

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlpstorage.core.events import Event
    from mlpstorage.engine.vectors.manifest import VectorManifest
    from mlpstorage.kinds.vectordb.backends.interface import Backend, Collection
    from mlpstorage.kinds.vectordb.wish import Wish

_CHECKED_ROWS = 100
_SAME = 1e-4


@dataclass(frozen=True)
class Prepared:
    """What the collection is by now, the vectors it holds, and whether it was there before.

    The record's status is built, or what came before it where the user wanted to stop.
    """

    record: CollectionRecord
    rows: int
    reused: bool = False


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and from which data.

    `report` is called with an activity, what is done, all there is to do, its unit, and bytes; it
    says whether it has shown them. `emit` takes other events.
    """

    backend: Backend
    name: str
    collection: Collection
    manifest: VectorManifest
    folder: Path
    batch: int
    report: Callable[[str, int, int, str, int], bool]
    emit: Callable[[Event], None]
    wish: Wish

    def ready(self, *, rebuild: bool) -> Prepared:
        """The collection, loaded and indexed if it was not.

        A user who wants to stop keeps the batches that are in, and an index that is being built.

        Raises:
            ConfigurationError: there is one, of other vectors or another index.
            MlpstorageError: loading or building failed.
        """
        held = None if rebuild else self._held()
        if held is not None:
            self._require_same(held)
            if held.status == "built":
                self._require_whole()
                return Prepared(held, self.collection.vectors, reused=True)
        record, rows = self._load(held)
        if record.status == "loading":
            self.backend.close()
        elif self.wish.heard():
            self.backend.keep(msgspec.json.encode(record))
            self.backend.close()
        else:
            # The figures of the load outlive a build that is broken off.
            self.backend.keep(msgspec.json.encode(record))
            record = self._build(record)
        return Prepared(record, rows)

    def _held(self) -> CollectionRecord | None:
        data = self.backend.record()
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=CollectionRecord)
        except msgspec.MsgspecError as error:
            raise ConfigurationError(
                f"the record of the collection {self.collection.name} cannot be read",
                why=str(error),
                fix="make it anew with --rebuild, or choose another --collection",
            ) from error

    def _require_same(self, held: CollectionRecord) -> None:
        wanted = self._fresh()
        for what in ("dataset_hash", "dimension", "vectors", "metric", "index", "asked"):
            theirs, ours = getattr(held, what), getattr(wanted, what)
            if theirs != ours:
                raise ConfigurationError(
                    f"the collection {self.collection.name} has {what} {_short(theirs)}, the run "
                    f"asks for {_short(ours)}",
                    why="searching it would measure something else than the run says",
                    fix="make it anew with --rebuild, or choose another --collection",
                )

    def _require_whole(self) -> None:
        self.backend.open()
        try:
            self._require_rows()
        finally:
            self.backend.close()

    def _require_rows(self) -> None:
        rows = self.backend.rows()
        if rows != self.collection.vectors:
            raise BenchmarkError(
                f"the collection {self.collection.name} holds {rows} vectors, not "
                f"{self.collection.vectors}",
                why="every vector of the data set must be in, once",
                fix="make it anew with --rebuild",
            )

    def _fresh(self) -> CollectionRecord:
        return CollectionRecord(
            status="loading",
            dataset_hash=self.manifest.dataset_hash,
            vectors=self.collection.vectors,
            dimension=self.collection.dimension,
            metric=self.collection.metric,
            backend=self.name,
            index=self.collection.index.name,
            version=self.backend.version(),
            asked=dict(self.collection.build),
        )

    def _kept(self, held: CollectionRecord) -> int | None:
        """The rows of an unfinished collection that are durably in; None if it cannot be told."""
        try:
            rows = self.backend.rows()
            self.backend.flush()
        except MlpstorageError as error:
            self.backend.close()
            self._say(f"the load begins anew: what was loaded cannot be gone on with, {error.what}")
            return None
        total = self.collection.vectors
        if rows > total or (held.status == "loaded" and rows != total):
            self.backend.close()
            self._say(f"the load begins anew: the collection holds {rows} vectors of {total}")
            return None
        what = "builds the index over" if rows == total else "goes on after"
        self._say(f"{what} the {rows} vectors that an earlier run has loaded", "info")
        return rows

    def _say(self, text: str, level: str = "warning") -> None:
        self.emit(Note(text, level))

    def _load(self, held: CollectionRecord | None) -> tuple[CollectionRecord, int]:
        """Load what is not in yet; resumes after the last whole row that the backend has.

        Also the rows that are in; when they are not all, the record still says loading.
        """
        kept = None if held is None else self._kept(held)
        if held is None or kept is None:
            self.backend.create()
            self.backend.keep(msgspec.json.encode(self._fresh()))
        elif held.status == "loaded":
            return held, kept
        start = kept or 0
        base, total = self.manifest.spec.base(self.folder), self.collection.vectors
        written, seconds, done = _written_bytes(), 0.0, start
        self.report("loading", start, total, "vectors", 0)
        for block, checksum in enumerate(self.manifest.base_checksums):
            begin, end = base.bounds(block)
            if end <= start:
                continue
            if self.wish.heard():
                break
            rows = base.read_checked(block, checksum)
            for first in range(max(begin, start), end, self.batch or end - begin):
                if self.wish.heard():
                    break
                last = min(first + (self.batch or end), end)
                clock = time.perf_counter()
                self.backend.load(first, rows[first - begin : last - begin])
                seconds += time.perf_counter() - clock
                done = last
                moved = (last - start) * self.collection.dimension * 4
                if self.report("loading", last, total, "vectors", moved):
                    self.emit(Figure(0, "load", (last - start) / seconds, "vectors/s"))
        flush = _timed(self.backend.flush)
        # The source must not sit in memory that the page cache of the index could use.
        drop_files([base.path])
        if done < total:
            return self._fresh(), done
        self._require_rows()
        loaded = msgspec.structs.replace(
            self._fresh(),
            status="loaded",
            load_seconds=seconds,
            flush_seconds=flush,
            resumed_from=start,
            bytes_written=_written_bytes() - written,
        )
        return loaded, total

    def _build(self, record: CollectionRecord) -> CollectionRecord:
        written = _written_bytes()
        build = self.collection
        expected = build.index.footprint(build.vectors, build.dimension, build.build)
        shown = _BuildShown(
            self.report, self._say, self.wish, max(1, round(expected.build_core_seconds))
        )
        with Ticking(shown.elapsed):
            seconds = _timed(lambda: self.backend.build(shown.told))
        effective = self.backend.parameters()
        require_effective(record.asked, effective, self.name)
        self._require_rows()
        self._compare_some()
        own = not self.backend.processes() and record.bytes_written is not None
        disk = self.backend.disk_bytes()
        made = msgspec.structs.replace(
            record,
            status="built",
            effective=effective,
            build_seconds=seconds,
            bytes_written=(record.bytes_written or 0) + _written_bytes() - written if own else None,
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            disk_bytes=disk,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        self.backend.keep(msgspec.json.encode(made))
        self.backend.close()
        return made

    def _compare_some(self) -> None:
        """Fetch some rows and compare them with the data set's."""
        ids = np.random.default_rng(self.collection.vectors).choice(
            self.collection.vectors, min(_CHECKED_ROWS, self.collection.vectors), replace=False
        )
        stored = self.backend.fetch([int(number) for number in ids])
        if stored is None:
            return
        from mlpstorage.engine.vectors.files import open_vectors

        path = self.manifest.spec.base(self.folder).path
        wanted = open_vectors(path).take(ids.astype(np.int64))
        if self.collection.metric == "cosine":  # engines may store them at length 1
            stored, wanted = _unit(stored), _unit(wanted)
        differing = ~(np.abs(stored - wanted).max(axis=1) <= _SAME * np.abs(wanted).max())
        if differing.any():
            number = int(ids[np.flatnonzero(differing)[0]])
            raise BenchmarkError(
                f"vector {number} of the collection {self.collection.name} is not that of the data",
                why=f"{int(differing.sum())} of {len(ids)} fetched vectors differ",
                fix="make it anew with --rebuild",
            )


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    scaled: NDArray[np.float32] = (rows / np.maximum(length, 1e-30)).astype(np.float32)
    return scaled


def _short(value: Any) -> str:  # noqa: ANN401 (a field of the record)
    return value[:16] if isinstance(value, str) else str(value)


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _written_bytes() -> int:
    """Bytes that this process has sent to storage."""
    for line in Path("/proc/self/io").read_text("ascii").splitlines():
        if line.startswith("write_bytes: "):
            return int(line.partition(": ")[2])
    return 0


class _BuildShown:
    """Shows how far a build is: what the engine tells, or else the seconds that have passed.

    An engine does not stop in order while it builds: who wants that is told what is waited for.
    """

    def __init__(
        self,
        report: Callable[[str, int, int, str, int], bool],
        say: Callable[[str, str], None],
        wish: Wish,
        expected_seconds: int,
    ) -> None:
        self._report, self._say, self._wish = report, say, wish
        self._expected = expected_seconds
        self._told = self._warned = False

    def told(self, done: int, total: int) -> None:
        """Pass on what the engine tells."""
        self._told = True
        self._report("building the index", done, total, "vectors", 0)

    def elapsed(self, seconds: int) -> None:
        """Show the time, where the engine tells nothing; called once a second, on a thread."""
        if not self._warned and self._wish.waits():
            self._warned = True
            self._say(
                f"the index is finished first, {format_seconds(seconds)} of about "
                f"{format_seconds(max(self._expected, seconds))} so far: engines cannot go on with "
                "half of one; after a second interrupt the next run builds it over the vectors "
                "that are loaded",
                "warning",
            )
        if not self._told:
            total = max(self._expected, seconds + 1)
            self._report("building the index", seconds, total, "s, as expected", 0)
