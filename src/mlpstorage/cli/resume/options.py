"""The options of `mlpstorage resume`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Options of `resume`."""

    id: str = opt(
        "",
        "Id of the set or run; by default the latest that was interrupted or killed.",
        group=POSITIONAL,
    )
    results_dir: str = opt("results", "Root of all results.", short="-rd")
    json: bool = opt(False, "Print the result as JSON on standard output.")
    quiet: bool = opt(False, "Show warnings and the result only.", short="-q")
    verbose: bool = opt(False, "Show more, such as the launched commands.", short="-v")
    debug: bool = opt(False, "Show everything, and tracebacks of errors.")
