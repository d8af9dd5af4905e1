"""The journal of a run: everything that happened, one line each, on disk as soon as it happened."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.events import event_from_dict
from mlpstorage.store.codec import decode, encode, refusal, utc_moment, utc_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from mlpstorage.core.events import Event

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class JournalEntry:
    """An event and its moment (UTC)."""

    time: datetime
    event: Event


class Journal:
    """An open journal; every `append` is handed to the operating system before it returns.

    Args:
        path: The file; it is made when missing, and continued (after its last whole line) if not.
        clock: Gives the moment of each event, as an aware datetime.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o666)
            _cut_torn_line(self._descriptor)
        except OSError as error:
            raise refusal(f"cannot open {path}", error) from error

    def append(self, event: Event) -> None:
        """Write one event as one line."""
        line = encode({"time": utc_text(self._clock()), **event.as_dict()}) + b"\n"
        try:
            while line:  # one write for a line, unless the file system takes it in parts
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise refusal(f"cannot write {self._path}", error) from error

    def close(self) -> None:
        """Bring the journal to the disk and close it; closing twice is harmless."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise refusal(f"cannot write {self._path}", error) from error
        finally:
            os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _cut_torn_line(descriptor: int) -> None:
    """Shorten the file to its last whole line, so that the next line does not continue a half."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    os.ftruncate(descriptor, end)


def read_journal(path: Path) -> Iterator[JournalEntry]:
    """The events of a journal in order; a last line without its end (a crash) is left out.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be read, or a whole line is
            not an event's; the message names the line.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield _entry(line, f"{path}:{number}")
    except OSError as error:
        raise refusal(f"cannot read {path}", error) from error


def _entry(line: bytes, place: str) -> JournalEntry:
    try:
        record: dict[str, Any] = dict(decode(line))
        return JournalEntry(utc_moment(str(record.pop("time"))), event_from_dict(record))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ConfigurationError(
            f"{place}: not a line of a journal: {problem}",
            why="a run is judged by its journal, so none of it may be guessed",
            fix="restore the file from a copy, or repeat the run",
        ) from error
