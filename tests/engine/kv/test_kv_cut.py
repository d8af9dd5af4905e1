"""Windows that end early: on all ranks at one moment, and exactly as if they had been so short."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter_ns
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from engine.kv.kv_rig import BLOCK, R, Request, Rig, W, plan_of, settings_of
from mlpstorage.engine.comm import PipeComm
from mlpstorage.engine.kv.board import DONE, Board
from mlpstorage.engine.kv.executor import _Run, execute
from mlpstorage.engine.kv.plans import populate_plan, restore_plan, store_plan
from mlpstorage.engine.kv.raw import RawSweep, sweep
from mlpstorage.engine.kv.recording import rank_record
from mlpstorage.engine.kv.schedule import order_of
from mlpstorage.engine.kv.so_far import SoFar, Standing
from mlpstorage.engine.kv.window import agree_cut, agree_start
from mlpstorage.engine.stamps import BlockPool, Origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.raw import RawPoint
    from mlpstorage.engine.kv.record import RankRecord

MS = 1_000_000
# The dispatcher looks so often; a window ends at a multiple of it.
LOOK = 250 * MS


def reading(rig: Rig, requests: int = 400_000) -> KvPlan:
    """Reads that take for longer than any test waits."""
    rig.populate(16)
    return restore_plan(
        rig.resident, BLOCK, concurrency=2, requests=requests, blocks_per_request=1, seed=1
    )


class Wish:
    """A wish to stop that comes so long after the start, which is when all is ready."""

    def __init__(self, milliseconds: float, start: Callable[[], int] = perf_counter_ns) -> None:
        self._milliseconds, self._start = milliseconds, start
        self._at = 1 << 62

    def start(self) -> int:
        """When to start."""
        begins = self._start()
        self._at = begins + int(self._milliseconds * MS)
        return begins

    def __call__(self) -> bool:
        """Whether it has come."""
        return perf_counter_ns() >= self._at


def cut(rig: Rig, plan: KvPlan, milliseconds: int, **settings: float) -> RankRecord:
    """Execute a plan that the user stops after a time."""
    wish = Wish(milliseconds)
    return execute(
        plan,
        rig.layout,
        rig.pool,
        settings_of(**settings),
        resident=rig.resident,
        start_ns=wish.start,
        wants_stop=wish,
    )


def test_a_window_that_is_cut_ends_at_a_look(tmp_path: Path) -> None:
    """It is as long as until the look; all that is recorded lies in it; every thread has ended."""
    before = threading.active_count()
    rig = Rig(tmp_path)
    record = cut(rig, reading(rig), 600, duration_seconds=3600)
    assert threading.active_count() == before
    assert record.window_ns == record.cut_ns
    assert record.window_ns % LOOK == 0
    assert record.window_ns >= 500 * MS
    assert not record.exhausted
    assert record.last_done_ns <= record.window_ns
    assert record.reads == record.block_read.count == record.requests == sum(record.request_series)
    assert sum(record.read_series) == record.read_bytes
    assert record.moved_read_bytes >= record.read_bytes > 0


def test_a_plan_without_a_duration_is_cut_as_well(tmp_path: Path) -> None:
    """Filling stops in order: what is there is whole blocks, and the rest is left out."""
    rig = Rig(tmp_path, blocks=200_000)
    plan = populate_plan(np.arange(1, 100_001, dtype=np.uint64), BLOCK)
    record = cut(rig, plan, 300, ends_with_writes=True)
    assert record.cut_ns is not None
    assert 0 < record.writes < 100_000
    found = rig.layout.blocks()
    assert found is not None
    assert len(found) * BLOCK == record.moved_written_bytes
    assert not [path for path in rig.root.rglob("*") if path.name.endswith(".part")]


def test_a_cut_before_the_window_opens_records_nothing(tmp_path: Path) -> None:
    """In the warm-up the cut lies before the opening, and the window is empty, not negative."""
    rig = Rig(tmp_path)
    record = cut(rig, reading(rig), 1, warmup_seconds=60.0, duration_seconds=60)
    assert record.cut_ns is not None
    assert record.cut_ns < 0
    assert (record.window_ns, record.reads, record.requests, record.read_bytes) == (0, 0, 0, 0)
    assert record.read_bytes_per_second == 0


def test_a_cut_window_is_recorded_as_one_of_that_duration(tmp_path: Path) -> None:
    """One execution, cut after the fact or given that duration: the same record, in every field."""
    rig = Rig(tmp_path)
    requests = [
        Request([(R, 1 + k % 16), (W, 100 + k)], k % 3, hit_tokens=64, kind=k % 2)
        for k in range(3000)
    ]
    rig.populate(16)
    settings = settings_of(duration_seconds=0.6, slo_base_ns=(2 * MS, 0), slo_per_token_ns=10)
    plan = plan_of(*requests, kinds=("chat", "agent"))
    places = rig.layout.assign(plan, rig.resident)
    board = Board(plan, places, order_of(plan, places), settings)
    run = _Run(board, rig.layout, rig.pool, None, lambda: False)
    done = run.execute(None)
    whole = rank_record(done, 0).window_ns  # the plan may end before its duration
    for share in (0.2, 0.5, 0.9):
        at = done.opens_ns + int(share * whole)
        early = rank_record(replace(done, cut_ns=at), 0)
        short = rank_record(replace(done, closes_ns=at, wanted_closes_ns=at), 0)
        assert early.cut_ns == early.window_ns == int(share * whole)
        assert early.requests > 0
        same = msgspec.structs.replace(early, cut_ns=None, exhausted=short.exhausted)
        assert same == short


def test_the_first_rank_that_hears_sets_the_end(tmp_path: Path) -> None:
    """Three ranks hear at different times, and one not at all: their windows end alike."""
    ends, channels = _pipes(3)
    comms = [PipeComm(rank, 3, channels[rank]) for rank in range(3)]
    rigs = [Rig(tmp_path / str(rank), run=rank) for rank in range(3)]
    plans = [reading(rig) for rig in rigs]
    never = 1e9

    def one(rank: int) -> RankRecord:
        wish = Wish((500, 1000, never)[rank], lambda: agree_start(comms[rank]).start_ns)
        return execute(
            plans[rank],
            rigs[rank].layout,
            rigs[rank].pool,
            settings_of(duration_seconds=3.0),
            resident=rigs[rank].resident,
            start_ns=wish.start,
            rank=rank,
            wants_stop=wish,
            agree_cut=lambda cut_ns: agree_cut(comms[rank], cut_ns),
        )

    with ThreadPoolExecutor(3) as pool:
        records = list(pool.map(one, range(3)))
    for fd in ends:
        os.close(fd)
    (moment,) = {record.cut_ns for record in records}
    assert moment is not None
    assert 250 * MS <= moment < 3000 * MS
    assert {record.window_ns for record in records} == {moment}
    assert all(record.last_done_ns <= moment for record in records)
    assert all(sum(record.read_series) == record.read_bytes > 0 for record in records)


@pytest.mark.parametrize(
    ("cuts", "end"),
    [([None, None, None], None), ([7, None, 5], 5), ([None, 9, None], 9), ([0, 3, 3], 0)],
)
def test_agreeing_on_the_end(cuts: list[int | None], end: int | None) -> None:
    """The earliest end of any rank is that of all; without one there is none."""
    ends, channels = _pipes(3)
    comms = [PipeComm(rank, 3, channels[rank]) for rank in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(agree_cut, comms, cuts))
    for fd in ends:
        os.close(fd)
    assert found == [end] * 3


def _pipes(size: int) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """The channels of ranks that are threads, and the descriptors to close."""
    ends: list[int] = []
    channels: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for rank in range(1, size):
        up, down = os.pipe(), os.pipe()
        ends += [*up, *down]
        channels[0].append((up[0], down[1]))
        channels[rank].append((down[0], up[1]))
    return ends, channels


def test_a_rank_that_was_done_before_keeps_its_window(tmp_path: Path) -> None:
    """Its plan ended before the others were cut: its window is as long as its work."""
    rig = Rig(tmp_path)
    rig.populate(4)
    record = execute(
        plan_of(Request([(R, 1), (R, 2)])), rig.layout, rig.pool, settings_of(duration_seconds=30),
        resident=rig.resident, agree_cut=lambda _: 5_000 * MS,
    )  # fmt: skip
    assert record.cut_ns == 5_000 * MS
    assert record.exhausted
    assert record.window_ns == record.last_done_ns < 5_000 * MS
    assert record.reads == 2


def test_raw_speeds_keep_the_points_that_are_complete(tmp_path: Path) -> None:
    """After the wish no further point is measured, and no file is left; fio, if any, is ended."""
    wanted = RawSweep(
        block_bytes=(64 << 10, 128 << 10), queue_depths=(1, 2), total_bytes=4 << 20, seconds=0.1,
        pairs=1,
    )  # fmt: skip
    pool = BlockPool(Origin(3), seed=5, pool_bytes=1 << 20, piece_bytes=4 << 20)
    seen: list[RawPoint] = []
    found = sweep(tmp_path / "raw", wanted, pool, seen.append, lambda: len(seen) >= 2)
    assert found == seen
    assert [(point.direction, point.queue_depth) for point in found] == [("read", 1), ("read", 2)]
    assert wanted.points == 8
    assert not list((tmp_path / "raw").iterdir())


def test_looking_again_and_again_says_what_the_record_says(tmp_path: Path) -> None:
    """However often a window is looked at, all of it is counted, and nothing twice."""
    rig = Rig(tmp_path)
    rig.populate(16)
    requests = [
        Request([(R, 1 + k % 16)], k % 5, hit_tokens=64 * (k % 3), kind=k % 2) for k in range(3000)
    ]
    settings = settings_of(duration_seconds=60, slo_base_ns=(MS, 2 * MS), slo_per_token_ns=1000)
    plan = plan_of(*requests, kinds=("chat", "agent"))
    places = rig.layout.assign(plan, rig.resident)
    board = Board(plan, places, order_of(plan, places), settings)
    done = _Run(board, rig.layout, rig.pool, None, lambda: False).execute(None)
    end = max(board.restored_ns)
    # The window opens when a quarter has been restored; then the board is as it was, bit by bit.
    opens = sorted(board.restored_ns)[len(requests) // 4]
    record = rank_record(replace(done, opens_ns=opens), 0)
    whole = {name: np.array(getattr(board, name)) for name in ("dispatched_ns", "restored_ns")}
    outcomes, ends = np.frombuffer(bytes(board.outcome), np.uint8), np.array(board.end_ns)
    so_far = SoFar(board, opens)
    for moment in np.linspace(opens, end, 23).astype(int).tolist():
        for name, values in whole.items():
            np.frombuffer(getattr(board, name), np.int64)[:] = np.where(values <= moment, values, 0)
        np.frombuffer(board.outcome, np.uint8)[:] = np.where(ends <= moment, outcomes, 0)
        standing = so_far.look(moment)
    assert standing == Standing.of(record)
    assert standing.requests == record.requests > 1000
    assert standing.share_within is not None
    assert set(outcomes.tolist()) == {DONE}


def test_those_who_wait_too_long_count_as_late(tmp_path: Path) -> None:
    """A request that is overdue lowers the share before it is restored, and only once."""
    rig = Rig(tmp_path)
    rig.populate(2)
    settings = settings_of(slo_base_ns=(10 * MS,), slo_per_token_ns=0)
    plan = plan_of(Request([(R, 1)], 0), Request([(R, 2)], 1), open_loop=True)
    places = rig.layout.assign(plan, rig.resident)
    board = Board(plan, places, order_of(plan, places), settings)
    so_far = SoFar(board, 1000 * MS)
    assert so_far.look(1001 * MS) == Standing(0, 0, None)
    for request in range(2):
        board.due_ns[request] = board.dispatched_ns[request] = 1000 * MS
    board.restored_ns[0], board.outcome[0] = 1005 * MS, DONE
    assert so_far.look(1006 * MS) == Standing(1, 5 * MS, 1.0)
    assert so_far.look(1011 * MS) == Standing(1, 5 * MS, 0.5)
    board.restored_ns[1], board.outcome[1] = 1020 * MS, DONE
    assert so_far.look(1021 * MS).requests == 2
    assert so_far.look(1500 * MS).share_within == 0.5


def test_stores_are_requests_that_end_with_their_writes(tmp_path: Path) -> None:
    """Where nothing is read, the standing is that of the writes."""
    rig = Rig(tmp_path)
    plan = store_plan(1, BLOCK, concurrency=2, requests=50, blocks_per_request=2, keep_blocks=8)
    places = rig.layout.assign(plan, rig.resident)
    board = Board(plan, places, order_of(plan, places), settings_of(ends_with_writes=True))
    done = _Run(board, rig.layout, rig.pool, None, lambda: False).execute(None)
    standing = SoFar(board, done.opens_ns).look(perf_counter_ns())
    assert standing == Standing.of(rank_record(done, 0))
    assert standing.requests == 50
