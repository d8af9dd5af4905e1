"""The record that the size of a training data set was worked out, for submissions.

`training datasize` shows and stores nothing; a run works the same size out anew, and is judged by
it. A submission wants a record of its own, which is made from what the run recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import ConfigurationError, MlpstorageError
from mlpstorage.kinds.run_details import hosts_of
from mlpstorage.kinds.training.sizing import size_dataset, with_files
from mlpstorage.kinds.training.workload import Workload

if TYPE_CHECKING:
    from mlpstorage.store.runs import StoredRun


def datasize_record(run: StoredRun, files: int | None) -> dict[str, Any]:
    """The metadata document of `datasize` for a run that read so many files.

    Raises:
        ConfigurationError: the run's record does not say enough.
    """
    try:
        workload = msgspec.convert(run.parameters, Workload)
        hosts = hosts_of(run)
    except (msgspec.ValidationError, MlpstorageError) as error:
        raise ConfigurationError(
            f"{run.directory}: the size of its data set cannot be worked out: {error}",
            fix="restore the run's files, or leave its set out",
        ) from error
    memory, accelerators = sum(host.memory_bytes or 0 for host in hosts), run.ranks or 1
    least = size_dataset(workload, accelerators, memory)
    sizing = with_files(workload, accelerators, memory, files or least.files)
    return {
        "benchmark_type": "training",
        "model": workload.model,
        "command": "datasize",
        "accelerator": workload.accelerator,
        "parameters": {
            "dataset": {
                "num_files_train": sizing.files,
                "num_subfolders_train": sizing.subfolders,
                "total_disk_bytes": sizing.bytes,
            },
        },
        "args": {
            "model": workload.model,
            "accelerator_type": workload.accelerator,
            "max_accelerators": accelerators,
            "client_host_memory_in_gb": memory / (1 << 30) / max(1, len(hosts)),
            "data_dir": run.options.get("data_dir", ""),
        },
        "status": "complete",
        "worked_out_from": run.run_id,
        "least_files": least.files,
        "binds": least.binds,
    }
