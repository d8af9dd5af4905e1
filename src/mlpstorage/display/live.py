"""The live face: the state of the run at the bottom of the terminal, once a second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.text import Text

from mlpstorage.core import events
from mlpstorage.core.units import format_seconds
from mlpstorage.display.frame import frame
from mlpstorage.display.painter import Painter, terminal_console
from mlpstorage.display.scene import Scene
from mlpstorage.display.ticker import Ticker
from mlpstorage.display.words import final_text, said_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console

    from mlpstorage.display.tally import Tally


class LiveDisplay:
    """A frame that is drawn anew every second; what has ended, and warnings, scroll above it.

    Args:
        verbose: Whether details and the start of every rank are shown too.
        console: Where to draw; standard error by default.
        clock: Monotonic seconds.
        ticks: Whether a thread draws every second; without it somebody calls `tick`.
    """

    def __init__(
        self,
        *,
        verbose: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        ticks: bool = True,
    ) -> None:
        self._verbose = verbose
        self._console = console or terminal_console()
        self._painter = Painter(self._console)
        self._clock = clock
        self._scene = Scene()
        self._lock = threading.Lock()
        self._waiting: list[Text] = []
        self._ticker = Ticker(self.tick)
        self._ticks = ticks and self._painter.is_screen
        self._unicode = self._console.encoding.lower().startswith("utf")

    def __enter__(self) -> LiveDisplay:
        if self._ticks:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what has ended standing and give the terminal back."""
        self._ticker.stop()
        with self._lock:
            ended = [*self._ended_activity(), *self._ended_stage(self._clock())]
            self._painter.draw([], [*self._waiting, *ended])

    def show(self, event: events.Event) -> None:
        """Take note of an event; a new stage and what the user must know is drawn at once."""
        with self._lock:
            now, scene = self._clock(), self._scene
            above = self._above(event, now)
            scene.take(event, now)
            self._waiting += above
            # What an ended activity leaves can wait for the next tick: epochs may be short.
            if isinstance(event, events.Stage) or (
                above and not isinstance(event, events.Progress)
            ):
                self._draw(now)

    def tick(self) -> None:
        """Draw the frame of this second."""
        with self._lock:
            now = self._clock()
            self._scene.tick(now)
            self._draw(now)

    def _draw(self, now: float) -> None:
        width, height = self._painter.size()
        # The last column is left free: a full line would make some terminals wrap.
        lines = frame(
            self._scene, now, max(width - 1, 1), max(height - 1, 1), unicode=self._unicode
        )
        self._painter.draw(lines, self._waiting)
        self._waiting = []

    def _above(self, event: events.Event, now: float) -> list[Text]:
        """The lines that an event leaves on the screen for good."""
        if isinstance(event, events.Stage):
            return [*self._ended_activity(), *self._ended_stage(now)]
        if isinstance(event, events.Progress):
            scene = self._scene
            goes_on = scene.is_current(event) or scene.is_late(event)
            return [] if goes_on else self._ended_activity()
        said = said_of(event, verbose=self._verbose)
        return [Text(said, _style(event))] if said else []

    def _ended_stage(self, now: float) -> list[Text]:
        stage = self._scene.stage
        if stage is None:
            return []
        seconds = format_seconds(max(now - self._scene.stage_began, 0.0))
        mark = "✓" if self._unicode else "done:"
        return [Text.assemble((f"{mark} ", "green"), stage.name, (f"  {seconds}", "dim"))]

    def _ended_activity(self) -> list[Text]:
        tally: Tally | None = self._scene.tally
        if tally is None:
            return []
        told = ", ".join((tally.text(self._clock()), *map(final_text, self._scene.figures)))
        self._scene.tally = None
        return [Text(f"  {told}")]


def _style(event: events.Event) -> str:
    if isinstance(event, events.RankFailed):
        return "red"
    if isinstance(event, events.Interruption):
        return "bold yellow"
    if isinstance(event, events.Note) and event.level == "warning":
        return "yellow"
    return "bold" if isinstance(event, events.RunStarted) else ""
