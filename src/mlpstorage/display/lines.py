"""Plain lines for a redirected log: stages and notes at once, progress every few seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from mlpstorage.core.events import Note, Progress, RankFailed, RankStarted, Stage
from mlpstorage.display.tally import Tally

if TYPE_CHECKING:
    from types import TracebackType

    from mlpstorage.core.events import Event

SECONDS_BETWEEN_LINES = 10.0


class LinesDisplay:
    """Writes lines to a stream; each activity ends with a line that says how far it got.

    With `verbose`, details and the start of every rank have lines too.
    """

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._tally: Tally | None = None
        self._last = 0.0

    def __enter__(self) -> LinesDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write where the last activity ended."""
        self._finish()

    def show(self, event: Event) -> None:
        """Write a line when the event deserves one now."""
        if isinstance(event, Stage):
            self._finish()
            self._write(f"[{event.number}/{event.of}] {event.name}")
        elif isinstance(event, Note):
            if event.level != "detail" or self._verbose:
                self._write(f"{'warning: ' if event.level == 'warning' else ''}{event.text}")
        elif isinstance(event, RankStarted):
            if self._verbose:
                self._write(f"rank {event.rank} runs on {event.host}, process {event.pid}")
        elif isinstance(event, RankFailed):
            self._write(f"rank {event.rank} on {event.host} failed: {event.what}")
        elif isinstance(event, Progress):
            self._progress(event)

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        if self._tally is None or self._tally.activity != event.activity:
            self._finish()
            self._tally = Tally(event.activity, now)
            self._last = now
        self._tally.add(event)
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._write(self._tally.text(now))

    def _finish(self) -> None:
        if self._tally is not None:
            self._write(self._tally.text(time.monotonic()))
            self._tally = None

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
