"""A thread that calls a face once a second, so that time passes where no event comes."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticker:
    """Calls `tick` every second until `stop`, or until it raises OSError: nobody looks any more.

    The thread takes no signals: one that the main thread holds back must not be delivered here.
    """

    def __init__(self, tick: Callable[[], None], *, seconds: float = 1.0) -> None:
        self._tick = tick
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()  # inherits the mask
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """End the thread, after the tick that it may be in."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        # Where the stream is gone, the main thread finds it too when it next shows something.
        with contextlib.suppress(OSError):
            while not self._over.wait(self._seconds):
                self._tick()
