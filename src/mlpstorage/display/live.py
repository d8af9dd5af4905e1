"""One line that is redrawn once a second, on a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mlpstorage.core import events
from mlpstorage.display.tally import Tally

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import TaskID


class LiveDisplay:
    """A bar for the current activity; stages and notes scroll above it."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._console = Console(stderr=True, highlight=False)
        # A frame costs 5 to 9 ms of CPU: once a second is enough, and never from a thread.
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._tally: Tally | None = None
        self._task: TaskID | None = None
        self._drawn = 0.0

    def __enter__(self) -> LiveDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last activity's line standing and give the terminal back."""
        self._finish()
        self._bar.stop()

    def show(self, event: events.Event) -> None:
        """Draw when a second has passed, print what should stay."""
        if isinstance(event, events.Stage):
            self._finish()
            self._console.print(f"[bold]\\[{event.number}/{event.of}][/bold] {event.name}")
        elif isinstance(event, events.Note):
            if event.level == "detail" and not self._verbose:
                return
            style = "yellow" if event.level == "warning" else ""
            self._console.print(event.text, style=style, markup=False)
        elif isinstance(event, events.RankStarted):
            if self._verbose:
                self._console.print(f"rank {event.rank} runs on {event.host}, process {event.pid}")
        elif isinstance(event, events.RankFailed):
            text = f"rank {event.rank} on {event.host} failed: {event.what}"
            self._console.print(text, style="red", markup=False)
        elif isinstance(event, events.Progress):
            self._progress(event)

    def _progress(self, event: events.Progress) -> None:
        now = time.monotonic()
        if self._tally is None or self._tally.activity != event.activity:
            self._finish()
            self._tally = Tally(event.activity, now)
            self._task = self._bar.add_task(event.activity, total=1.0)
        self._tally.add(event)
        if now - self._drawn >= 1.0 and self._task is not None:
            self._drawn = now
            share = self._tally.done / max(self._tally.total, 1)
            self._bar.update(self._task, completed=share, description=self._tally.text(now))
            self._bar.refresh()

    def _finish(self) -> None:
        if self._tally is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._console.print(f"  {self._tally.text(time.monotonic())}", markup=False)
        self._tally = self._task = None
