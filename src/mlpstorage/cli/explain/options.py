"""The options of `mlpstorage explain`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Options of `explain`."""

    id: str = opt(
        "",
        "What a verdict or doctor names: a rule (3.3.2, T.3), a check (places.shared) or "
        "run.incomplete; by default, all of them are listed.",
        group=POSITIONAL,
    )
    json: bool = opt(False, "Print as JSON.")
