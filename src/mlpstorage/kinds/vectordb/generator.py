"""What one rank does in `vectordb datagen`."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

# Read by the BLAS when numpy is imported, which happens below: ranks share the cores among them.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Make this rank's share of the vectors, then of the exact neighbours.

    What a user's wish to stop leaves out is made by the next generation.

    Raises:
        MlpstorageError: the storage refuses or is full, or a source is damaged.
    """
    if comm.size > 1:
        for name, value in ONE_THREAD.items():
            os.environ.setdefault(name, value)
    import msgspec

    from mlpstorage.engine.vectors.making import Making
    from mlpstorage.engine.vectors.manifest import VectorSpec

    reported = 0.0

    def report(activity: str, done: int, total: int, unit: str, moved: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= 1 or done == total:
            reported = now
            emit(Progress(comm.rank, activity, done, total, unit, moved))

    spec = msgspec.convert(argument["spec"], VectorSpec)
    making = Making(spec, Path(argument["folder"]), comm, report)
    if argument["finished"]:
        return {"finished": True}
    made = making.vectors()
    counted: dict[str, Any] = dataclasses.asdict(made)
    if not made.whole:
        return counted
    found = making.truth()
    if comm.rank == 0:
        counted["truth_blocks"] = found.blocks
        counted["truth_blocks_kept"] = found.kept
        counted["structure"] = msgspec.to_builtins(found.structure)
        counted["confirmed"] = found.confirmed
    return counted
