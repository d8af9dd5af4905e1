"""What a rank records of an executed plan, and what the records of all ranks say together.

A `RankRecord` travels to the launcher as JSON. `merge` adds what can be added, merges histograms
bucket by bucket, and names the worst rank; it never averages a percentile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.kv.latency import Latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Upper ends of the hit-size buckets, in tokens, and their names.
HIT_BOUNDS = (4 << 10, 16 << 10, 64 << 10)
HIT_SIZES = ("<4k", "4-16k", "16-64k", ">64k")
# Findings kept of one rank; all are counted.
MOST_FINDINGS = 20


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that makes the run INVALID: what is wrong, in which file, at which byte.

    `what` is one of stamp, bytes, short, missing.
    """

    what: str
    file: str
    offset: int
    block: str
    detail: str


class ClassRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one class that were restored within the window.

    `restore` runs from the scheduled arrival, `service` from the first read's submission, both to
    the last block; `restore_by_size` has a histogram per entry of `HIT_SIZES`. `slo_ppm` is a
    request's restore latency over its limit, in millionths. `within` and `within_double` count
    requests within once and twice their limit. `unfinished` were due within the window but not
    restored at its end, `unfinished_late` and `unfinished_double` had exceeded the limit, or twice
    the limit, by then.
    """

    restore: Latencies
    service: Latencies
    restore_by_size: list[Latencies]
    slo_ppm: Latencies
    within: int
    within_double: int
    unfinished: int
    unfinished_late: int
    unfinished_double: int

    @property
    def judged(self) -> int:
        """The requests within the limit or known to be beyond it."""
        return self.restore.count + self.unfinished_late

    def share_within(self) -> float:
        """The share of requests within their limit; 1 when there were none."""
        return self.within / self.judged if self.judged else 1.0

    def share_within_double(self) -> float:
        """The share of requests within twice their limit; 1 when there were none."""
        judged = self.restore.count + self.unfinished_double
        return self.within_double / judged if judged else 1.0


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared with what must have been written; `bad` counts findings of any kind."""

    blocks: int = 0
    sectors: int = 0
    whole_blocks: int = 0
    bad: int = 0
    findings: list[Finding] = []


class RankRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's window; times in nanoseconds, bytes without file system overhead.

    The window opens `begun_ns` after the agreed start (the warm-up) and is `window_ns` long; what
    completed in it counts. Without a duration it ends with the last operation.

    Args:
        rank: The rank's number, and `host` where it ran.
        begun_ns: See above.
        window_ns: See above.
        sync_ns: How long it took afterwards to bring everything written to the device. Bytes
            written are on the device `window_ns + sync_ns` after the window opened.
        exhausted: The plan ended before the duration did: the load was not kept up.
        first_done_ns: The first completion, from the opening of the window; `last_done_ns` the
            last.
        read_bytes: Bytes of the blocks read, `written_bytes` written; `reads`, `writes` and
            `deletes` are numbers of blocks.
        requests: Restored requests; `input_tokens` are all of their prompts, `hit_tokens` the
            plan's hits in proportion to the blocks that really were read.
        classes: By class.
        block_read: Open to last byte of a block, `block_write` (without making its bytes) and
            `block_delete` likewise.
        write_age: From when a WRITE could begin to when it began.
        read_wait: How long reads waited for the write of their block that was still queued.
        lag: How late the executor itself was: the dispatch of a request after its due time.
        reads_waited: Reads that waited for the write of their block.
        reads_early: Reads whose block's write had not been dispatched: in another order than the
            plan's, which closed loops can bring. Nothing was read.
        reads_lost: Reads of blocks whose write was dropped. Nothing was read.
        reads_absent: Reads of blocks that another rank had not written yet, or had deleted
            (shared directories only). Nothing was read.
        writes_dropped: Writes older than the budget, which were given up.
        read_series: Bytes read per second of the window, `write_series` written, `request_series`
            requests restored.
        cpu_user_seconds: Of the whole process, within the window, as `cpu_system_seconds`.
        moved_read_bytes: Bytes that read calls returned from the start to the end, also outside the
            window; `moved_written_bytes` likewise. To be compared with the kernel's counters.
        kernel_rchar: Of /proc/self/io, from the start to the end, as the next three.
        verification: See there.
        layout: The layout's name, with `direct`, `readers`, `writers` and `engine` as used.
        cut_ns: When all ranks closed the window early because the user wanted to stop, from its
            opening (negative: before it); None if they did not. CPU seconds are then those until
            the rank itself had heard of it, up to a quarter of a second later.
        read_busy_ns: What the readers spent in I/O of blocks read in the window, `write_busy_ns`
            the writers of blocks written.
        host_busy_seconds: CPU time of the host, whoever used it, within the window;
            `network_share` the part of its speed that the busiest link of the host carried.
    """

    rank: int
    host: str
    begun_ns: int
    window_ns: int
    sync_ns: int
    exhausted: bool
    first_done_ns: int
    last_done_ns: int
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int
    deletes: int
    requests: int
    hit_tokens: int
    input_tokens: int
    classes: dict[str, ClassRecord]
    block_read: Latencies
    block_write: Latencies
    block_delete: Latencies
    write_age: Latencies
    read_wait: Latencies
    lag: Latencies
    reads_waited: int
    reads_early: int
    reads_lost: int
    reads_absent: int
    writes_dropped: int
    read_series: list[int]
    write_series: list[int]
    request_series: list[int]
    cpu_user_seconds: float
    cpu_system_seconds: float
    moved_read_bytes: int
    moved_written_bytes: int
    kernel_rchar: int
    kernel_read_bytes: int
    kernel_wchar: int
    kernel_write_bytes: int
    verification: Verification
    layout: str
    direct: bool
    readers: int
    writers: int
    engine: str = "threads"
    cut_ns: int | None = None
    read_busy_ns: int = 0
    write_busy_ns: int = 0
    host_busy_seconds: float = 0.0
    network_share: float | None = None

    @property
    def cpu_seconds(self) -> float:
        """Of user and system together, within the window."""
        return self.cpu_user_seconds + self.cpu_system_seconds

    @property
    def read_bytes_per_second(self) -> float:
        """Bytes read over the window."""
        return self.read_bytes / self.window_ns * 1e9 if self.window_ns else 0.0

    @property
    def written_bytes_per_second(self) -> float:
        """Bytes written over the window and the time to make them durable."""
        span = self.window_ns + self.sync_ns
        return self.written_bytes / span * 1e9 if span else 0.0

    @property
    def read_count_gap(self) -> float:
        """The share of bytes read that the kernel does not know of; negative when it knows more."""
        return _gap(self.moved_read_bytes, self.kernel_rchar)

    @property
    def write_count_gap(self) -> float:
        """The share of bytes written that the kernel does not know of."""
        return _gap(self.moved_written_bytes, self.kernel_wchar)


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """All ranks together: `all` is their record as if they were one, the others tell them apart.

    Args:
        all: Sums, merged histograms, and the common window (the longest; equal for all ranks when
            there was a duration). `rank` is -1, `host` empty.
        ranks: The number of ranks.
        read_rates: Bytes read per second of each rank, by rank; `write_rates` likewise.
        slowest_rank: The rank with the worst 95th percentile of a restore; of reading a block
            where no request restored anything.
        first_done_ns: When the first rank was done with its last operation, `last_done_ns` the
            last: both from the opening of the window.
    """

    all: RankRecord
    ranks: int
    read_rates: list[float]
    write_rates: list[float]
    slowest_rank: int
    first_done_ns: int
    last_done_ns: int


def merge(records: Sequence[RankRecord], ranks: int) -> Merged:
    """What the records of all ranks say together.

    Raises:
        BenchmarkError: a rank's record is missing or there twice: survivors are never averaged.
    """
    ordered = sorted(records, key=lambda record: record.rank)
    if [record.rank for record in ordered] != list(range(ranks)):
        lost = sorted(set(range(ranks)) - {record.rank for record in ordered})
        raise BenchmarkError(
            f"the records of {ranks} ranks were expected, {len(ordered)} came"
            + (f"; rank {lost[0]} is lost" if lost else ""),
            why="a result without all ranks says nothing about the whole",
            fix="see the log of that rank",
        )
    return Merged(
        all=_together(ordered),
        ranks=ranks,
        read_rates=[record.read_bytes_per_second for record in ordered],
        write_rates=[record.written_bytes_per_second for record in ordered],
        slowest_rank=max(ordered, key=_slowness).rank,
        first_done_ns=min(record.last_done_ns for record in ordered),
        last_done_ns=max(record.last_done_ns for record in ordered),
    )


_SUMMED = (
    "read_bytes", "written_bytes", "reads", "writes", "deletes", "requests", "hit_tokens",
    "input_tokens", "reads_waited", "reads_early", "reads_lost", "reads_absent", "writes_dropped",
    "cpu_user_seconds", "cpu_system_seconds", "moved_read_bytes", "moved_written_bytes",
    "read_busy_ns", "write_busy_ns", "kernel_rchar", "kernel_read_bytes", "kernel_wchar",
    "kernel_write_bytes", "readers", "writers",
)  # fmt: skip
_HISTOGRAMS = ("block_read", "block_write", "block_delete", "write_age", "read_wait", "lag")
_SERIES = ("read_series", "write_series", "request_series")
_LARGEST = ("window_ns", "sync_ns", "last_done_ns")


def _together(records: Sequence[RankRecord]) -> RankRecord:
    rows = [msgspec.structs.asdict(record) for record in records]

    def over(names: Iterable[str], join: Callable[[list[object]], object]) -> dict[str, object]:
        return {name: join([row[name] for row in rows]) for name in names}

    changes = over(_SUMMED, sum)  # type: ignore[arg-type]  # these fields are numbers
    changes |= over(_LARGEST, max)  # type: ignore[arg-type]  # so are these
    changes |= over(_HISTOGRAMS, Latencies.merged)  # type: ignore[arg-type]  # these are Latencies
    changes |= over(_SERIES, _added)  # type: ignore[arg-type]  # and these lists of numbers
    changes |= {
        "rank": -1,
        "host": "",
        "begun_ns": min(record.begun_ns for record in records),
        "first_done_ns": min(record.first_done_ns for record in records),
        "exhausted": any(record.exhausted for record in records),
        "direct": all(record.direct for record in records),
        "classes": _classes(records),
        "verification": _verified([record.verification for record in records]),
    }
    return msgspec.structs.replace(records[0], **changes)


def _classes(records: Sequence[RankRecord]) -> dict[str, ClassRecord]:
    names = dict.fromkeys(name for record in records for name in record.classes)
    return {
        name: _one_class([r.classes[name] for r in records if name in r.classes]) for name in names
    }


def _one_class(parts: Sequence[ClassRecord]) -> ClassRecord:
    return ClassRecord(
        restore=Latencies.merged(part.restore for part in parts),
        service=Latencies.merged(part.service for part in parts),
        restore_by_size=[
            Latencies.merged(part.restore_by_size[size] for part in parts)
            for size in range(len(HIT_SIZES))
        ],
        slo_ppm=Latencies.merged(part.slo_ppm for part in parts),
        within=sum(part.within for part in parts),
        within_double=sum(part.within_double for part in parts),
        unfinished=sum(part.unfinished for part in parts),
        unfinished_late=sum(part.unfinished_late for part in parts),
        unfinished_double=sum(part.unfinished_double for part in parts),
    )


def _verified(parts: Sequence[Verification]) -> Verification:
    return Verification(
        blocks=sum(part.blocks for part in parts),
        sectors=sum(part.sectors for part in parts),
        whole_blocks=sum(part.whole_blocks for part in parts),
        bad=sum(part.bad for part in parts),
        findings=[finding for part in parts for finding in part.findings][:MOST_FINDINGS],
    )


def _added(series: Sequence[Sequence[int]]) -> list[int]:
    """Element by element; a rank that was done earlier moved nothing afterwards."""
    total = [0] * max(len(part) for part in series)
    for part in series:
        for second, count in enumerate(part):
            total[second] += count
    return total


def _slowness(record: RankRecord) -> int:
    restores = Latencies.merged(part.restore for part in record.classes.values())
    return (restores if restores.most else record.block_read).quantile(0.95)


def _gap(moved: int, counted: int) -> float:
    return 1 - counted / moved if moved else 0.0
