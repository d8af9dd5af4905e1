"""Readers for visits of several byte ranges: the columns of a row group, or data and an index.

Such a visit is read range by range; its samples count when the last one is in. A reader keeps its
file open from visit to visit, as a framework keeps its handle. Where samples are to be decoded,
the ranges of a visit stay in memory until that is done, and its time is kept apart.
"""

from __future__ import annotations

import os
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.files import truncated, unreadable
from mlpstorage.engine.reading import Extent, Pool, filler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlpstorage.engine.epoch import EpochPlan

    Decode = Callable[[int, Sequence["Loaded"]], None]


# Distinct lengths of ranges that a reader keeps views for.
_MOST_VIEWS = 1 << 12


class Part(NamedTuple):
    """Byte ranges [begin, end) of one file, in the order of reading; never empty."""

    path: str
    ranges: Sequence[tuple[int, int]]


class Loaded(NamedTuple):
    """One range of a part with its bytes, which are valid until the decoder returns."""

    path: str
    begin: int
    data: memoryview


class PartsPool(Pool):
    """Reads visits of several byte ranges.

    Args:
        plan: See `Pool`, as for buffers, direct and ahead.
        parts_of: The parts of visit `i`, in the order of reading; called on a reader's thread
            just before it reads, and may look at a file's own index.
        decode: What is done with the bytes of visit `i`, on the same thread; nothing if None.
    """

    def __init__(
        self,
        plan: EpochPlan,
        parts_of: Callable[[int], Sequence[Part]],
        buffers: Sequence[memoryview],
        *,
        direct: bool,
        ahead: int,
        decode: Decode | None = None,
    ) -> None:
        super().__init__(plan, buffers, direct=direct, ahead=ahead)
        self._parts_of = parts_of
        self._decode = decode
        self._samples: list[int] = plan.samples.tolist()

    def _read(self, number: int, buffer: memoryview) -> None:
        file = _OpenFile(self._flags)
        try:
            if self._decode is None:
                self._load(number, file, buffer)
            else:
                self._load_and_decode(number, file, len(buffer), self._decode)
        finally:
            file.close()

    def _load(self, number: int, file: _OpenFile, buffer: memoryview) -> None:
        """Read every visit through the one buffer; its bytes are not kept.

        A row group of a wide table is dozens of ranges of some ten kilobytes, each read in a few
        microseconds: hence the local names, and a view of the buffer kept for every length.
        """
        fill = filler(buffer, self._alignment, self.batches)
        views: dict[int, list[memoryview]] = {}
        preadv, known = os.preadv, views.get
        for index in self._next:
            if index >= self._visits or not self._admit(index):
                return
            started = perf_counter_ns()
            count = 0
            for path, ranges in self._parts_of(index):
                extent = Extent(path, ranges[0][0], ranges[-1][1])
                try:
                    fd = file.of(path)
                    for begin, end in ranges:
                        length = end - begin
                        count += length
                        view = known(length) or self._view(views, buffer, length)
                        # What is not read at once is longer than the buffer, or ends too early.
                        if preadv(fd, view, begin) != length and not fill(fd, begin, end, extent):
                            return
                except OSError as error:
                    raise unreadable(path, error) from error
            self._count(number, index, perf_counter_ns() - started, count)
            self._arrive(index)

    def _view(
        self, views: dict[int, list[memoryview]], buffer: memoryview, length: int
    ) -> list[memoryview]:
        """A view of that length, or of nothing where a read of it must go through `filler`."""
        fits = length <= len(buffer) and length % self._alignment == 0
        if len(views) >= _MOST_VIEWS:
            views.clear()
        views[length] = [buffer[: length if fits else 0]]
        return views[length]

    def _load_and_decode(self, number: int, file: _OpenFile, step: int, decode: Decode) -> None:
        """Read every visit into memory that grows to the largest, then decode it."""
        memory = aligned_buffer(step)
        for index in self._next:
            if index >= self._visits or not self._admit(index):
                return
            started = perf_counter_ns()
            extents = list(_extents(self._parts_of(index)))
            count = sum(end - begin for _, begin, end in extents)
            needed = count + 2 * self._alignment * len(extents)
            if needed > len(memory):
                memory = aligned_buffer(needed)
            loaded = []
            free = memory
            for extent in extents:
                if self.batches.closed:
                    return
                data, free = self._gather(file, extent, free, step)
                loaded.append(Loaded(extent.path, extent.begin, data))
            self._count(number, index, perf_counter_ns() - started, count)
            started = perf_counter_ns()
            decode(index, loaded)
            self.decode_ns[number] += perf_counter_ns() - started
            self._arrive(index)

    def _gather(
        self, file: _OpenFile, extent: Extent, memory: memoryview, step: int
    ) -> tuple[memoryview, memoryview]:
        """Read an extent into memory, `step` bytes at a time; its bytes, and what is left free."""
        path, begin, end = extent
        start = begin - begin % self._alignment
        used = end - start + -(end - start) % self._alignment
        done = 0
        try:
            fd = file.of(path)
            while start + done < end:
                got = os.preadv(fd, [memory[done : min(done + step, used)]], start + done)
                if not got:
                    raise truncated(path, os.fstat(fd).st_size, end)
                done += got
        except OSError as error:
            raise unreadable(path, error) from error
        return memory[begin - start : end - start], memory[used:]

    def _admit(self, index: int) -> bool:
        if self.batches.ordered:
            return self.batches.admit(index)
        return self.batches.admit_samples(self._samples[index])

    def _arrive(self, index: int) -> None:
        if self.batches.ordered:
            self.batches.arrive_one(index)
        else:
            self.batches.arrive(self._samples[index])

    def _count(self, number: int, index: int, spent_ns: int, count: int) -> None:
        self.visit_ns[index] = spent_ns
        self.busy_ns[number] += spent_ns
        self.bytes_read[number] += count


def _extents(parts: Sequence[Part]) -> Iterator[Extent]:
    for path, ranges in parts:
        for begin, end in ranges:
            yield Extent(path, begin, end)


class _OpenFile:
    """The one file that a reader has open."""

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._path = ""
        self._fd = -1

    def of(self, path: str) -> int:
        """The descriptor of this file, opened if the last one was another."""
        if path != self._path:
            self.close()
            self._fd = os.open(path, self._flags)
            self._path = path
        return self._fd

    def close(self) -> None:
        """Close what is open, if anything."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._path = -1, ""
