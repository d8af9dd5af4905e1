"""The options of `mlpstorage history …`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of `history list`."""

    results_dir: str = opt("results", "Root of all results.", short="-rd")
    limit: int = opt(0, "Show only the last so many.", short="-n")
    json: bool = opt(False, "Print as JSON.")


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of `history show`."""

    id: str = opt(
        "",
        "Id of a run or set, or number of a run; the last run by default.",
        short="-i",
        group=POSITIONAL,
    )
    results_dir: str = opt("results", "Root of all results.", short="-rd")
    json: bool = opt(False, "Print as JSON.")


@dataclass(frozen=True, kw_only=True)
class RerunOptions(ShowOptions):
    """Options of `history rerun`: those of `show`."""
