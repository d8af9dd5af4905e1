"""A directory of blocks that several ranks use: a read waits a little for another rank's write."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.files_layout import FilesLayout
from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpstorage.engine.kv.plan import KvPlan

# Within a rank a read waits for the write of its block; between ranks it asks until then.
PATIENCE_SECONDS = 0.5
_NAP_SECONDS = 0.001


class SharedFiles(FilesLayout):
    """`files`, where a block that another rank is about to write is waited for.

    A read that waited in vain finds nothing, and is counted as absent.
    """

    _awaited: frozenset[int] = frozenset()

    def expect(self, plan: KvPlan, there: npt.NDArray[np.uint64]) -> None:
        """Work out which blocks a plan reads that neither itself nor anybody before it wrote."""
        reads = np.unique(plan.block[plan.op == Op.READ])
        writes = plan.block[plan.op == Op.WRITE]
        foreign = np.setdiff1d(np.setdiff1d(reads, there), writes)
        self._awaited = frozenset(foreign.tolist())

    def open(self, place: int) -> tuple[int, int]:
        """Open the block's file for reading, if need be as soon as it is there."""
        if place not in self._awaited:
            return super().open(place)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                return super().open(place)
            time.sleep(_NAP_SECONDS)
        return super().open(place)
