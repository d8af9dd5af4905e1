"""A thread that says every second how long something has taken, while it cannot say so itself."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticking:
    """Calls `tick` with the whole seconds that have passed, once a second within the block.

    Args:
        tick: What is called, on the thread.
        on: Whether to tick at all.
    """

    def __init__(self, tick: Callable[[int], None], *, on: bool = True) -> None:
        self._tick = tick
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True) if on else None

    def _run(self) -> None:
        began = time.monotonic()
        while not self._end.wait(1.0):
            self._tick(round(time.monotonic() - began))

    def __enter__(self) -> Ticking:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
