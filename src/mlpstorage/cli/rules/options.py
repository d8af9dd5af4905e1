"""The options of `mlpstorage rules …`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of `rules list`."""

    kind: str = opt("", "Only those of one benchmark, such as training; or trees.")
    phase: str = opt("", "Only those of one phase: plan, result, set or tree.")
    edition: str = opt("", "Only those of one round: 1.0, 2.0 or 3.0.")
    json: bool = opt(False, "Print as JSON.")


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Options of `rules explain`."""

    id: str = opt(
        MISSING,
        "The number of a rule, such as 3.3.2: verdicts and `rules list` name them.",
        group=POSITIONAL,
    )
    json: bool = opt(False, "Print as JSON.")
