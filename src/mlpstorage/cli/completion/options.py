"""The options of `mlpstorage completion`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of `completion`."""

    shell: str = opt(MISSING, "bash, zsh or fish.", group="Arguments")
