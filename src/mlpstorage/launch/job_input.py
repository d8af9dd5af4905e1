"""The standard input of an MPI launcher, which forwards it to rank 0: the job, then a wish."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class JobInput:
    """A pipe that stays open while the ranks run.

    Args:
        job: The line that rank 0 reads first. It may be longer than a pipe holds, so a thread
            writes it; the thread ends when all is read, or nobody is left to read.
    """

    def __init__(self, job: bytes) -> None:
        self._job = job
        self._source, self._sink = os.pipe()
        self._feeder = threading.Thread(target=self._write, name="job input", daemon=True)

    @contextmanager
    def source(self) -> Iterator[int]:
        """The end that the launcher inherits; closed here when the block ends."""
        try:
            yield self._source
        finally:
            os.close(self._source)

    def feed(self) -> None:
        """Begin to write the job."""
        self._feeder.start()

    def _write(self) -> None:
        view = memoryview(self._job)
        try:
            while view:
                view = view[os.write(self._sink, view) :]
        except BrokenPipeError:  # the launcher has ended, and is found so
            return

    def say(self, line: bytes) -> bool:
        """Write one more line; whether it could be."""
        if self._feeder.is_alive() or self._sink < 0:
            return False
        try:
            return os.write(self._sink, line) == len(line)
        except BrokenPipeError:
            return False

    def close(self) -> None:
        """End the input, when all has been read or the launcher has ended; twice is harmless."""
        if self._sink < 0:
            return
        if self._feeder.ident is not None:  # it was started, as the launcher was
            self._feeder.join()
        sink, self._sink = self._sink, -1
        os.close(sink)
