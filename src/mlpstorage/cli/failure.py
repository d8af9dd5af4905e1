"""What the user is told when a command ends by an exception, and its exit code."""

from __future__ import annotations

import contextlib
import errno
import traceback
from typing import TYPE_CHECKING

from mlpstorage.cli.values import printable
from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
    MlpstorageError,
)
from mlpstorage.report.show import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LINE_CHARS = 2000


def report(error: BaseException, argv: Sequence[str]) -> int:
    """Print the error; its exit code. `--debug` adds the traceback."""
    known = _known(error)
    text = "\n".join(_fitted(printable(line)) for line in str(known).split("\n"))
    # Where standard error itself cannot be written, the exit code is all that is left to say.
    with contextlib.suppress(OSError):
        if "--debug" in argv:
            complain("".join(traceback.format_exception(error)))
        complain(text)
    return known.exit_code


def _known(error: BaseException) -> MlpstorageError:
    """The error as one that says what, why and fix."""
    if isinstance(error, MlpstorageError):
        return error
    if isinstance(error, KeyboardInterrupt):
        by = f" by {error.args[0]}" if error.args else ""
        return InterruptedRunError(f"interrupted{by}")
    if isinstance(error, OSError):
        return _refused(error)
    if isinstance(error, MemoryError):
        return ConfigurationError(
            f"memory ran out: {error}" if str(error) else "memory ran out",
            fix="use smaller numbers, or a host with more memory",
        )
    return BenchmarkError(
        f"this is a defect of mlpstorage: {type(error).__name__}: {error}",
        fix="report it with the output of the same command and --debug",
    )


def _refused(error: OSError) -> MlpstorageError:
    """What the operating system refused, where nobody further down could say more about it."""
    kind = AccessError if error.errno in _DENIED else ConfigurationError
    where = f"{error.filename}: " if error.filename is not None else ""
    return kind(
        f"{where}{error.strerror or error}",
        why="the operating system refused it",
        fix="see whether the path is right; --debug shows what was being done",
    )


def _fitted(line: str) -> str:
    """The line without the middle of a value of thousands of characters."""
    half = _LINE_CHARS // 2
    return line if len(line) <= _LINE_CHARS else f"{line[:half]} ... {line[-half:]}"
