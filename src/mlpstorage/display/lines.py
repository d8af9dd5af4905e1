"""Plain lines for a redirected log: what changes at once, and where things are every 30 s."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from mlpstorage.core import events
from mlpstorage.core.units import format_seconds
from mlpstorage.display.scene import Scene
from mlpstorage.display.ticker import Ticker
from mlpstorage.display.words import figure_text, final_text, left_text, said_of, stage_took

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mlpstorage.core.events import Event
    from mlpstorage.display.tally import Tally

# The next tick may come a second later: no gap is longer than 30 s.
MOST_SECONDS_BETWEEN_LINES = 28.5


def local_time() -> str:
    """The moment as it stands before every line."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")


class LinesDisplay:
    """Writes lines with time stamps to a stream; an activity ends with a line of how far it got.

    Args:
        stream: Where to.
        verbose: Whether details and the start of every rank have lines too.
        ticks: Whether to write that something still goes on; not where nobody waits for it.
        stamp: Makes the time stamp.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        verbose: bool = False,
        ticks: bool = True,
        stamp: Callable[[], str] = local_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._stamp = stamp
        self._clock = clock
        self._scene = Scene()
        self._lock = threading.Lock()
        self._ticker = Ticker(self.tick) if ticks else None
        self._last = clock()

    def __enter__(self) -> LinesDisplay:
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write where the last activity ended, and how long the last stage took."""
        if self._ticker is not None:
            self._ticker.stop()
        with self._lock:
            self._finish_activity()
            stage, now = self._scene.stage, self._clock()
            if stage is not None:
                self._write(stage_took(stage.name, now - self._scene.stage_began))

    def show(self, event: Event) -> None:
        """Write a line when the event deserves one now."""
        with self._lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        now, scene = self._clock(), self._scene
        if isinstance(event, events.Stage):
            self._finish_activity()
            before = scene.stage
            took = f" ({stage_took(before.name, now - scene.stage_began)})" if before else ""
            self._write(f"[{event.number}/{event.of}] {event.name}{took}")
        elif isinstance(event, events.Progress):
            if not scene.is_current(event) and not scene.is_late(event):
                self._finish_activity()
        else:
            said = said_of(event, verbose=self._verbose)
            if said:
                self._write(said)
        scene.take(event, now)
        if self._ticker is None:
            self._tick(now)

    def tick(self) -> None:
        """Say where things are when it has been quiet for long."""
        with self._lock:
            self._tick(self._clock())

    def _tick(self, now: float) -> None:
        scene = self._scene
        scene.tick(now)
        if now - self._last < MOST_SECONDS_BETWEEN_LINES:
            return
        if scene.tally is not None:
            self._write(self._activity(scene.tally, now))
        elif scene.stage is not None:
            seconds = format_seconds(now - scene.stage_began)
            self._write(f"still {scene.stage.name}, {seconds}")

    def _activity(self, tally: Tally, now: float) -> str:
        scene = self._scene
        slowest = scene.slowest()
        parts = (
            tally.text(now),
            left_text(scene),
            *map(figure_text, scene.figures),
            f"slowest host {slowest}" if slowest else "",
        )
        return ", ".join(part for part in parts if part)

    def _finish_activity(self) -> None:
        tally = self._scene.tally
        if tally is not None:
            figures = map(final_text, self._scene.figures)
            self._write(", ".join((tally.text(self._clock()), *figures)))
            self._scene.tally = None

    def _write(self, text: str) -> None:
        self._last = self._clock()
        print(f"{self._stamp()} {text}", file=self._stream, flush=True)
