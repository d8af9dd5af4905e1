"""What precedes what, on real files: within blocks and slots, sessions and writers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from engine.kv.kv_rig import BLOCK, D, R, Request, Rig, Slow, W, plan_of, settings_of
from mlpstorage.engine.kv.plans import restore_plan
from mlpstorage.engine.kv.selftest import StallingLayout, Wrapped

if TYPE_CHECKING:
    from pathlib import Path


MS = 1_000_000
BOTH = pytest.mark.parametrize("name", ["files", "slab"])


class Watched(Wrapped):
    """Notes the calls, in the order of beginning and ending."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.layout)
        self.calls: list[tuple[str, int]] = []

    def open(self, place: int) -> tuple[int, int]:
        """Note it."""
        self.calls.append(("open", place))
        return self.inner.open(place)

    def commit(self, descriptor: int, place: int) -> None:
        """Note it."""
        self.inner.commit(descriptor, place)
        self.calls.append(("commit", place))

    def delete(self, place: int) -> None:
        """Note it."""
        self.calls.append(("delete", place))
        self.inner.delete(place)


def test_sessions_do_not_overlap_themselves(tmp_path: Path) -> None:
    """With C sessions at most C requests are in flight, and really C."""
    rig = Rig(tmp_path)
    rig.populate(32)
    lock, inside, peak = threading.Lock(), [0], [0]

    class Counting(Wrapped):
        def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
            with lock:
                inside[0] += 1
                peak[0] = max(peak[0], inside[0])
            time.sleep(0.005)
            with lock:
                inside[0] -= 1
            return self.inner.read(descriptor, views, offset)

    plan = restore_plan(
        rig.resident, BLOCK, concurrency=3, requests=32, blocks_per_request=1, seed=1
    )
    rig.execute(plan, settings_of(readers=8), layout=Counting(rig.layout))
    assert peak == [3]


@BOTH
def test_a_read_waits_for_the_write_of_its_block(tmp_path: Path, name: str) -> None:
    """A READ of a block whose WRITE is under way reads it afterwards, and is counted."""
    rig = Rig(tmp_path, name)
    plan = plan_of(Request([(W, 5)], 0), Request([(R, 5)], 1), open_loop=True)
    record = rig.execute(plan, layout=Slow(rig.layout))
    assert (record.reads, record.reads_waited, record.verification.bad) == (1, 1, 0)
    assert record.read_wait.most >= 90 * MS
    assert record.classes["chat"].restore.most >= 90 * MS


def test_a_delete_waits_for_the_reads_before_it(tmp_path: Path) -> None:
    """DELETE, WRITE and READ of one block happen in the plan's order, whatever else happens."""
    rig = Rig(tmp_path)
    rig.populate(1)
    watched = Watched(rig)
    plan = plan_of(
        Request([(R, 1), (D, 1)], 0),
        Request([(W, 1)], 1),
        Request([(R, 1), (D, 1)], 2),
        open_loop=True,
    )
    record = rig.execute(plan, layout=StallingLayout(watched, every=1, seconds=0.02))
    assert [call for call, _ in watched.calls] == ["open", "delete", "commit", "open", "delete"]
    assert record.verification.bad == 0


def test_a_slot_is_not_overwritten_while_its_block_is_read(tmp_path: Path) -> None:
    """Many short-lived blocks in few slots, read and deleted by many sessions: no wrong byte."""
    rig = Rig(tmp_path, "slab", blocks=1)
    requests = []
    for turn in range(150):
        block = 1000 + turn
        requests += [Request([(W, block)], turn % 5), Request([(R, block), (D, block)], turn % 5)]
    record = rig.execute(plan_of(*requests, open_loop=True), settings_of(verify="full"))
    assert record.reads == record.writes == record.deletes == 150
    assert (record.verification.bad, record.verification.whole_blocks) == (0, 150)


def test_reads_ahead_of_the_plan_are_counted_and_read_nothing(tmp_path: Path) -> None:
    """In a closed loop that overtakes the plan, a READ of an unwritten block is early."""
    rig = Rig(tmp_path)
    plan = plan_of(
        Request([(W, 7)], session=0, arrival_ms=200),
        Request([(R, 7)], session=1, arrival_ms=0, hit_tokens=100),
    )
    record = rig.execute(plan)
    assert (record.reads_early, record.reads, record.writes, record.verification.bad) == (
        1,
        0,
        1,
        0,
    )
    assert record.classes["chat"].restore.count == 0
    assert record.hit_tokens == 0


def test_no_read_waits_for_a_session_that_thinks(tmp_path: Path) -> None:
    """A WRITE that must wait for the read of a thinking session makes its own readers early."""
    rig = Rig(tmp_path)
    rig.populate(1)
    plan = plan_of(
        Request([(R, 1)], session=0, arrival_ms=400),
        Request([(D, 1), (W, 1)], session=1, arrival_ms=0),
        Request([(R, 1)], session=2, arrival_ms=50),
    )
    record = rig.execute(plan)
    assert (record.reads, record.reads_early, record.deletes, record.writes) == (1, 1, 1, 1)
    assert record.verification.bad == 0


def test_writes_beyond_their_budget_are_dropped(tmp_path: Path) -> None:
    """A WRITE that waited too long is dropped; its reads and deletes find nothing, by count."""
    rig = Rig(tmp_path)
    ops = [(W, 1), (W, 2), (W, 3), (W, 4)]
    plan = plan_of(
        Request(ops, 0), Request([(R, 4), (D, 4)], 0), Request([(R, 1)], 0), open_loop=True
    )
    settings = settings_of(writers=1, write_budget_seconds=0.05)
    record = rig.execute(plan, settings, layout=Slow(rig.layout))
    assert record.writes + record.writes_dropped == 4
    assert record.writes_dropped >= 2
    assert (record.reads, record.reads_lost) == (1, 1)
    assert record.verification.bad == 0
    assert len(rig.layout.blocks()) == record.writes


def test_writers_step_back_while_reads_wait(tmp_path: Path) -> None:
    """With reads waiting for a reader, only so many writers go on as may go on beside reads."""
    rig = Rig(tmp_path)
    rig.populate(30)
    lock, inside, peak = threading.Lock(), [0], [0]

    class Counting(Wrapped):
        def write(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
            with lock:
                inside[0] += 1
                peak[0] = max(peak[0], inside[0])
            time.sleep(0.01)
            with lock:
                inside[0] -= 1
            return self.inner.write(descriptor, views, offset)

    reads = Request([(R, block) for block in range(1, 31)], 0, arrival_ms=0)
    writes = Request([(W, block) for block in range(100, 110)], 1, arrival_ms=20)
    stalling = StallingLayout(Counting(rig.layout), every=1, seconds=0.03)
    settings = settings_of(readers=1, writers=6, writers_beside_reads=1)
    record = rig.execute(plan_of(reads, writes, open_loop=True), settings, layout=stalling)
    assert (record.reads, record.writes) == (30, 10)
    assert peak == [1]
