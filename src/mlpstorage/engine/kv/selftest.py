"""Layouts that go wrong on purpose, over a real one: they show that the executor would tell.

PacedLayout        a device of known speed: the search must find the load it can bear
StallingLayout     one read takes long: open-loop latencies must show who waited for it
FlippingLayout     a bit of a stored block changes: verification must name file and offset
TruncatingLayout   a stored block ends early: likewise
LyingLayout        reads that return without reading: verification and kernel counters must tell
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.engine.kv.layouts import Layout, Places
    from mlpstorage.engine.kv.plan import KvPlan


class Wrapped:
    """A layout that leaves everything to another one.

    Args:
        inner: The real layout.
    """

    def __init__(self, inner: Layout) -> None:
        self.inner = inner
        self.name: str = inner.name
        self.root: Path = inner.root
        self.block_bytes: int = inner.block_bytes
        self.direct: bool = inner.direct

    def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """See `Layout`, as for all others."""
        return self.inner.read(descriptor, views, offset)

    def write(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """As the inner layout does."""
        return self.inner.write(descriptor, views, offset)

    def assign(self, plan: KvPlan, resident: NDArray[np.uint64]) -> Places:
        """As the inner layout does."""
        return self.inner.assign(plan, resident)

    def open(self, place: int) -> tuple[int, int]:
        """As the inner layout does."""
        return self.inner.open(place)

    def close(self, descriptor: int) -> None:
        """As the inner layout does."""
        self.inner.close(descriptor)

    def create(self, place: int) -> tuple[int, int]:
        """As the inner layout does."""
        return self.inner.create(place)

    def commit(self, descriptor: int, place: int) -> None:
        """As the inner layout does."""
        self.inner.commit(descriptor, place)

    def discard(self, descriptor: int, place: int) -> None:
        """As the inner layout does."""
        self.inner.discard(descriptor, place)

    def delete(self, place: int) -> None:
        """As the inner layout does."""
        self.inner.delete(place)

    def path_of(self, place: int) -> str:
        """As the inner layout does."""
        return self.inner.path_of(place)

    def offset_of(self, place: int) -> int:
        """As the inner layout does."""
        return self.inner.offset_of(place)

    def blocks(self) -> NDArray[np.uint64] | None:
        """As the inner layout does."""
        return self.inner.blocks()

    def sync(self) -> None:
        """As the inner layout does."""
        self.inner.sync()

    def shut(self) -> None:
        """As the inner layout does."""
        self.inner.shut()

    def remove(self) -> None:
        """As the inner layout does."""
        self.inner.remove()


class PacedLayout(Wrapped):
    """A device that reads one piece at a time and takes the same time for each.

    It keeps its own account of when it is free, so that a sleep that is late delays one read and
    not all that follow: its rate is exact in the long run.

    Args:
        inner: The real layout, which must be faster.
        seconds: The time that a read takes.
    """

    def __init__(self, inner: Layout, seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds
        self._free = 0.0
        self._lock = threading.Lock()

    def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Read, and return when the device would have."""
        with self._lock:
            self._free = done = max(time.perf_counter(), self._free) + self._seconds
        got = self.inner.read(descriptor, views, offset)
        time.sleep(max(0.0, done - time.perf_counter()))
        return got


class _EveryNth(Wrapped):
    """Goes wrong at every nth call that counts.

    Args:
        inner: The real layout.
        every: Every how many; the first time at the `every`th.
    """

    def __init__(self, inner: Layout, every: int) -> None:
        super().__init__(inner)
        self._every = every
        self._calls = 0
        self._lock = threading.Lock()

    def _turn(self) -> bool:
        """Whether this call goes wrong."""
        with self._lock:
            self._calls += 1
            return self._calls % self._every == 0


class StallingLayout(_EveryNth):
    """Every nth read takes longer by some seconds.

    Args:
        inner: The real layout.
        every: n.
        seconds: How much longer.
    """

    def __init__(self, inner: Layout, every: int, seconds: float) -> None:
        super().__init__(inner, every)
        self._seconds = seconds

    def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Read, perhaps after a stall."""
        if self._turn():
            time.sleep(self._seconds)
        return self.inner.read(descriptor, views, offset)


class FlippingLayout(_EveryNth):
    """A bit of every nth block is flipped on storage once the block is there.

    Args:
        inner: The real layout.
        every: n.
        at: The byte within the block.
    """

    def __init__(self, inner: Layout, every: int, at: int) -> None:
        super().__init__(inner, every)
        self._at = at

    def commit(self, descriptor: int, place: int) -> None:
        """Commit, then damage the file behind the layout's back."""
        self.inner.commit(descriptor, place)
        if not self._turn():
            return
        other = os.open(self.path_of(place), os.O_RDWR | os.O_CLOEXEC)
        try:
            where = self.offset_of(place) + self._at
            (byte,) = os.pread(other, 1, where)
            os.pwrite(other, bytes([byte ^ 1]), where)
            os.fdatasync(other)
        finally:
            os.close(other)


class TruncatingLayout(_EveryNth):
    """Every nth block ends early once it is there; for the layout `files`.

    Args:
        inner: The real layout.
        every: n.
        length: The bytes that are left.
    """

    def __init__(self, inner: Layout, every: int, length: int) -> None:
        super().__init__(inner, every)
        self._length = length

    def commit(self, descriptor: int, place: int) -> None:
        """Commit, then cut the file."""
        self.inner.commit(descriptor, place)
        if self._turn():
            os.truncate(self.path_of(place), self._length)


class LyingLayout(_EveryNth):
    """Every nth read claims to have read, and has not.

    Args:
        inner: The real layout.
        every: n.
    """

    def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Read, or only say so."""
        if self._turn():
            return sum(len(view) for view in views)
        return self.inner.read(descriptor, views, offset)
