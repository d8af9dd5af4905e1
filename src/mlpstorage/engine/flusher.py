"""Makes finished files durable beside the thread that produces the next ones."""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True)
class WrittenFile:
    """A file whose bytes are all written: an open descriptor, its temporary and its final path.

    `companions` are made durable and get their names before it, in this order.
    """

    descriptor: int
    temporary: Path
    path: Path
    companions: tuple[WrittenFile, ...] = ()

    def discard(self) -> None:
        """Close and remove it and its companions, as nothing will come of them."""
        for file in (*self.companions, self):
            os.close(file.descriptor)
            file.temporary.unlink(missing_ok=True)


class Flusher:
    """A few threads that fsync, close and rename files, with a bounded queue before them.

    Several threads, because the journal commits of small files are then shared. The bound keeps the
    producer from filling memory with data that the storage has not taken yet.

    Args:
        threads: How many files are flushed at a time.
        queued: How many more may wait.
    """

    def __init__(self, threads: int, queued: int) -> None:
        self._queue: queue.Queue[WrittenFile | None] = queue.Queue(queued)
        self._failures: list[tuple[Path, OSError]] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self.stalled_seconds = 0.0

    @property
    def failure(self) -> tuple[Path, OSError] | None:
        """The first file that could not be made durable, and why."""
        return self._failures[0] if self._failures else None

    def submit(self, written: WrittenFile) -> None:
        """Hand over a file; waits while the queue is full and counts that as stalled."""
        start = time.perf_counter()
        self._queue.put(written)
        self.stalled_seconds += time.perf_counter() - start

    def __enter__(self) -> Flusher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until everything handed over is durable."""
        start = time.perf_counter()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self.stalled_seconds += time.perf_counter() - start

    def _run(self) -> None:
        while (written := self._queue.get()) is not None:
            try:
                _settle(written)
            except OSError as error:  # noqa: PERF203 (a file takes milliseconds)
                # Carried back: the producer asks after each file, and once more at the end.
                self._failures.append((written.path, error))


def _settle(written: WrittenFile) -> None:
    """Make one file durable under its final name, or remove it and raise OSError."""
    for number, companion in enumerate(written.companions):
        try:
            _settle(companion)
        except OSError:  # noqa: PERF203 (a companion takes milliseconds)
            replace(written, companions=written.companions[number + 1 :]).discard()
            raise
    try:
        try:
            os.fsync(written.descriptor)
            # A benchmark must not read back from memory what it has just generated.
            os.posix_fadvise(written.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(written.descriptor)
        written.temporary.rename(written.path)
    except OSError:
        written.temporary.unlink(missing_ok=True)
        raise
