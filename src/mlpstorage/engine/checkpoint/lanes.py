"""Blocks of files, handed to threads, a fixed number of which are in I/O at a time.

There are more threads and buffers than that: while some stamp or verify, others hold the I/O, so
what this program adds is not on the clock as long as it has a processor to run on.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mlpstorage.engine.checkpoint.stamps import StampedBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Shard:
    """A file of a checkpoint: its name there, its bytes (whole sectors), the word of its stamps."""

    name: str
    bytes: int
    ident: int


class Block(NamedTuple):
    """A part of a file that moves in one call; `file` is its number among the shards."""

    file: int
    offset: int
    length: int


class Blocks:
    """The blocks of several files in order, found by number without keeping them.

    >>> blocks = Blocks([10, 4, 8], 4)
    >>> len(blocks), blocks.of_file(0)
    (6, 3)
    >>> [tuple(blocks[number]) for number in (2, 3, 5)]
    [(0, 8, 2), (1, 0, 4), (2, 4, 4)]
    """

    def __init__(self, sizes: Sequence[int], block_bytes: int) -> None:
        self.sizes, self._block = sizes, block_bytes
        counts = [-(-size // block_bytes) for size in sizes]
        self._firsts = [0, *itertools.accumulate(counts)]

    def __len__(self) -> int:
        """How many there are."""
        return self._firsts[-1]

    def __getitem__(self, index: int) -> Block:
        """The block of that number."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = bisect_right(self._firsts, index) - 1
        offset = (index - self._firsts[file]) * self._block
        return Block(file, offset, min(self._block, self.sizes[file] - offset))

    def of_file(self, file: int) -> int:
        """How many blocks a file has."""
        return self._firsts[file + 1] - self._firsts[file]


class Buffers:
    """The memory of a rank for all its checkpoints.

    Args:
        depth: How many threads are in I/O at a time.
        block_bytes: The bytes of one call.
    """

    def __init__(self, depth: int, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        self.all = [StampedBuffer(block_bytes) for _ in range(buffers_for(depth))]


def buffers_for(depth: int) -> int:
    """How many threads, each with a buffer, keep `depth` in I/O.

    >>> buffers_for(1), buffers_for(4)
    (2, 6)
    """
    return depth + max(1, depth // 2)


class Lanes:
    """Threads with a buffer each that do all blocks of some files, `depth` in I/O at a time.

    `busy_seconds` is what the threads spent in I/O calls; `ended` is when the last of these ended.
    """

    def __init__(self, blocks: Blocks, buffers: Sequence[StampedBuffer], depth: int) -> None:
        self.blocks = blocks
        self.busy_seconds = 0.0
        self.ended = 0.0
        self.done_bytes = 0
        self._buffers = buffers
        self._slots = threading.Semaphore(depth)
        self._take = itertools.count()
        self._lock = threading.Lock()
        self._left = [blocks.of_file(file) for file in range(len(blocks.sizes))]
        self._failures: list[BaseException] = []

    def run(
        self,
        work: Callable[[Lanes, StampedBuffer, Block], None],
        watch: Callable[[int], None],
        watch_seconds: float = 1.0,
    ) -> None:
        """Do `work` for every block; the first exception of a thread is raised when all have ended.

        `watch` is called from this thread about every `watch_seconds` with the bytes done so far.
        """
        count = min(len(self._buffers), max(len(self.blocks), 1))
        threads = [
            threading.Thread(target=self._lane, args=(work, buffer), daemon=True)
            for buffer in self._buffers[:count]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(watch_seconds)
                if thread.is_alive():
                    watch(self.done_bytes)
        if self._failures:
            raise self._failures[0]

    def _lane(
        self, work: Callable[[Lanes, StampedBuffer, Block], None], buffer: StampedBuffer
    ) -> None:
        total = len(self.blocks)
        try:
            while not self._failures and (index := next(self._take)) < total:
                work(self, buffer, self.blocks[index])
        except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
            self._failures.append(error)

    def io(self, call: Callable[[], None], length: int = 0) -> float:
        """Do an I/O call when there is room for it; the seconds it took."""
        with self._slots:
            began = time.perf_counter()
            call()
            ended = time.perf_counter()
        with self._lock:
            self.busy_seconds += ended - began
            self.ended = max(self.ended, ended)
            self.done_bytes += length
        return ended - began

    def last_of_file(self, file: int) -> bool:
        """Count a block of a file as done; whether it was the last one."""
        with self._lock:
            self._left[file] -= 1
            return not self._left[file]
