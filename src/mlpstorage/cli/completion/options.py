"""The options of `mlpstorage completion`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of `completion`."""

    shell: str = opt("", "bash, zsh or fish.", group=POSITIONAL)
