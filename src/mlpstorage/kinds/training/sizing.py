"""The one place where the size of a training data set is worked out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpstorage.kinds.training.workload import Workload

MIN_STEPS = 500
MEMORY_FACTOR = 5
FILES_PER_FOLDER = 10_000
_TRIAL_BYTES = 12 << 30
_TRIAL_EPOCH_SECONDS = 10


@dataclass(frozen=True)
class Sizing:
    """The least data set that a valid run needs, and why.

    `by_steps` and `by_memory` are the two lower bounds in samples; `files` follows from the larger.
    """

    by_steps: int
    by_memory: int
    samples: int
    files: int
    subfolders: int
    bytes: int

    @property
    def binds(self) -> str:
        """Which bound decides: `steps` or `memory`."""
        return "memory" if self.by_memory > self.by_steps else "steps"


def size_dataset(workload: Workload, accelerators: int, client_memory_bytes: int) -> Sizing:
    """The least valid data set: samples ≥ max(500 · batch · accelerators, 5 · memory / record).

    Args:
        workload: The figures of the model.
        accelerators: Emulated accelerators over all hosts.
        client_memory_bytes: Memory of all client hosts together.

    Source: MLPerf Storage training rules, 3.1.2; both bounds round up.

    >>> from mlpstorage.kinds.training.workload import resolve_workload
    >>> unet3d = resolve_workload("unet3d", "h100").workload
    >>> sizing = size_dataset(unet3d, 16, 2 * 128 * 2**30)
    >>> sizing.by_memory, sizing.by_steps, sizing.files, sizing.binds
    (9376, 56000, 56000, 'steps')
    """
    record = workload.dataset.record_length_bytes
    by_steps = MIN_STEPS * workload.reader.batch_size * accelerators
    by_memory = math.ceil(MEMORY_FACTOR * client_memory_bytes / record)
    files = math.ceil(max(by_steps, by_memory) / workload.dataset.num_samples_per_file)
    return with_files(workload, accelerators, client_memory_bytes, files)


def with_files(
    workload: Workload, accelerators: int, client_memory_bytes: int, files: int
) -> Sizing:
    """The sizing of a data set with a given number of files, beside the bounds it should meet."""
    record = workload.dataset.record_length_bytes
    samples = files * workload.dataset.num_samples_per_file
    asked = workload.dataset.num_subfolders_train
    return Sizing(
        by_steps=MIN_STEPS * workload.reader.batch_size * accelerators,
        by_memory=math.ceil(MEMORY_FACTOR * client_memory_bytes / record),
        samples=samples,
        files=files,
        subfolders=advised_subfolders(files) if asked is None else asked,
        bytes=round(samples * record),
    )


def advised_subfolders(files: int) -> int:
    """Subfolders so that no folder holds more than 10,000 files; 0 for none.

    >>> advised_subfolders(3500), advised_subfolders(56_000)
    (0, 6)
    """
    return 0 if files <= FILES_PER_FOLDER else math.ceil(files / FILES_PER_FOLDER)


def trial_files(workload: Workload, accelerators: int, free_bytes: int) -> int:
    """Files of a trial: about 12 GiB, a quarter of the disk, or ten seconds of compute per epoch.

    Whichever is least, but at least five steps per accelerator where half the disk holds them. With
    fewer than about a dozen steps, what the loader prefetches in the first one, which does not
    count, flatters the others. Returns 0 when not even two steps per accelerator fit.
    """
    batch = workload.reader.batch_size * accelerators
    per_file = workload.dataset.num_samples_per_file
    record = workload.dataset.record_length_bytes
    budget = min(_TRIAL_BYTES, free_bytes // 4)
    steps = max(5, int(budget / (record * batch)))
    if steps * batch * record > free_bytes // 2:
        steps = int(free_bytes // 2 / (record * batch))
    seconds = max(workload.train.computation_time, 1e-3)
    steps = min(steps, max(5, round(_TRIAL_EPOCH_SECONDS / seconds)))
    return math.ceil(steps * batch / per_file) if steps > 1 else 0


def needed_bytes_per_second(workload: Workload) -> float:
    """What one accelerator asks of storage at full utilisation, in bytes per second."""
    if workload.train.computation_time <= 0:
        return math.inf
    rate = workload.reader.batch_size / workload.train.computation_time
    return rate * workload.read_bytes
