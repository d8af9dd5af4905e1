"""The options of `mlpstorage engine …`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """Options of `engine install`."""

    engine: str = opt(MISSING, "The engine: dlio.", group=POSITIONAL)
    what_if: bool = opt(False, "Show the commands; install nothing.")
    json: bool = opt(False, "Print the result as JSON on standard output.")
    debug: bool = opt(False, "Show tracebacks of errors.")
