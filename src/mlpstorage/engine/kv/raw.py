"""What the storage gives without a cache's logic: block size by queue depth, beside fio.

The same threads, buffers, stamps and slab files as in every other mode, with requests of one block
each. Where fio is installed both take turns on the same files, and the ratio is the median of the
pairs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.engine.kv.executor import execute
from mlpstorage.engine.kv.fio import find_fio, run_fio
from mlpstorage.engine.kv.layouts import make_layout
from mlpstorage.engine.kv.plans import overwrite_plan, populate_plan, restore_plan
from mlpstorage.engine.kv.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.fio import FioRun
    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.record import RankRecord
    from mlpstorage.engine.stamps import BlockPool

BLOCK_BYTES = tuple(64 << (10 + 2 * step) for step in range(6))  # 64 KiB to 64 MiB
QUEUE_DEPTHS = (1, 4, 16, 32)
# A plan is made for this rate; a faster storage ends it early, which only shortens the window.
_RATE = 10e9
_MOST_REQUESTS = 1_000_000


@dataclass(frozen=True)
class RawSweep:
    """What is swept, and for how long.

    Args:
        block_bytes: Block sizes, multiples of 4096.
        queue_depths: Reads or writes in flight.
        total_bytes: The size of the slab files, and what is written to fill them.
        seconds: The length of each measurement.
        pairs: How often each point is measured by either side.
        direct: Past the page cache.
        writes: Also measure writing.
        verify: See `Settings.verify`.
        with_fio: Compare with fio where it is installed.
    """

    block_bytes: tuple[int, ...] = BLOCK_BYTES
    queue_depths: tuple[int, ...] = QUEUE_DEPTHS
    total_bytes: int = 2 << 30
    seconds: float = 2.0
    pairs: int = 3
    direct: bool = True
    writes: bool = True
    verify: str = "stamps"
    with_fio: bool = True

    @property
    def points(self) -> int:
        """How many points are measured."""
        return len(self.block_bytes) * len(self.queue_depths) * (2 if self.writes else 1)


class RawPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table; rates in bytes per second, medians over the pairs.

    `efficiency` is the median of the pairs' ratios, engine over fio; None without fio, as fio's
    figures are. CPU is in seconds per 10^9 bytes, which is cores per GB/s. `bad` counts findings.
    """

    direction: str
    block_bytes: int
    queue_depth: int
    rate: float
    cpu_per_gb: float
    p50_ns: int
    p99_ns: int
    fio_rate: float | None = None
    fio_cpu_per_gb: float | None = None
    efficiency: float | None = None
    bad: int = 0


def sweep(
    root: Path,
    wanted: RawSweep,
    pool: BlockPool,
    on_point: Callable[[RawPoint], None] = lambda _point: None,
    wants_stop: Callable[[], bool] = lambda: False,
) -> list[RawPoint]:
    """Measure every point; the files are made below `root` and removed again.

    If the user wants to stop, what is under way is ended, and the points that are complete are all.

    Args:
        root: A directory on the storage.
        wanted: What to measure.
        pool: What blocks are made from.
        on_point: Called with each point as soon as it is known.
        wants_stop: Whether the user wants to stop; asked while there is something left to do.

    Raises:
        MlpstorageError: the storage fails, is full or refuses direct I/O, or fio fails.
    """
    points: list[RawPoint] = []
    each = wanted.points // max(1, len(wanted.block_bytes))
    for number, block_bytes in enumerate(wanted.block_bytes):
        if len(points) < number * each:
            break  # the user has stopped it
        folder = root / f"raw-{block_bytes}"
        for point in _points(folder, block_bytes, wanted, pool, wants_stop):
            points.append(point)
            on_point(point)
    return points


def _points(
    root: Path,
    block_bytes: int,
    wanted: RawSweep,
    pool: BlockPool,
    wants_stop: Callable[[], bool],
) -> Iterator[RawPoint]:
    """The points of a block size, as far as the user lets it come."""
    count = max(2, wanted.total_bytes // block_bytes)
    blocks = np.arange(1, count + 1, dtype=np.uint64)
    layout = make_layout("slab", root, block_bytes, blocks=count, direct=wanted.direct)
    try:
        filling = populate_plan(blocks, block_bytes)
        filled = execute(filling, layout, pool, Settings(), wants_stop=wants_stop)
        if filled.cut_ns is not None:
            return
        bench = _Bench(layout, blocks, wanted, pool, wants_stop)
        # Writes come after all reads: what fio writes carries no stamps.
        for direction in ("read", "write") if wanted.writes else ("read",):
            for queue_depth in wanted.queue_depths:
                point = bench.point(direction, queue_depth)
                if point is None:
                    return
                yield point
    finally:
        layout.remove()
        root.rmdir()


class _Bench:
    """One set of slab files, measured by both sides in turn."""

    def __init__(
        self,
        layout: Layout,
        blocks: NDArray[np.uint64],
        wanted: RawSweep,
        pool: BlockPool,
        wants_stop: Callable[[], bool],
    ) -> None:
        self._layout, self._blocks, self._wanted, self._pool = layout, blocks, wanted, pool
        self._wants_stop = wants_stop
        self._fio = find_fio() if wanted.with_fio else None
        self._files = sorted(entry.path for entry in os.scandir(layout.root))

    def point(self, direction: str, queue_depth: int) -> RawPoint | None:
        """Measure one point; None if the user wants to stop before it is complete."""
        ours: list[RankRecord] = []
        theirs: list[FioRun] = []
        for pair in range(self._wanted.pairs):
            sides = ("engine", "fio") if pair % 2 == 0 else ("fio", "engine")
            for side in sides:
                if self._wants_stop():
                    return None
                if side == "engine":
                    ours.append(self._engine(direction, queue_depth, pair))
                elif self._fio is not None:
                    run = self._by_fio(self._fio, direction, queue_depth)
                    if run is None:
                        return None
                    theirs.append(run)
        if ours[-1].cut_ns is not None:
            return None
        return _point(direction, self._layout.block_bytes, queue_depth, ours, theirs)

    def _engine(self, direction: str, queue_depth: int, pair: int) -> RankRecord:
        settings = Settings(
            readers=queue_depth if direction == "read" else 1,
            writers=queue_depth if direction == "write" else 1,
            duration_seconds=self._wanted.seconds,
            verify=self._wanted.verify,
            ends_with_writes=True,
        )
        plan = self._plan(direction, queue_depth, pair)
        return execute(
            plan,
            self._layout,
            self._pool,
            settings,
            resident=self._blocks,
            wants_stop=self._wants_stop,
        )

    def _plan(self, direction: str, queue_depth: int, pair: int) -> KvPlan:
        size = self._layout.block_bytes
        requests = int(self._wanted.seconds * _RATE / size) + 4 * queue_depth
        make = restore_plan if direction == "read" else overwrite_plan
        return make(
            self._blocks,
            size,
            concurrency=queue_depth,
            requests=min(requests, _MOST_REQUESTS),
            blocks_per_request=1,
            seed=pair,
        )

    def _by_fio(self, fio: str, direction: str, queue_depth: int) -> FioRun | None:
        return run_fio(
            fio,
            self._files,
            write=direction == "write",
            block_bytes=self._layout.block_bytes,
            queue_depth=queue_depth,
            seconds=self._wanted.seconds,
            direct=self._layout.direct,
            wants_stop=self._wants_stop,
        )


def _point(
    direction: str, block_bytes: int, depth: int, ours: list[RankRecord], theirs: list[FioRun]
) -> RawPoint:
    read = direction == "read"
    rates = [_rate(record, read=read) for record in ours]
    middle = sorted(ours, key=lambda record: _rate(record, read=read))[len(ours) // 2]
    latencies = middle.block_read if read else middle.block_write
    pairs = list(zip(rates, theirs, strict=False))
    return RawPoint(
        direction=direction,
        block_bytes=block_bytes,
        queue_depth=depth,
        rate=median(rates),
        cpu_per_gb=median(_cpu_per_gb(record, read=read) for record in ours),
        p50_ns=latencies.quantile(0.5),
        p99_ns=latencies.quantile(0.99),
        fio_rate=median(run.bytes_per_second for run in theirs) if theirs else None,
        fio_cpu_per_gb=median(r.cpu_seconds_per_byte * 1e9 for r in theirs) if theirs else None,
        efficiency=median(rate / run.bytes_per_second for rate, run in pairs) if pairs else None,
        bad=sum(record.verification.bad for record in ours),
    )


def _rate(record: RankRecord, *, read: bool) -> float:
    """Writing: over the window alone, as fio's; both sides write past the page cache."""
    moved = record.read_bytes if read else record.written_bytes
    return moved / record.window_ns * 1e9 if record.window_ns else 0.0


def _cpu_per_gb(record: RankRecord, *, read: bool) -> float:
    moved = record.read_bytes if read else record.written_bytes
    return record.cpu_seconds / moved * 1e9 if moved else 0.0
