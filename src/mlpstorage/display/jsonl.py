"""The event stream for other programs: one JSON document a line."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

from mlpstorage import __version__
from mlpstorage.core.events import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mlpstorage.core.events import Event


def utc_now() -> str:
    """The moment in UTC, as journals write it."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class JsonDisplay:
    """Writes every event, with its UTC moment; the first line says which version follows.

    A consumer skips lines that do not begin with `{"type":`, and types and fields it does not know.
    """

    def __init__(
        self, stream: TextIO | None = None, *, moment: Callable[[], str] = utc_now
    ) -> None:
        self._stream = stream or sys.stderr
        self._moment = moment

    def __enter__(self) -> JsonDisplay:
        self._write({"type": "stream", "version": VERSION, "program": f"mlpstorage {__version__}"})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put in order."""

    def show(self, event: Event) -> None:
        """Write the event."""
        self._write(event.as_dict())

    def _write(self, record: dict[str, object]) -> None:
        kind = record.pop("type")
        line = {"type": kind, "time": self._moment(), **record}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)
