"""The worker processes that load data for a rank of DLIO with PyTorch's loader.

They are prepared like the rank, end with it, and are counted: what a rank reads is read by them.
"""

from __future__ import annotations

import contextlib
import copyreg
import ctypes
import functools
import importlib
import json
import os
import pickle
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.engine.dlio.usage import Usage

if TYPE_CHECKING:
    from mlpstorage.engine.dlio.prepare import Settings

_PR_SET_PDEATHSIG = 1


def install(settings: Settings) -> None:
    """Have DLIO's workers prepared, tied to their rank and counted."""
    dataset = importlib.import_module("dlio_benchmark.data_loader.torch_data_loader").TorchDataset
    original = dataset.worker_init

    @functools.wraps(original)
    def worker_init(self: Any, worker_id: int) -> Any:  # noqa: ANN401 - as the original
        # The rank starts workers from its main thread, which ends with the rank.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        result = original(self, worker_id)
        _note_first(Path(settings.scratch))
        return result

    dataset.worker_init = worker_init

    def reduce(instance: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a TorchDataset
        # As bytes, so that nothing of DLIO is imported before `revive` has prepared it.
        return revive, (settings, pickle.dumps(instance.__dict__))

    copyreg.pickle(dataset, reduce)


def revive(settings: Settings, state: bytes) -> Any:  # noqa: ANN401 - a TorchDataset
    """DLIO's data set in a spawned worker, with DLIO prepared there first."""
    from mlpstorage.engine.dlio.prepare import prepare

    prepare(settings)
    dataset = importlib.import_module("dlio_benchmark.data_loader.torch_data_loader").TorchDataset
    instance = dataset.__new__(dataset)
    instance.__dict__.update(pickle.loads(state))  # noqa: S301 - written by this rank itself
    return instance


def _note_first(scratch: Path) -> None:
    """Leave what this worker had used before its first sample: its imports are no data."""
    own = scratch / str(os.getpid())
    own.write_text(json.dumps(Usage.of(os.getpid()).as_list()), "ascii")


def usage_of_workers(scratch: Path) -> Usage:
    """What all workers of this rank together have used for data so far."""
    total = Usage()
    for note in (path for path in scratch.iterdir() if path.name.isdigit()):
        # One that is being written, or whose worker has ended, tells nothing.
        with contextlib.suppress(ValueError, OSError):
            first = Usage.from_list(json.loads(note.read_text("ascii")))
            total += Usage.of(int(note.name)) - first
    return total
