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
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

from mlpstorage.engine.files import DIRECT_ALIGNMENT, read_flags, truncated, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.engine.epoch import EpochPlan


@dataclass(frozen=True)
class Extent:
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

    `ahead` is how many whole batches, at least one, may be in the making or ready at a time.
    """

    def __init__(self, plan: EpochPlan, *, ahead: int) -> None:
        self.ordered = bool((plan.samples == 1).all())
        self._batch = plan.batch
        self._left = array("q", [plan.batch]) * plan.steps
        self._arrived = 0
        self._begun = 0
        self._limit = max(ahead, 1) * plan.batch
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self.failure: BaseException | None = None
        self.closed = False

    def admit(self, index: int, samples: int) -> bool:
        """Wait for room for `samples` of visit `index`; False when the epoch has been given up."""
        if self.ordered and index < self._limit:
            return not self.closed
        with self._lock:
            while not self.closed and (index if self.ordered else self._begun) >= self._limit:
                self._room.wait()
            self._begun += samples
        return not self.closed

    def arrive(self, index: int, samples: int) -> None:
        """Count samples that are completely in memory."""
        with self._lock:
            if self.ordered:
                self._count(index // self._batch, samples)
                return
            while samples:
                batch = self._arrived // self._batch
                part = min(samples, self._batch - self._arrived % self._batch)
                self._arrived += part
                samples -= part
                self._count(batch, part)

    def _count(self, batch: int, samples: int) -> None:
        self._left[batch] -= samples
        if not self._left[batch]:
            self._ready.notify()

    def wait(self, step: int) -> None:
        """Block until the batch of a step is in, then let the readers go one batch further.

        Raises:
            BaseException: what a reader failed with.
        """
        if self._left[step] or self.failure:
            with self._lock:
                while self._left[step] and self.failure is None:
                    self._ready.wait()
        if self.failure is not None:
            raise self.failure
        with self._lock:
            self._limit += self._batch
            self._room.notify_all()

    def fail(self, error: BaseException) -> None:
        """Give the epoch up: the consumer raises `error`, the readers end."""
        with self._lock:
            self.failure = self.failure or error
            self.closed = True
            self._ready.notify_all()
            self._room.notify_all()

    def close(self) -> None:
        """End the readers that wait for room."""
        with self._lock:
            self.closed = True
            self._room.notify_all()


class ReaderPool:
    """Reads the extents of one epoch with a thread per buffer.

    Args:
        plan: Which visits there are, and how they make batches.
        extent_of: The extent of visit `i`; called on a reader's thread just before it reads.
        samples_in: For a visit, the samples complete within the first n bytes of its extent; it
            never falls, and is all of the extent's samples from its last byte on.
        buffers: One page-aligned buffer per reader; a buffer's length is the size of a read.
        direct: Whether files are opened with O_DIRECT.
        ahead: See `Batches`.
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
        self.batches = Batches(plan, ahead=ahead)
        visits = len(plan.files)
        self.visit_ns = array("q", [0]) * visits
        self.busy_ns = array("q", [0]) * len(buffers)
        self.bytes_read = array("q", [0]) * len(buffers)
        self._visits = visits
        self._extent_of = extent_of
        self._samples_in = samples_in
        self._flags = read_flags(direct=direct)
        self._alignment = DIRECT_ALIGNMENT if direct else 1
        self._next = itertools.count()
        self._threads = [
            threading.Thread(target=self._serve, args=(number, buffer), daemon=True)
            for number, buffer in enumerate(buffers)
        ]

    def __enter__(self) -> ReaderPool:  # noqa: PYI034 (typing.Self needs Python 3.11)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.batches.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int, buffer: memoryview) -> None:
        try:
            if self.batches.ordered:
                self._read_samples(number, buffer)
            else:
                self._read_streams(number, buffer)
        except BaseException as error:  # noqa: BLE001 (the consumer raises it, whatever it is)
            self.batches.fail(error)

    def _read_samples(self, number: int, buffer: memoryview) -> None:
        """Read visits of one sample each until there are no more, or the epoch is given up.

        Small files pass here at more than 100,000 per second and core: names are local, and
        nothing is called that is not needed.
        """
        batches, visits, extent_of = self.batches, self._visits, self._extent_of
        visit_ns, bytes_read, busy_ns = self.visit_ns, self.bytes_read, self.busy_ns
        flags, alignment, clock = self._flags, self._alignment, perf_counter_ns
        open_, preadv, close, arrive = os.open, os.preadv, os.close, batches.arrive_one
        length, whole = len(buffer), [buffer]
        tail, tail_bytes = whole, length
        busy = total = 0
        for index in self._next:
            if index >= visits or (index >= batches.limit and not batches.admit(index, 1)):
                return
            path, begin, end = extent_of(index)
            started = clock()
            try:
                fd = open_(path, flags)
                try:
                    reached = begin
                    while reached < end:
                        start = reached - reached % alignment
                        wanted = end - start
                        if wanted >= length:
                            got = preadv(fd, whole, start)
                        else:
                            if wanted != tail_bytes:
                                # A direct read asks for whole blocks and gets what is left.
                                tail, tail_bytes = [buffer[: wanted + -wanted % alignment]], wanted
                            got = preadv(fd, tail, start)
                        if start + got <= reached:
                            raise truncated(path, os.fstat(fd).st_size, end)
                        reached = start + got
                finally:
                    close(fd)
            except OSError as error:
                raise unreadable(path, error) from error
            spent = clock() - started
            busy += spent
            total += end - begin
            visit_ns[index], busy_ns[number], bytes_read[number] = spent, busy, total
            arrive(index)
