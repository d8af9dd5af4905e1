"""The file of a run's samples: JSON lines, each on disk before the next is taken.

    {"kind":"head", …}     once: schema, interval, hosts, our clocks at the start, the columns
    {"kind":"meta", …}     a host has been reached: who it is, its boot, its clock
    {"kind":"layout", …}   the names behind the host's numbers from here on
    {"kind":"sample", …}   one sample of one host
    {"kind":"lost", …}     a host went away; written at once, for runs that never end
    {"kind":"gap", …}      the samples from_seq … to_seq of a host are missing, and why
    {"kind":"clock", …}    a host's clock at the end
    {"kind":"end", …}      the collector ended as it should

Times are nanoseconds. `*_mono_ns` is the collector's monotonic clock, which orders all hosts;
`*_wall_ns` its wall clock; `host_uptime_s` is the divisor for rates of that host.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = 1


class SeriesWriter:
    """An open series; a line is written whole or not at all.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, record: dict[str, Any]) -> None:
        """Hand one line to the operating system.

        Raises:
            OSError: it does not take it (the disk is full); the file ends as it did before.
        """
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        left = line
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def read_series(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a series with their offsets in bytes; a torn last line is left out.

    Raises:
        ConfigurationError: the file cannot be read, or a whole line is not a record.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield offset, _record(line, path, number)
                offset += len(line)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "kind" not in record:
        raise ConfigurationError(
            f"{path}:{number}: not a line of a time series",
            fix="restore the file from a copy; the run itself does not need it",
        )
    return record
