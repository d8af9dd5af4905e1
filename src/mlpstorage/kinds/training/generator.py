"""What one rank does in `training datagen`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.events import Progress
from mlpstorage.engine.dataset import SpecRecord
from mlpstorage.engine.generate import GeneratedShare, generate_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Generate this rank's share of the files; nothing where the data set is `complete`.

    Raises:
        MlpstorageError: the storage refuses or is full.
    """
    spec = msgspec.convert(argument["spec"], SpecRecord).spec()
    if argument["complete"]:
        kept = spec.file_bytes()[comm.rank :: comm.size]
        return asdict(GeneratedShare(0, len(kept), 0, int(kept.sum()), 0.0, 0.0))

    def progress(done: int, total: int, count: int) -> None:
        emit(Progress(comm.rank, "generating", done, total, "files", count))

    share = generate_share(
        spec,
        Path(argument["folder"]),
        comm.rank,
        comm.size,
        on_progress=progress,
        progress_seconds=1.0,
        wants_stop=comm.stopping.heard,
    )
    return asdict(share)
