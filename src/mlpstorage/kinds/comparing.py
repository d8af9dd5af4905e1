"""What the kinds of benchmark give a comparison: their figures, and what tunes without changing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpstorage.core.measures import Measure


@dataclass(frozen=True)
class Comparer:
    """A kind's part in comparisons.

    `kind` is the name in records. `tuning` are dotted names of parameters, or of sections of them,
    that may differ between two runs of one workload.
    """

    kind: str
    measures_of: Callable[[Mapping[str, Any]], tuple[Measure, ...]]
    tuning: tuple[str, ...]

    def is_tuning(self, name: str) -> bool:
        """Whether a parameter tunes the client or the engine, and leaves the workload as it is."""
        return any(name == one or name.startswith(f"{one}.") for one in self.tuning)


@lru_cache(maxsize=1)
def _comparers() -> tuple[Comparer, ...]:
    homes = [importlib.import_module(f"mlpstorage.kinds.{kind.name}.measures") for kind in KINDS]
    return tuple(Comparer(home.KIND, home.measures_of, home.TUNING) for home in homes)


def comparer_of(kind: str) -> Comparer | None:
    """The comparer of a kind by the name in its records, None for an unknown one."""
    return next((one for one in _comparers() if one.kind == kind), None)
