"""The timed path: reader threads that fill their own buffers, and the batches that come of it.

A reader takes the index of the next file visit from a shared counter, opens the file, reads it
into its own buffer with `preadv`, and closes it. There is no future, no queue and no object per
sample; a batch is a count that reaches zero. Payload bytes are loaded, never inspected.
"""

from __future__ import annotations

import itertools
import os
import threading
from array import array
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

from mlpstorage.engine.files import DIRECT_ALIGNMENT, read_flags, truncated, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.engine.epoch import EpochPlan


class Extent(NamedTuple):
    """The bytes [begin, end) of one file."""

    path: str
    begin: int
    end: int


class Batches:
    """Counts samples into batches, and holds readers back when they are too far ahead.

    With one sample per file visit (`ordered`) a batch is ready when exactly its own samples are
    in, as a map-style loader delivers it. With many samples per visit, files are read in parallel
    and interleaved, as a record-stream loader does: a batch is ready when the next `batch` samples
    are in, from whichever file.

    `ahead` is how many whole batches, at least one, may be in the making or ready at a time. A
    single read that completes more samples than that passes when the next batch needs it.
    """

    def __init__(self, plan: EpochPlan, *, ahead: int) -> None:
        self.ordered = bool((plan.samples == 1).all())
        # The samples that may have been begun by now; -1 once the epoch is given up.
        self.limit = max(ahead, 1) * plan.batch
        self._batch = plan.batch
        self._left = array("q", [plan.batch]) * plan.steps
        self._in = [itertools.count(1) for _ in range(plan.steps if self.ordered else 0)]
        self._arrived = 0
        self._begun = 0
        self._needed = plan.batch
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self.failure: BaseException | None = None
        self.closed = False

    def admit(self, index: int) -> bool:
        """Wait for room for the sample of visit `index`; False when the epoch is given up.

        For `ordered` only. An index below `limit` needs not ask.
        """
        with self._lock:
            while not self.closed and index >= self.limit:
                self._room.wait()
        return not self.closed

    def admit_samples(self, samples: int) -> bool:
        """Wait for room for a read that completes `samples`; False when the epoch is given up.

        Whoever was admitted must count them in (`arrive`) before asking for more.
        """
        with self._lock:
            while not self.closed and not self._has_room(samples):
                self._room.wait()
            self._begun += samples
        return not self.closed

    def _has_room(self, samples: int) -> bool:
        """A read that completes none still begins one."""
        return self._begun < self._needed or self._begun + max(samples, 1) <= self.limit

    def arrive_one(self, index: int) -> None:
        """Count the sample of visit `index`, which is completely in memory; for `ordered`."""
        batch = index // self._batch
        # Counting on an iterator is atomic and costs a tenth of taking the lock.
        if next(self._in[batch]) == self._batch:
            with self._lock:
                self._left[batch] = 0
                self._ready.notify()

    def arrive(self, samples: int) -> None:
        """Count samples that are completely in memory, to the batches in their order."""
        with self._lock:
            while samples:
                batch = self._arrived // self._batch
                part = min(samples, self._left[batch])
                self._arrived += part
                samples -= part
                self._left[batch] -= part
                if not self._left[batch]:
                    self._ready.notify()

    def wait(self, step: int) -> None:
        """Block until the batch of a step is in, then let the readers go one batch further.

        Raises:
            BaseException: what a reader failed with.
        """
        with self._lock:
            while self._left[step] and self.failure is None:
                self._ready.wait()
            if self.failure is not None:
                raise self.failure
            if not self.closed:
                self.limit += self._batch
                self._needed += self._batch
                self._room.notify_all()

    def fail(self, error: BaseException) -> None:
        """Give the epoch up: the consumer raises the first `error`, the readers end."""
        with self._lock:
            self.failure = self.failure or error
            self._ready.notify_all()
        self.close()

    def close(self) -> None:
        """End the readers: those that wait for room, and the others before their next read."""
        with self._lock:
            self.closed = True
            self.limit = -1
            self._room.notify_all()


class Pool:
    """Reads the visits of one epoch with a thread per buffer; subclasses say how.

    `visit_ns` has one entry per visit, `busy_ns`, `decode_ns` and `bytes_read` one per reader:
    nanoseconds of opening, reading and closing, of decoding, and the bytes that visits asked for.

    Args:
        plan: Which visits there are, and how they make batches.
        buffers: One page-aligned buffer per reader; a buffer's length is the size of a read.
        direct: Whether files are opened with O_DIRECT.
        ahead: See `Batches`.
    """

    def __init__(
        self, plan: EpochPlan, buffers: Sequence[memoryview], *, direct: bool, ahead: int
    ) -> None:
        self.batches = Batches(plan, ahead=ahead)
        visits = len(plan.files)
        self.visit_ns = array("q", [0]) * visits
        self.busy_ns = array("q", [0]) * len(buffers)
        self.decode_ns = array("q", [0]) * len(buffers)
        self.bytes_read = array("q", [0]) * len(buffers)
        self._visits = visits
        self._flags = read_flags(direct=direct)
        self._alignment = DIRECT_ALIGNMENT if direct else 1
        self._next = itertools.count()
        self._threads = [
            threading.Thread(target=self._serve, args=(number, buffer), daemon=True)
            for number, buffer in enumerate(buffers)
        ]

    def __enter__(self) -> Pool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.batches.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int, buffer: memoryview) -> None:
        try:
            self._read(number, buffer)
        except BaseException as error:  # noqa: BLE001 (the consumer raises it, whatever it is)
            self.batches.fail(error)

    def _read(self, number: int, buffer: memoryview) -> None:
        """Take visits from `self._next` until there are no more, or the epoch is given up."""
        raise NotImplementedError


class ReaderPool(Pool):
    """Reads visits that are one extent of one file each.

    Args:
        plan: See `Pool`, as for buffers, direct and ahead.
        extent_of: The extent of visit `i`; called on a reader's thread just before it reads.
        samples_in: For a visit, the samples complete within the first n bytes of its extent; it
            never falls, and is all of the extent's samples from its last byte on.
    """

    def __init__(
        self,
        plan: EpochPlan,
        extent_of: Callable[[int], Extent],
        samples_in: Callable[[int, int], int],
        buffers: Sequence[memoryview],
        *,
        direct: bool,
        ahead: int,
    ) -> None:
        super().__init__(plan, buffers, direct=direct, ahead=ahead)
        self._extent_of = extent_of
        self._samples_in = samples_in

    def _read(self, number: int, buffer: memoryview) -> None:
        if self.batches.ordered:
            self._read_samples(number, buffer)
        else:
            self._read_streams(number, buffer)

    def _read_samples(self, number: int, buffer: memoryview) -> None:
        """Read visits of one sample each until there are no more, or the epoch is given up.

        A small cached file takes about ten microseconds, and what of it is done with the
        interpreter's lock held keeps the other readers waiting: hence the local names.
        """
        batches, visits, extent_of = self.batches, self._visits, self._extent_of
        flags, fill = self._flags, filler(buffer, self._alignment, self.batches)
        visit_ns, busy_ns, bytes_read = self.visit_ns, self.busy_ns, self.bytes_read
        open_, close, clock, arrive = os.open, os.close, perf_counter_ns, batches.arrive_one
        for index in self._next:
            if index >= visits or (index >= batches.limit and not batches.admit(index)):
                return
            extent = extent_of(index)
            path, begin, end = extent
            started = clock()
            try:
                fd = open_(path, flags)
                try:
                    whole = fill(fd, begin, end, extent)
                finally:
                    close(fd)
            except OSError as error:
                raise unreadable(path, error) from error
            if not whole:
                return
            visit_ns[index] = spent = clock() - started
            busy_ns[number] += spent
            bytes_read[number] += end - begin
            arrive(index)

    def _read_streams(self, number: int, buffer: memoryview) -> None:
        """Read visits of many samples each, counting the samples that every read completes."""
        fill = filler(buffer, self._alignment, self.batches)
        for index in self._next:
            if index >= self._visits:
                return
            extent = self._extent_of(index)
            started = perf_counter_ns()
            try:
                fd = os.open(extent.path, self._flags)
                try:
                    waited_ns = self._stream(fd, index, extent, fill, len(buffer))
                finally:
                    os.close(fd)
            except OSError as error:
                raise unreadable(extent.path, error) from error
            if waited_ns is None:
                return
            self.visit_ns[index] = spent = perf_counter_ns() - started - waited_ns
            self.busy_ns[number] += spent
            self.bytes_read[number] += extent.end - extent.begin

    def _stream(self, fd: int, index: int, extent: Extent, fill: _Fill, length: int) -> int | None:
        """Read an extent; the nanoseconds spent waiting for room, None when it was given up."""
        _, begin, end = extent
        batches, samples_in = self.batches, self._samples_in
        position = begin
        done = waited_ns = 0
        while position < end:
            stop = min(position - position % self._alignment + length, end)
            complete = samples_in(index, stop - begin)
            before = perf_counter_ns()
            if not batches.admit_samples(complete - done):
                return None
            waited_ns += perf_counter_ns() - before
            if not fill(fd, position, stop, extent):
                return None
            batches.arrive(complete - done)
            position, done = stop, complete
        return waited_ns


if TYPE_CHECKING:
    _Fill = Callable[[int, int, int, Extent], bool]


def filler(buffer: memoryview, alignment: int, batches: Batches) -> _Fill:
    """The function that reads the bytes [begin, end) of an extent's open file through a buffer.

    It returns False when the epoch was given up on the way, and raises BenchmarkError when the
    file ends too early. Its last view of the buffer is kept: files often have the same size.
    """
    length = len(buffer)
    whole = tail = [buffer]
    tail_bytes = length
    preadv = os.preadv

    def fill(fd: int, begin: int, end: int, extent: Extent) -> bool:
        nonlocal tail, tail_bytes
        while True:
            # A direct read asks for whole blocks, also again after a short one and at the tail.
            start = begin - begin % alignment
            wanted = end - start
            if wanted >= length:
                got = preadv(fd, whole, start)
            else:
                if wanted != tail_bytes:
                    tail, tail_bytes = [buffer[: wanted + -wanted % alignment]], wanted
                got = preadv(fd, tail, start)
            reached = start + got
            if reached >= end:
                return True
            if reached <= begin:
                raise truncated(extent.path, os.fstat(fd).st_size, extent.end)
            if batches.closed:
                return False
            begin = reached

    return fill
