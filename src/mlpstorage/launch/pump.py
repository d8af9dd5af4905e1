"""One loop that reads the output of many processes, and wakes for signals and time limits."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import InterruptedRunError, TimeLimitError
from mlpstorage.core.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

# How often the loop looks at the processes when nothing happens, and how often and how long after
# a stream has ended: a process closes its output some moments before it can be reaped.
TICK_SECONDS = 0.25
_ENDING_TICK_SECONDS = 0.005
_ENDING_SECONDS = 1.0
_GENTLE, _NOW = 1, 2
_LEFT = "left without waiting for the ranks to end"
_CHUNK_BYTES = 1 << 18


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into a level that rises while processes run.

    An exception out of a signal handler could strike between the start of a process and our note
    of it, and leave it behind; a flag cannot. A signal that is ignored (nohup) stays ignored.

        1  after the step: `gently` passes the wish on; where it cannot, this is level 2 at once
        2  now: InterruptedRunError out of `check`
        3  at once: the handler itself raises what `abandon` makes, for the loop may hang in ending

    Args:
        gently: Given the signal's name, asks the ranks to stop in order; whether it could.
        abandon: Makes the error that says what may be left behind.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(
        self,
        gently: Callable[[str], bool] = lambda _: False,
        abandon: Callable[[], InterruptedRunError] = lambda: InterruptedRunError(_LEFT),
    ) -> None:
        self._gently = gently
        self._abandon = abandon
        self.seen = ""
        self._level = 0
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self.wake_fd, self._sink = os.pipe()
        os.set_blocking(self._sink, False)
        os.set_blocking(self.wake_fd, False)
        if threading.current_thread() is threading.main_thread():
            for number in self._SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        os.close(self.wake_fd)
        os.close(self._sink)

    @property
    def abandoned(self) -> bool:
        """Whether level 3 was reached: nothing may be waited for any more."""
        return self._level > _NOW

    def check(self) -> None:
        """Act on a signal that has come.

        Raises:
            InterruptedRunError: the ranks must be ended now.
        """
        if not self._level:
            return
        if self._level == _GENTLE:
            if self._asked:
                return
            self._asked = True
            if self._gently(self.seen):
                return
            self._level = _NOW
        raise InterruptedRunError(f"the run was interrupted by {self.seen}")

    def awake(self) -> None:
        """Take the wake-up calls of signals out of `wake_fd`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, 64)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.seen = signal.Signals(number).name
        self._level += 1
        if self.abandoned:
            raise self._abandon()
        with contextlib.suppress(BlockingIOError):
            os.write(self._sink, b"!")


class Deadline:
    """A time limit that began when it was made; None never ends."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raise TimeLimitError if the time is over."""
        if self._seconds is not None and self.left() <= 0:
            raise TimeLimitError(
                f"the run was ended after its time limit of {format_seconds(self._seconds)}",
                fix="raise the time limit, or find out in ranks/*.log what the ranks waited for",
            )

    def left(self) -> float:
        """Seconds that are left; infinite without a limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()


class LineStream:
    """Lines from a pipe, handed on as they are completed."""

    def __init__(self, fd: int, on_line: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.is_open = True
        self._on_line = on_line
        self._parts: list[bytes] = []

    def read(self) -> bool:
        """Take what is there, at most one chunk; whether there may be more."""
        try:
            chunk = os.read(self.fd, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._parts.append(line)
            self._flush()
        self._parts.append(rest)
        if not chunk:
            self.is_open = False
            self._flush()
        return self.is_open

    def drain(self) -> None:
        """Take everything that is there now."""
        while self.is_open and self.read():
            pass

    def _flush(self) -> None:
        line = b"".join(self._parts)
        self._parts.clear()
        if line:
            self._on_line(line)


def pump(
    streams: Iterable[LineStream],
    finished: Callable[[bool], bool],
    *,
    interrupts: Interrupts,
    deadline: Deadline,
) -> None:
    """Read the streams until `finished` says so.

    `finished` is called on every turn; its argument is True shortly after a stream has ended, when
    it is time to look at the processes. It must be cheap otherwise.

    Raises:
        InterruptedRunError: a signal has come, and the ranks cannot or need not stop in order.
        TimeLimitError: the deadline has passed.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(interrupts.wake_fd, selectors.EVENT_READ)
        for stream in streams:
            selector.register(stream.fd, selectors.EVENT_READ, stream)
        ending_until = 0.0
        while not finished(ending := time.monotonic() < ending_until):
            interrupts.check()
            deadline.check()
            tick = _ENDING_TICK_SECONDS if ending else TICK_SECONDS
            for key, _ in selector.select(max(0.0, min(tick, deadline.left()))):
                if key.data is None:
                    interrupts.awake()  # what to do about it is checked above
                    continue
                key.data.read()
                if not key.data.is_open:
                    selector.unregister(key.fd)
                    ending_until = time.monotonic() + _ENDING_SECONDS
        interrupts.check()
