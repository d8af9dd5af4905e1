"""What a failed rank is called: from its event or its exit code to the error that a user reads."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
    NotFoundError,
    TimeLimitError,
    UsageError,
)
from mlpstorage.core.events import RankFailed
from mlpstorage.launch.process import last_lines

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.errors import MlpstorageError

_CLASSES: dict[int, type[MlpstorageError]] = {
    cls.exit_code: cls
    for cls in (
        UsageError,
        NotFoundError,
        AccessError,
        ConfigurationError,
        BenchmarkError,
        TimeLimitError,
        InterruptedRunError,
    )
}
_TRACEBACK_LINES = 8


def error_of(event: RankFailed, log: Path | None = None) -> MlpstorageError:
    """The error of a failed rank, of the class that its exit code stands for.

    A rank that knew why it failed is quoted. Otherwise the reason is the end of its traceback, or
    of its log if it left none.

    >>> print(error_of(RankFailed(2, "h1", "disk full", why="no space", exit_code=4)))
    error: rank 2 on host h1: disk full
      why: no space
    """
    where = f" (log: {log})" if log is not None else ""
    if event.why:
        why = event.why + where
    elif event.traceback:
        why = _quote(f"it raised{where}", event.traceback.splitlines()[-_TRACEBACK_LINES:])
    else:
        why = quote_log(log) if log is not None else ""
    cls = _CLASSES.get(event.exit_code, BenchmarkError)
    return cls(f"rank {event.rank} on host {event.host}: {event.what}", why=why, fix=event.fix)


def died(rank: int, host: str, returncode: int) -> RankFailed:
    """The event of a rank that ended without saying why; negative codes are signals.

    Its code is not taken for one of ours: whoever ended it so may mean something else by it.

    >>> died(2, "h1", -9).what
    'killed by SIGKILL'
    >>> died(2, "h1", 3).what
    'exited with code 3'
    """
    if returncode < 0:
        name = signal_name(-returncode)
        hint = f"dmesg on {host} shows whether memory ran out" if name == "SIGKILL" else ""
        return RankFailed(rank, host, f"killed by {name}", fix=hint)
    if returncode == 0:
        return RankFailed(rank, host, "exited with code 0 but without a result")
    return RankFailed(rank, host, f"exited with code {returncode}")


def signal_name(number: int) -> str:
    """SIGKILL for 9; `signal 99` for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def quote_log(log: Path, count: int = _TRACEBACK_LINES) -> str:
    """The last lines of a log, under its name."""
    lines = last_lines(log, count)
    return _quote(f"last lines of {log}", lines) if lines else f"its log is empty: {log}"


def _quote(title: str, lines: list[str]) -> str:
    return "\n".join([f"{title}:", *(f"    {line}" for line in lines)])
