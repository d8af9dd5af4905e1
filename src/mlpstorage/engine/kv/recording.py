"""From the times of all operations to the record of a rank."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.board import ABSENT, DONE, DROPPED, EARLY, LOST
from mlpstorage.engine.kv.inspection import verified
from mlpstorage.engine.kv.latency import Latencies
from mlpstorage.engine.kv.plan import Op
from mlpstorage.engine.kv.record import HIT_BOUNDS, HIT_SIZES, ClassRecord, RankRecord
from mlpstorage.engine.links import busiest_share

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlpstorage.engine.counters import Counters
    from mlpstorage.engine.kv.board import Board
    from mlpstorage.engine.kv.inspection import Findings, Inspector
    from mlpstorage.engine.kv.layouts import Layout

    Longs = NDArray[np.int64]
    Flags = NDArray[np.bool_]

_SECOND = 1_000_000_000
_PPM = 1_000_000


@dataclass(frozen=True)
class Execution:
    """All that is known when an execution is over; instants by `perf_counter_ns`.

    Args:
        board: The times of operations and requests.
        layout: Where blocks lay.
        findings: What verification found.
        inspectors: One per reader.
        start_ns: When it started.
        opens_ns: When the window opened.
        closes_ns: When it closed before all was done, by its duration or because the user wanted
            to stop; None if the plan ended before.
        wanted_closes_ns: When it should have closed; None without a duration.
        finished_ns: When the last thread was done.
        synced_ns: When everything was on the device.
        first: The process's usage at the start, `opened` and `closed` at the window's ends, `last`
            at the end.
        moved_read_bytes: Bytes that reads returned, from the start to the end.
        moved_written_bytes: Bytes that writes took.
        cut_ns: When all ranks' windows were closed early; None if none was. What a rank did
            afterwards, until it had heard of it, does not count.
    """

    board: Board
    layout: Layout
    findings: Findings
    inspectors: Sequence[Inspector]
    start_ns: int
    opens_ns: int
    closes_ns: int | None
    wanted_closes_ns: int | None
    finished_ns: int
    synced_ns: int
    first: Counters
    opened: Counters
    closed: Counters
    last: Counters
    moved_read_bytes: int
    moved_written_bytes: int
    cut_ns: int | None = None


def rank_record(execution: Execution, rank: int) -> RankRecord:
    """The record of a rank; only what completed within the window counts."""
    return _Recorder(execution).record(rank)


class _Recorder:
    """The arrays of an execution, and what of them lies in the window."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        board = execution.board
        self._plan = board.plan
        self._outcome = np.frombuffer(board.outcome, np.uint8)
        self._begin, self._end = _of(board.begin_ns), _of(board.end_ns)
        self._ready, self._spent = _of(board.ready_ns), _of(board.spent_ns)
        self._opens = execution.opens_ns
        closes = execution.closes_ns or int(self._end.max(initial=0))
        if execution.cut_ns is not None:
            closes = min(closes, execution.cut_ns)
        self._closes = max(closes, self._opens)
        self._counts = (self._outcome == DONE) & self._inside(self._end)

    def _inside(self, instants: Longs) -> Flags:
        flags: Flags = (instants >= self._opens) & (instants <= self._closes)
        return flags

    def _of_op(self, op: Op) -> Flags:
        flags: Flags = self._counts & (self._plan.op == op)
        return flags

    def record(self, rank: int) -> RankRecord:
        """All of it."""
        execution, settings = self._execution, self._execution.board.settings
        reads, writes, deletes = (self._of_op(op) for op in Op)
        restored = _Requests(self._execution, self._closes)
        ends = self._end[self._counts]
        waited = reads & (self._ready > 0)
        size = self._plan.block_bytes
        count = self._outcomes
        return RankRecord(
            rank=rank,
            host=os.uname().nodename,
            begun_ns=self._opens - execution.start_ns,
            window_ns=self._closes - self._opens,
            sync_ns=max(0, execution.synced_ns - self._closes)
            if execution.moved_written_bytes
            else 0,
            exhausted=execution.wanted_closes_ns is not None and execution.closes_ns is None,
            first_done_ns=int(ends.min(initial=self._closes)) - self._opens,
            last_done_ns=int(ends.max(initial=self._opens)) - self._opens,
            read_bytes=int(reads.sum()) * size,
            written_bytes=int(writes.sum()) * size,
            reads=int(reads.sum()),
            writes=int(writes.sum()),
            deletes=int(deletes.sum()),
            requests=int(restored.inside.sum()),
            hit_tokens=restored.hit_tokens(),
            input_tokens=int(self._plan.input_tokens[restored.inside].sum()),
            classes=restored.classes(),
            block_read=Latencies.of((self._end - self._begin)[reads]),
            block_write=Latencies.of(self._spent[writes]),
            block_delete=Latencies.of((self._end - self._begin)[deletes]),
            write_age=Latencies.of((self._begin - self._ready)[writes]),
            read_wait=Latencies.of((self._begin - self._ready)[waited]),
            lag=restored.lag(),
            reads_waited=int(waited.sum()),
            reads_early=count(EARLY),
            reads_lost=count(LOST),
            reads_absent=count(ABSENT),
            writes_dropped=count(DROPPED),
            read_series=self._series(self._end[reads], size),
            write_series=self._series(self._end[writes], size),
            request_series=self._series(restored.finished[restored.inside], 1),
            cpu_user_seconds=execution.closed.user_seconds - execution.opened.user_seconds,
            cpu_system_seconds=execution.closed.system_seconds - execution.opened.system_seconds,
            moved_read_bytes=execution.moved_read_bytes,
            moved_written_bytes=execution.moved_written_bytes,
            kernel_rchar=execution.last.rchar - execution.first.rchar,
            kernel_read_bytes=execution.last.read_bytes - execution.first.read_bytes,
            kernel_wchar=execution.last.wchar - execution.first.wchar,
            kernel_write_bytes=execution.last.write_bytes - execution.first.write_bytes,
            verification=verified(execution.inspectors, execution.findings),
            layout=execution.layout.name,
            direct=execution.layout.direct,
            readers=settings.readers,
            writers=settings.writers,
            cut_ns=None if execution.cut_ns is None else execution.cut_ns - self._opens,
            read_busy_ns=int((self._end - self._begin)[reads].sum()),
            write_busy_ns=int(self._spent[writes].sum()),
            host_busy_seconds=(execution.closed.host_busy_ticks - execution.opened.host_busy_ticks)
            / os.sysconf("SC_CLK_TCK"),
            network_share=busiest_share(
                execution.opened.links,
                execution.closed.links,
                (self._closes - self._opens) / _SECOND,
            ),
        )

    def _outcomes(self, outcome: int) -> int:
        """How many READs (or, dropped, WRITEs) came to this, from the start to the end."""
        op = Op.WRITE if outcome == DROPPED else Op.READ
        return int(((self._outcome == outcome) & (self._plan.op == op)).sum())

    def _series(self, ends: Longs, weight: int) -> list[int]:
        """What completed in each second of the window, the last one cut off where it ends."""
        seconds = max(1, -(-(self._closes - self._opens) // _SECOND))
        second = np.minimum((ends - self._opens) // _SECOND, seconds - 1)
        counts: list[int] = (np.bincount(second, minlength=seconds) * weight).tolist()
        return counts


class _Requests:
    """The requests of an execution: `finished` is when each was restored, 0 if it was not.

    In plans whose requests end with their writes, one that reads nothing counts as finished with
    its last write. `inside` says which were finished within the window.
    """

    def __init__(self, execution: Execution, closes: int) -> None:
        board = execution.board
        self._plan, self._settings = board.plan, board.settings
        self._due, self._closes = _of(board.due_ns), closes
        self._opens = execution.opens_ns
        self._dispatched = _of(board.dispatched_ns)
        self.finished = _of(board.restored_ns).copy()
        begun, ops = _of(board.begin_ns), np.arange(len(board.begin_ns))
        counted = (np.frombuffer(board.outcome, np.uint8) == DONE) & (self._plan.op == Op.READ)
        timed = board.reads_in > 0
        if self._settings.ends_with_writes:
            self.finished[~timed] = _of(board.ended_ns)[~timed]
            written = (np.frombuffer(board.outcome, np.uint8) == DONE) & ~timed[board.request_of]
            counted |= written
        reads = ops[(self._plan.op == Op.READ) & counted]
        self._reads_in = board.reads_in
        self._reads_done = np.bincount(board.request_of[reads], minlength=len(self._due))
        self._submitted = np.full(len(self._due), np.iinfo(np.int64).max)
        chosen = ops[counted]
        np.minimum.at(self._submitted, board.request_of[chosen], begun[chosen])
        # Requests that moved no byte have no latency.
        self._moved = self._submitted < np.iinfo(np.int64).max
        self._wants_reads = timed | self._settings.ends_with_writes
        self.inside: Flags = (self.finished >= self._opens) & (self.finished <= closes)
        self.inside &= self.finished > 0

    def hit_tokens(self) -> int:
        """The tokens that were restored within the window: those whose blocks were read."""
        planned = self._plan.hit_tokens.astype(np.int64)
        restored = planned * self._reads_done // np.maximum(self._reads_in, 1)
        return int(restored[self.inside].sum())

    def lag(self) -> Latencies:
        """How late requests with a due time of their own were dispatched."""
        scheduled = (self._dispatched > 0) & (self._plan.open_loop | (self._plan.arrival_ns > 0))
        scheduled &= (self._dispatched >= self._opens) & (self._dispatched <= self._closes)
        return Latencies.of((self._dispatched - self._due)[scheduled])

    def classes(self) -> dict[str, ClassRecord]:
        """By class, those that have any request in the plan."""
        return {
            name: self._class(number)
            for number, name in enumerate(self._plan.kinds)
            if (self._plan.kind == number).any()
        }

    def _class(self, number: int) -> ClassRecord:
        mine = self._plan.kind == number
        timed = mine & self.inside & self._moved
        restore = self.finished - self._due
        limit = self._limits(number)
        due = mine & (self._dispatched > 0) & self._wants_reads & (self._due <= self._closes)
        unfinished = due & ((self.finished == 0) | (self.finished > self._closes))
        age = self._closes - self._due
        sizes = np.searchsorted(HIT_BOUNDS, self._plan.hit_tokens, side="right")
        return ClassRecord(
            restore=Latencies.of(restore[timed]),
            service=Latencies.of((self.finished - self._submitted)[timed]),
            restore_by_size=[
                Latencies.of(restore[timed & (sizes == size)]) for size in range(len(HIT_SIZES))
            ],
            slo_ppm=Latencies.of(
                _ratio(restore[timed], limit[timed]) if self._limited(number) else restore[:0]
            ),
            within=int((restore <= limit)[timed].sum()),
            within_double=int((restore <= 2 * limit)[timed].sum()),
            unfinished=int(unfinished.sum()),
            unfinished_late=int((age > limit)[unfinished].sum()),
            unfinished_double=int((age > 2 * limit)[unfinished].sum()),
        )

    def _limited(self, number: int) -> bool:
        bases = self._settings.slo_base_ns
        return number < len(bases) and bases[number] > 0

    def _limits(self, number: int) -> Longs:
        """The restore latency that each request is allowed in this class, nanoseconds."""
        if not self._limited(number):
            return np.full(len(self._due), np.iinfo(np.int64).max // 4)
        tokens = self._plan.hit_tokens.astype(np.int64)
        return self._settings.slo_base_ns[number] + tokens * self._settings.slo_per_token_ns


def _ratio(values: Longs, limits: Longs) -> Longs:
    return (values * (_PPM / limits)).astype(np.int64)


def _of(values: array[int]) -> Longs:
    return np.frombuffer(values, np.int64)
