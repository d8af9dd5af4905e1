"""What the user is told when a command ends by an exception, and its exit code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError, InterruptedRunError, MlpstorageError
from mlpstorage.report.show import complain

if TYPE_CHECKING:
    from collections.abc import Sequence


def report(error: BaseException, argv: Sequence[str]) -> int:
    """Print the error; its exit code. `--debug` adds the traceback."""
    debug = "--debug" in argv
    if debug:
        complain("".join(traceback.format_exception(error)))
    if isinstance(error, MlpstorageError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        complain("interrupted")
        return InterruptedRunError.exit_code
    known = BenchmarkError(
        f"this is a defect of mlpstorage: {type(error).__name__}: {error}",
        fix="report it with the output of the same command and --debug",
    )
    complain(str(known))
    return known.exit_code
