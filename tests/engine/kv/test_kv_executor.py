"""The executor on real files: what is counted, in which order, and from when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.kv.kv_rig import BLOCK, D, R, Request, Rig, Slow, W, plan_of, settings_of
from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.kv.plans import populate_plan, restore_plan, store_plan
from mlpstorage.engine.kv.selftest import StallingLayout, Wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.kv.executor import Progress

MS = 1_000_000
BOTH = pytest.mark.parametrize("name", ["files", "slab"])


@BOTH
@pytest.mark.parametrize("block_bytes", [BLOCK, 9 << 20])
def test_everything_of_a_plan_is_done_and_counted(
    tmp_path: Path, name: str, block_bytes: int
) -> None:
    """Blocks of one piece or several: all operations are done, verified and in the counters."""
    rig = Rig(tmp_path, name, block_bytes=block_bytes, blocks=16)
    filled = rig.populate(6)
    assert (filled.writes, filled.written_bytes) == (6, 6 * block_bytes)
    plan = plan_of(
        Request([(R, 1), (R, 2), (W, 20), (D, 3)], hit_tokens=512),
        Request([(R, 20), (R, 4), (D, 20)], hit_tokens=300),
        block_bytes=block_bytes,
    )
    record = rig.execute(plan)
    assert (record.reads, record.writes, record.deletes, record.requests) == (4, 1, 2, 2)
    assert (record.hit_tokens, record.read_bytes) == (812, 4 * block_bytes)
    assert record.verification.bad == 0
    assert record.verification.blocks == 4
    assert record.verification.sectors == 4 * block_bytes // 4096
    assert record.block_read.count == 4
    assert record.classes["chat"].restore.count == 2
    assert [part.count for part in record.classes["chat"].restore_by_size] == [2, 0, 0, 0]
    assert not record.exhausted
    assert sum(record.read_series) == record.read_bytes
    assert sum(record.request_series) == 2


@BOTH
def test_the_kernel_counts_what_the_record_says(tmp_path: Path, name: str) -> None:
    """Bytes of read and write calls agree with /proc/self/io to two percent."""
    rig = Rig(tmp_path, name, block_bytes=1 << 20)
    filled = rig.populate(32)
    record = rig.execute(
        restore_plan(
            rig.resident, 1 << 20, concurrency=3, requests=32, blocks_per_request=1, seed=1
        )
    )
    assert abs(filled.write_count_gap) < 0.02
    assert abs(record.read_count_gap) < 0.02
    assert record.moved_read_bytes == record.read_bytes == 32 << 20
    assert filled.kernel_write_bytes >= 32 << 20


def test_open_loop_latency_counts_from_the_arrival(tmp_path: Path) -> None:
    """While one read stalls, requests behind it keep arriving, and their wait is their latency."""
    rig = Rig(tmp_path)
    rig.populate(40)
    requests = [Request([(R, block)], block, arrival_ms=5.0 * block) for block in range(1, 41)]
    stalling = StallingLayout(rig.layout, every=10, seconds=0.3)
    record = rig.execute(
        plan_of(*requests, open_loop=True), settings_of(readers=1), layout=stalling
    )
    times = record.classes["chat"]
    # Reads 10, 20, 30 and 40 stall: whoever is behind the first waits, until the end.
    assert times.restore.count == 40
    assert times.restore.most >= 300 * MS
    assert times.restore.quantile(0.5) >= 200 * MS
    assert times.service.quantile(0.5) < times.restore.quantile(0.5) / 2
    assert record.block_read.quantile(0.5) < 200 * MS


def test_closed_loops_think_after_the_end_of_the_last_request(tmp_path: Path) -> None:
    """A session's next request comes its think time after the last one ended, never before."""
    rig = Rig(tmp_path)
    rig.populate(4)
    plan = plan_of(*[Request([(R, 1 + turn)], arrival_ms=60) for turn in range(4)])
    stalling = StallingLayout(rig.layout, every=2, seconds=0.1)
    record = rig.execute(plan, layout=stalling)
    # Four thoughts and two stalls follow one another; the latency of a request is its own.
    assert record.window_ns >= (4 * 60 + 2 * 100) * MS
    restore = record.classes["chat"].restore
    assert restore.count == 4
    assert 100 * MS <= restore.most < 60 * 4 * MS
    assert record.lag.count == 4


def test_only_what_completes_in_the_window_counts(tmp_path: Path) -> None:
    """Warm-up and what is still running at the end do not count; the window is as long as asked."""
    rig = Rig(tmp_path)
    rig.populate(8)
    plan = restore_plan(
        rig.resident, BLOCK, concurrency=2, requests=4000, blocks_per_request=1, seed=1
    )
    stalling = StallingLayout(rig.layout, every=1, seconds=0.01)
    settings = settings_of(warmup_seconds=0.3, duration_seconds=0.5)
    record = rig.execute(plan, settings, layout=stalling)
    assert (record.begun_ns, record.window_ns) == (300 * MS, 500 * MS)
    assert not record.exhausted
    # Two sessions, each read at least 10 ms: at most 100 in the window, and some before it.
    assert 0 < record.reads <= 102
    assert record.moved_read_bytes > record.read_bytes
    assert record.requests == record.reads == sum(record.request_series)
    assert record.classes["restore"].unfinished == 2


def test_a_plan_that_ends_before_its_duration_says_so(tmp_path: Path) -> None:
    """A load that could not be kept up is marked, and its window ends with the last operation."""
    rig = Rig(tmp_path)
    rig.populate(4)
    record = rig.execute(plan_of(Request([(R, 1), (R, 2)])), settings_of(duration_seconds=30))
    assert record.exhausted
    assert record.window_ns == record.last_done_ns < 30_000 * MS


def test_an_slo_is_judged_by_size_and_by_who_is_still_waiting(tmp_path: Path) -> None:
    """The limit grows with the tokens; requests overdue at the end count as late."""
    rig = Rig(tmp_path)
    rig.populate(4)
    stalling = StallingLayout(rig.layout, every=1, seconds=0.1)
    requests = [
        Request([(R, 1)], 0, hit_tokens=0),
        Request([(R, 2)], 1, hit_tokens=10_000_000),
        *[Request([(R, 3)], 2 + turn, hit_tokens=0) for turn in range(40)],
    ]
    settings = settings_of(
        readers=2, duration_seconds=0.55, slo_base_ns=(10 * MS,), slo_per_token_ns=1000
    )
    record = rig.execute(plan_of(*requests, open_loop=True), settings, layout=stalling)
    judged = record.classes["chat"]
    assert judged.within == 1
    assert judged.restore.count + judged.unfinished == 42
    assert judged.unfinished == judged.unfinished_late == judged.unfinished_double > 20
    assert judged.share_within() == pytest.approx(1 / 42)
    assert judged.slo_ppm.most > 10e6


def test_store_ends_requests_with_their_writes(tmp_path: Path) -> None:
    """In a write-only closed loop a request takes as long as its writes."""
    rig = Rig(tmp_path)
    plan = store_plan(1, BLOCK, concurrency=2, requests=6, blocks_per_request=2, keep_blocks=4)
    record = rig.execute(plan, settings_of(ends_with_writes=True), layout=Slow(rig.layout))
    assert (record.writes, record.deletes, record.requests) == (12, 8, 6)
    assert record.classes["store"].restore.least >= 90 * MS
    assert sorted(rig.layout.blocks()) == [9, 10, 11, 12]
    # The time of a write is the storage's own.
    assert record.block_write.least >= 90 * MS


def test_a_shared_directory_may_lack_blocks(tmp_path: Path) -> None:
    """What another rank has not written yet is absent and counted; alone it is a finding."""
    rig = Rig(tmp_path)
    plan = plan_of(Request([(R, 1), (D, 2)]))
    record = rig.execute(plan, settings_of(shared=True))
    assert (record.reads_absent, record.reads, record.verification.bad) == (1, 0, 0)
    alone = rig.execute(plan)
    assert (alone.reads_absent, alone.verification.bad) == (0, 2)
    assert {finding.what for finding in alone.verification.findings} == {"missing"}


def test_ranks_read_what_others_wrote(tmp_path: Path) -> None:
    """Two ranks in one directory at the same time verify each other's blocks."""
    rigs = [Rig(tmp_path) for _ in range(2)]
    for rank, rig in enumerate(rigs):
        own = np.arange(1 + 20 * rank, 21 + 20 * rank, dtype=np.uint64)
        rig.execute(populate_plan(own, BLOCK))
    records = []

    def read(rank: int) -> None:
        plan = plan_of(Request([(R, block) for block in range(1, 41)]))
        records.append(rigs[rank].execute(plan, settings_of(shared=True, verify="full"), rank=rank))

    threads = [threading.Thread(target=read, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.verification.whole_blocks for record in records] == [40, 40]
    assert [record.verification.bad + record.reads_absent for record in records] == [0, 0]


def test_progress_is_told(tmp_path: Path) -> None:
    """While it runs, about once a second, the caller hears how far it is."""
    from mlpstorage.engine.kv.executor import execute

    rig = Rig(tmp_path)
    rig.populate(2)
    heard: list[Progress] = []
    requests = [Request([(R, 1)], turn, arrival_ms=800.0 * turn) for turn in range(3)]
    execute(
        plan_of(*requests, open_loop=True), rig.layout, rig.pool, settings_of(),
        on_progress=heard.append,
    )  # fmt: skip
    assert heard
    assert heard[0].requests == 2
    assert heard[0].read_bytes == 2 * BLOCK


def test_a_storage_that_fails_ends_the_run(tmp_path: Path) -> None:
    """EIO from a read is no finding but the end, named by file; all threads end."""
    rig = Rig(tmp_path)
    rig.populate(20)
    before = threading.active_count()

    class Failing(Wrapped):
        def read(self, *_: object) -> int:
            raise OSError(5, "Input/output error")

    plan = plan_of(Request([(R, block) for block in range(1, 21)]))
    with pytest.raises(BenchmarkError, match=r"\.kv: Input/output error"):
        rig.execute(plan, layout=Failing(rig.layout))
    assert threading.active_count() == before


def test_an_empty_plan_is_over_at_once(tmp_path: Path) -> None:
    """No requests: a record of nothing."""
    record = Rig(tmp_path).execute(plan_of())
    assert (record.requests, record.window_ns, record.classes) == (0, 0, {})


def test_block_sizes_must_agree(tmp_path: Path) -> None:
    """A plan for other blocks than the layout's is refused."""
    with pytest.raises(ConfigurationError, match="blocks of 8192 bytes"):
        Rig(tmp_path).execute(plan_of(block_bytes=8192))


def test_pieces_must_fit_the_pool(tmp_path: Path) -> None:
    """Pieces larger than the pool can fill are refused before anything is written."""
    rig = Rig(tmp_path, block_bytes=16 << 20)
    plan = populate_plan(np.array([1], np.uint64), 16 << 20)
    with pytest.raises(ConfigurationError, match="larger than those of"):
        rig.execute(plan, settings_of(piece_bytes=8 << 20))
    assert rig.layout.blocks().tolist() == []
