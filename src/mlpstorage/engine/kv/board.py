"""What dispatcher, readers and writers share: where every operation and request stands.

Whoever completes something calls in here, and what follows is begun on the same thread: there is
no thread that hands work on. Reads that are ready wait in a deque, with one token each in a queue
on which idle readers sleep; writes and deletes likewise. Operations and requests are numbers.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from collections import deque
from queue import SimpleQueue
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.layouts import Places
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.schedule import Order
    from mlpstorage.engine.kv.settings import Settings

# What became of an operation.
NOTHING, PENDING, DONE, EARLY, LOST, ABSENT, DROPPED, BROKEN = range(8)
# In place of an operation: the thread that takes it ends.
END = -1


class Work:
    """Operations that are ready, for threads that sleep until there is one."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        # Every token was put after its item, so taking one after the other never fails.
        self.sleep = self._tokens.get
        self.take = self.waiting.popleft

    def push(self, item: int) -> None:
        """Put an item behind all others."""
        self.waiting.append(item)
        self._tokens.put(None)

    def leave(self) -> None:
        """After `sleep`, instead of `take`: leave the item to another thread."""
        self._tokens.put(None)

    def push_first(self, item: int) -> None:
        """Put an item before all others."""
        self.waiting.appendleft(item)
        self._tokens.put(None)


class Board:
    """Where every operation and request of a plan stands; all times by `perf_counter_ns`.

    Args:
        plan: The plan.
        places: Where its blocks are.
        order: What must precede what.
        settings: How it is executed.
    """

    def __init__(self, plan: KvPlan, places: Places, order: Order, settings: Settings) -> None:
        operations, requests = len(plan.op), len(plan.session)
        self.plan, self.settings = plan, settings
        self.op = plan.op.tobytes()
        self.block = _longs(plan.block, "Q")
        self.place = _longs(places.place, "Q")
        self.begin_ns = array("q", [0]) * operations
        self.end_ns = array("q", [0]) * operations
        # From when an operation could begin, for those that waited.
        self.ready_ns = array("q", [0]) * operations
        # Of a WRITE: the nanoseconds of the storage's calls, without making its bytes.
        self.spent_ns = array("q", [0]) * operations
        self.outcome = bytearray(operations)
        self.due_ns = array("q", [0]) * requests
        self.dispatched_ns = array("q", [0]) * requests
        self.restored_ns = array("q", [0]) * requests
        self.ended_ns = array("q", [0]) * requests
        self.reads, self.writes = Work(), Work()
        # Requests of closed loops that are due later: for the dispatcher. None wakes it.
        self.timers: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self.pieces, self.piece_bytes = settings.pieces(plan.block_bytes)
        self.stopped = False
        self.complete = requests == 0
        self.failure: BaseException | None = None
        self._source, self._follower = _longs(order.source), _longs(order.follower)
        self._takes_place, self._needs = _longs(order.takes_place), _longs(order.needs)
        self._offered = bytearray(operations)
        self._parked: dict[int, list[int]] = {}
        self._lock = threading.Lock()
        self._first_op = _longs(plan.first_op)
        self._arrival = _longs(plan.arrival_ns)
        lengths = np.diff(plan.first_op)
        self.request_of = np.repeat(np.arange(requests), lengths)
        self._request_of = _longs(self.request_of)
        self.reads_in = np.bincount(self.request_of[plan.op == Op.READ], minlength=requests)
        self._reads_in = _longs(self.reads_in)
        self._rest_in = _longs(lengths - self.reads_in)
        self._arrived: list[itertools.count[int] | None] = [None] * requests
        self._rest_done: list[itertools.count[int] | None] = [None] * requests
        self._next = _longs(following_requests(plan.session))
        self._ended = itertools.count(1)
        # For showing progress: may be behind by a few.
        self.ended = 0
        self._unended = requests
        self._background = operations - int(self.reads_in.sum())

    def dispatch(self, request: int, due_ns: int) -> None:
        """Begin a request that is due, and whatever follows it at once."""
        if self._dispatch(request, due_ns):
            self._go_on(request, perf_counter_ns())

    def arrive(self, op: int, now_ns: int) -> None:
        """Note that a READ is over; its outcome is set."""
        if self._follower[op] >= 0:
            with self._lock:
                self._release(op, now_ns)
        request = self._request_of[op]
        # Counting on an iterator is atomic and costs a tenth of taking the lock.
        arrived = self._arrived[request]
        if (
            arrived is not None
            and next(arrived) == self._reads_in[request]
            and self._restored(request, now_ns)
        ):
            self._go_on(request, now_ns)

    def settle(self, op: int, outcome: int, now_ns: int) -> None:
        """Note what became of a WRITE or DELETE, and let go what waited for it."""
        with self._lock:
            self.outcome[op] = outcome
            self._release(op, now_ns)
            parked = self._parked.pop(op, ())
            self._background -= 1
        for read in parked:
            if outcome == DONE:
                self.reads.push(read * self.pieces)
            else:
                self.outcome[read] = LOST
                self.arrive(read, now_ns)
        request = self._request_of[op]
        done = self._rest_done[request]
        if done is not None and next(done) == self._rest_in[request]:
            self._end(request, now_ns)
            self._go_on(request, now_ns)
        if not self._background:
            self._wake_if_complete()

    def undone(self, op: int) -> bool:
        """Whether the WRITE that this READ or DELETE relies on was dropped."""
        source = self._source[op]
        return source >= 0 and self.outcome[source] == DROPPED

    def fail(self, error: BaseException) -> None:
        """Give the execution up; the first error is raised from it."""
        self.failure = self.failure or error
        self.timers.put(None)

    def stop(self, readers: int, writers: int) -> None:
        """Let every thread end after what it is doing; nothing new is begun."""
        self.stopped = True
        for work, threads in ((self.reads, readers), (self.writes, writers)):
            for _ in range(threads):
                work.push(END)

    def _dispatch(self, request: int, due_ns: int) -> bool:
        """Issue a request's reads; whether it has ended by that."""
        self.due_ns[request] = due_ns
        self.dispatched_ns[request] = now = perf_counter_ns()
        if self.stopped:
            return False
        operations = range(self._first_op[request], self._first_op[request + 1])
        kinds, outcome = self.op, self.outcome
        if self._rest_in[request]:
            for op in operations:
                if kinds[op]:
                    outcome[op] = PENDING
        if not self._reads_in[request]:
            return self._restored(request, now)
        self._arrived[request] = itertools.count(1)
        last = False
        for op in operations:
            if not kinds[op] and not self._issue(op, now):
                last = self._skip(op, request, now)
        return last and self._restored(request, now)

    def _issue(self, op: int, now_ns: int) -> bool:
        """Queue a READ, or park it until its block is written; False when there is nothing."""
        source = self._source[op]
        if source >= 0:
            with self._lock:
                written = self.outcome[source]
                if written == PENDING and self._is_near(source):
                    self.ready_ns[op] = now_ns
                    self._parked.setdefault(source, []).append(op)
                    return True
            if written != DONE:
                self.outcome[op] = LOST if written == DROPPED else EARLY
                return False
        self.reads.push(op * self.pieces)
        return True

    def _is_near(self, op: int) -> bool:
        """Whether a pending WRITE waits for nothing but what is under way.

        In a closed loop it may wait for the reads of a session that is thinking; a READ that
        waited for that would measure the thinking.
        """
        return self.plan.open_loop or not self._needs[op]

    def _skip(self, op: int, request: int, now_ns: int) -> bool:
        """Note that there is nothing to read; whether this was the request's last read."""
        if self._follower[op] >= 0:
            with self._lock:
                self._release(op, now_ns)
        arrived = self._arrived[request]
        return arrived is not None and next(arrived) == self._reads_in[request]

    def _restored(self, request: int, now_ns: int) -> bool:
        """Offer a request's writes and deletes to the writers; whether the request has ended."""
        self.restored_ns[request] = now_ns
        waits = self.settings.ends_with_writes and self._rest_in[request] > 0
        if self._rest_in[request]:
            if waits:
                self._rest_done[request] = itertools.count(1)
            kinds = self.op
            with self._lock:
                for op in range(self._first_op[request], self._first_op[request + 1]):
                    if kinds[op]:
                        self._offered[op] = 1
                        if not self._needs[op]:
                            self._ready(op, now_ns)
        if not waits:
            self._end(request, now_ns)
        return not waits

    def _end(self, request: int, now_ns: int) -> None:
        self.ended_ns[request] = now_ns
        self.ended = ended = next(self._ended)
        if ended == len(self.ended_ns):
            self._unended = 0
            self._wake_if_complete()

    def _wake_if_complete(self) -> None:
        if not self._unended and not self._background:
            self.complete = True
            self.timers.put(None)

    def _go_on(self, request: int, now_ns: int) -> None:
        """After a request has ended: begin the session's next one, as long as they end at once."""
        while not self.plan.open_loop and not self.stopped:
            request = self._next[request]
            if request < 0:
                return
            delay = self._arrival[request]
            if delay:
                self.timers.put((now_ns + delay, request))
                return
            if not self._dispatch(request, now_ns):
                return

    def _release(self, op: int, now_ns: int) -> None:
        """With the lock: let go the WRITE or DELETE that waited for this operation."""
        for following in (self._follower[op], self._takes_place[op]):
            if following >= 0:
                self._needs[following] -= 1
                if not self._needs[following] and self._offered[following]:
                    self._ready(following, now_ns)

    def _ready(self, op: int, now_ns: int) -> None:
        self.ready_ns[op] = now_ns
        self.writes.push(op)


def following_requests(session: NDArray[np.int32]) -> NDArray[np.int64]:
    """The next request of the same session, by request; -1 after the last.

    >>> following_requests(np.array([0, 1, 0, 0, 1])).tolist()
    [2, 4, 3, -1, -1]
    """
    following = np.full(len(session), -1, np.int64)
    by_session = np.argsort(session, kind="stable")
    same = session[by_session[1:]] == session[by_session[:-1]]
    following[by_session[:-1][same]] = by_session[1:][same]
    return following


def first_requests(session: NDArray[np.int32]) -> list[int]:
    """The first request of each session, in the order of requests."""
    _, first = np.unique(session, return_index=True)
    ordered: list[int] = np.sort(first).tolist()
    return ordered


def _longs(values: Iterable[int], code: str = "q") -> array[int]:
    """An array whose items are plain integers: numpy's cost three times as much to take."""
    kind = np.uint64 if code == "Q" else np.int64
    longs = array(code)
    longs.frombytes(np.ascontiguousarray(values, kind).tobytes())
    return longs
