"""Executes a compiled plan: issues what stands in it at the time it stands for, and times it.

    record = execute(plan, layout, pool, settings, resident=blocks, start_ns=start.start_ns)

The caller's thread is the dispatcher. It sleeps until a request is due and queues its reads; reader
and writer threads do the rest (see `board`, `readers`, `writers`). Open loop: a request is due at
its arrival, however late the storage is, and its latency counts from then. Closed loop: it is due
`arrival_ns` after its session's last request ended, kept in a heap and not by threads that sleep.

A request's writes and deletes follow when it is restored. Within a block the plan's order is kept:
a READ whose block is still to be written by a request that was dispatched waits for the write, and
is counted (`reads_waited`); one whose write belongs to a request that is not dispatched yet, or
waits for one (closed loops may run in another order than the plan's), reads nothing and is counted
(`reads_early`); one whose write was dropped likewise (`reads_lost`). WRITEs and DELETEs wait for
all that the plan has before them. Nothing waits for anything later in the plan, so nothing waits
for ever.

The dispatcher looks four times a second whether the user wants to stop. The window then closes as
it does at its end: what is under way is finished, and what completed in time counts. The looks of
all ranks fall on the same moments after their common start, so their windows end alike.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from queue import Empty
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.counters import Counters
from mlpstorage.engine.kv.board import Board, first_requests
from mlpstorage.engine.kv.inspection import SAMPLED, Findings
from mlpstorage.engine.kv.layouts import storage_errors
from mlpstorage.engine.kv.readers import Readers
from mlpstorage.engine.kv.recording import Execution, rank_record
from mlpstorage.engine.kv.schedule import order_of
from mlpstorage.engine.kv.so_far import SoFar
from mlpstorage.engine.kv.window import wait_until
from mlpstorage.engine.kv.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.record import RankRecord
    from mlpstorage.engine.kv.settings import Settings
    from mlpstorage.engine.kv.so_far import Standing
    from mlpstorage.engine.stamps import BlockPool

_PROGRESS_NS = 1_000_000_000
# How often the dispatcher looks whether the user wants to stop.
_LOOK_NS = 250_000_000
_NEVER = 1 << 62


@dataclass(frozen=True)
class Progress:
    """How far an execution is; bytes since the start, `standing` since the window opened."""

    seconds: float
    requests: int
    read_bytes: int
    written_bytes: int
    standing: Standing | None = None


def execute(
    plan: KvPlan,
    layout: Layout,
    pool: BlockPool,
    settings: Settings,
    *,
    resident: NDArray[np.uint64] | None = None,
    start_ns: int | Callable[[], int] | None = None,
    rank: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    wants_stop: Callable[[], bool] = lambda: False,
    agree_cut: Callable[[int | None], int | None] = lambda cut_ns: cut_ns,
) -> RankRecord:
    """Execute a plan, or as much of it as its duration allows, and bring its writes to the device.

    Args:
        plan: What this rank does.
        layout: Where blocks lie; `remove` and `shut` are the caller's.
        pool: What blocks are made from and compared with.
        settings: See there.
        resident: The blocks that are there, in the order in which they were written; a slab needs
            them, for other layouts they may be left out.
        start_ns: When to start, by `perf_counter_ns` of this process, or what says so when
            everything is ready, which for long plans takes seconds (see `window.agree_start`);
            at once if None.
        rank: This rank's number, for the record.
        on_progress: Called about once a second, from the calling thread.
        wants_stop: Whether the user wants to stop: asked four times a second, from the calling
            thread. The window is closed then.
        agree_cut: Called when nothing is under way any more: from when this rank has closed its
            window early, counted from the start, if it has, to when all have (see
            `window.agree_cut`).

    Raises:
        ConfigurationError: the plan contradicts itself or the layout.
        MlpstorageError: the storage failed or is full; nothing is a result then.
    """
    if plan.block_bytes != layout.block_bytes:
        raise ConfigurationError(
            f"the plan has blocks of {plan.block_bytes} bytes, the layout of {layout.block_bytes}"
        )
    piece_bytes = settings.pieces(plan.block_bytes)[1]
    if piece_bytes > pool.piece_bytes:
        raise ConfigurationError(
            f"pieces of {piece_bytes} bytes are larger than those of {pool.piece_bytes} that the"
            " random pool can fill at a time",
            fix="make the pool with larger pieces, or use smaller ones",
        )
    if resident is None:
        resident = np.zeros(0, np.uint64)
    places = layout.assign(plan, resident)
    board = Board(plan, places, order_of(plan, places), settings)
    run = _Run(board, layout, pool, on_progress, wants_stop)
    done = run.execute(start_ns() if callable(start_ns) else start_ns)
    cut_ns = agree_cut(None if done.cut_ns is None else done.cut_ns - done.start_ns)
    if cut_ns is not None:
        done = replace(done, cut_ns=done.start_ns + cut_ns)
    return rank_record(done, rank)


class _Agenda(Protocol):
    """Which requests are due when; instants by `perf_counter_ns`."""

    def next_due(self) -> int:
        """When the next request is due; far in the future if none is known."""

    def pop(self) -> tuple[int, int]:
        """The next request's due time and number."""

    def push(self, due_ns: int, request: int) -> None:
        """Note a request that has become known."""


class _OpenAgenda:
    """Requests that arrive by themselves, in the order of arrival."""

    def __init__(self, plan: KvPlan, start_ns: int) -> None:
        order = np.argsort(plan.arrival_ns, kind="stable")
        self._requests: list[int] = order.tolist()
        self._due: list[int] = (plan.arrival_ns[order] + start_ns).tolist()
        self._position = 0

    def next_due(self) -> int:
        return self._due[self._position] if self._position < len(self._due) else _NEVER

    def pop(self) -> tuple[int, int]:
        position = self._position
        self._position += 1
        return self._due[position], self._requests[position]

    def push(self, due_ns: int, request: int) -> None:
        """Never called: no arrival depends on another request."""
        raise AssertionError(due_ns, request)


class _ClosedAgenda:
    """The next request of each session that is thinking: an event clock for all sessions."""

    def __init__(self, plan: KvPlan, start_ns: int) -> None:
        arrival = plan.arrival_ns
        self._heap = [(start_ns + int(arrival[r]), r) for r in first_requests(plan.session)]
        heapq.heapify(self._heap)

    def next_due(self) -> int:
        return self._heap[0][0] if self._heap else _NEVER

    def pop(self) -> tuple[int, int]:
        return heapq.heappop(self._heap)

    def push(self, due_ns: int, request: int) -> None:
        heapq.heappush(self._heap, (due_ns, request))


class _Close(NamedTuple):
    """How the dispatching ended: the usage at both ends of the window, and why it closed.

    `closes_ns` is None if all was done before, `cut_ns` if the user did not end it.
    """

    opened: Counters
    closed: Counters
    closes_ns: int | None
    cut_ns: int | None = None


class _Run:
    """One execution: the dispatcher and its threads."""

    def __init__(
        self,
        board: Board,
        layout: Layout,
        pool: BlockPool,
        on_progress: Callable[[Progress], None] | None,
        wants_stop: Callable[[], bool],
    ) -> None:
        self._board, self._layout = board, layout
        self._findings = Findings()
        settings = board.settings
        rng = np.random.Generator(np.random.Philox(settings.seed))
        chosen = (rng.integers(0, SAMPLED, len(board.op), np.uint8) == 0).tobytes()
        self._readers = Readers(board, layout, pool, self._findings, chosen)
        self._writers = Writers(board, layout, pool, self._findings)
        self._on_progress, self._wants_stop = on_progress, wants_stop

    def execute(self, start_ns: int | None) -> Execution:
        """From the start to the last byte on the device."""
        board, settings = self._board, self._board.settings
        for thread in (*self._readers.threads, *self._writers.threads):
            thread.start()
        first = Counters.now()
        start = perf_counter_ns() if start_ns is None else start_ns
        opens = start + int(settings.warmup_seconds * 1e9)
        closes = None
        if settings.duration_seconds is not None:
            closes = opens + int(settings.duration_seconds * 1e9)
        try:
            wait_until(start)
            close = self._dispatch(start, opens, closes)
        finally:
            self._end_threads()
        if board.failure is not None:
            raise board.failure
        finished = perf_counter_ns()
        if sum(self._writers.moved_bytes):
            with storage_errors(self._layout.root):
                self._layout.sync()
        return Execution(
            board=board,
            layout=self._layout,
            findings=self._findings,
            inspectors=self._readers.inspectors,
            opens_ns=opens,
            closes_ns=close.closes_ns,
            start_ns=start,
            finished_ns=finished,
            synced_ns=perf_counter_ns(),
            wanted_closes_ns=closes,
            opened=close.opened,
            closed=close.closed,
            first=first,
            last=Counters.now(),
            moved_read_bytes=sum(self._readers.moved_bytes),
            moved_written_bytes=sum(self._writers.moved_bytes),
            cut_ns=close.cut_ns,
        )

    def _end_threads(self) -> None:
        settings = self._board.settings
        self._board.stop(settings.readers, settings.writers)
        for thread in (*self._readers.threads, *self._writers.threads):
            thread.join()
        self._readers.close()

    def _dispatch(self, start: int, opens: int, closes: int | None) -> _Close:
        """Dispatch what is due until the window closes, all is done, or the user wants to stop."""
        board, timers, clock = self._board, self._board.timers, perf_counter_ns
        agenda: _Agenda = (_OpenAgenda if board.plan.open_loop else _ClosedAgenda)(
            board.plan, start
        )
        opened: Counters | None = None
        so_far = SoFar(board, opens)
        look_at, report_at = start + _LOOK_NS, start + _PROGRESS_NS
        while True:
            now = clock()
            if opened is None and now >= opens:
                opened = Counters.now()
            if board.complete or board.failure or (closes is not None and now >= closes):
                usage = Counters.now()
                return _Close(opened or usage, usage, None if board.complete else closes)
            if now >= look_at:
                look_at = now - (now - start) % _LOOK_NS + _LOOK_NS
                if self._wants_stop():
                    usage, cut = Counters.now(), look_at - _LOOK_NS
                    return _Close(opened or usage, usage, cut, cut)
                if now >= report_at and self._on_progress is not None:
                    report_at = now - (now - start) % _PROGRESS_NS + _PROGRESS_NS
                    standing = so_far.look(now) if opened else None
                    self._on_progress(self._progress(now - start, standing))
            due = agenda.next_due()
            if due <= now:
                due, request = agenda.pop()
                board.dispatch(request, due)
                continue
            until = min(due, look_at, closes or _NEVER, _NEVER if opened else opens)
            try:
                event = timers.get(timeout=max(until - now, 0) / 1e9)
            except Empty:
                continue
            if event is not None:
                agenda.push(*event)

    def _progress(self, passed_ns: int, standing: Standing | None) -> Progress:
        return Progress(
            seconds=passed_ns / 1e9,
            requests=self._board.ended,
            standing=standing,
            read_bytes=sum(self._readers.moved_bytes),
            written_bytes=sum(self._writers.moved_bytes),
        )
