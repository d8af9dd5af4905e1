"""A workload in the words of DLIO: the file that its configuration is read from.

Both generations of its names are written, since it silently ignores the one it does not know:
`record_length` of 2.0.0 and `record_length_bytes` of later trees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.dataset import DatasetSpec
    from mlpstorage.kinds.training.workload import Workload

# DLIO makes a buffer of this size for every HDF5 file that it generates; its default is 2 GiB.
_GENERATION_BUFFER_BYTES = 64 << 20


def document_of(
    workload: Workload,
    spec: DatasetSpec,
    folder: Path,
    *,
    files: int,
    seed: int,
    start_method: str,
    generate: bool = False,
) -> dict[str, Any]:
    """The workload file of DLIO for a run on a data set, or for generating it.

    Args:
        workload: The figures.
        spec: The data set that is there, or will be.
        folder: Where it is.
        files: How many of its files are used.
        seed: Of shuffling.
        start_method: How PyTorch's loader starts its workers: fork or spawn.
        generate: Whether to generate only.
    """
    return {
        "model": workload.model,
        "framework": workload.reader.data_loader,
        "workflow": {
            "generate_data": generate,
            "train": not generate,
            "evaluation": False,
            "checkpoint": False,
            "profiling": False,
        },
        "dataset": _dataset(workload, spec, folder, files),
        "reader": _reader(workload, start_method),
        "train": {
            "epochs": workload.train.epochs,
            "computation_time": workload.train.computation_time,
            "seed": seed,
        },
        # Without checkpoints these sizes still make DLIO fill memory with tensors.
        "checkpoint": {"model_size": 0, "layer_parameters": []},
        "metric": {
            "au": workload.metric.au,
            "exclude_start_steps": workload.metric.exclude_start_steps,
            "exclude_end_steps": workload.metric.exclude_end_steps,
        },
    }


def _dataset(workload: Workload, spec: DatasetSpec, folder: Path, files: int) -> dict[str, Any]:
    dataset = workload.dataset
    sizes = {
        "": dataset.record_length_bytes,
        "_stdev": dataset.record_length_bytes_stdev,
        "_resize": dataset.record_length_bytes_resize,
    }
    lengths = {
        f"{name}{part}": _whole(size)
        for name in ("record_length", "record_length_bytes")
        for part, size in sizes.items()
    }
    return {
        "data_folder": str(folder),
        "format": spec.format,
        "num_files_train": files,
        "num_files_eval": 0,
        "num_samples_per_file": spec.samples_per_file,
        # For DLIO one subfolder is a contradiction; for us it is none.
        "num_subfolders_train": spec.num_subfolders if spec.num_subfolders > 1 else 0,
        "num_subfolders_eval": 0,
        "file_prefix": "img",
        "keep_files": True,
        "generation_buffer_size": _GENERATION_BUFFER_BYTES,
        **lengths,
    }


def _whole(size: float) -> float:
    """A size as an integer where it is one.

    >>> _whole(512.0), _whole(114660.07)
    (512, 114660.07)
    """
    return int(size) if size == int(size) else size


def _reader(workload: Workload, start_method: str) -> dict[str, Any]:
    """Everything but `read_type`, whose mere presence makes DLIO read each file only once.

    Shuffles that are off are left out: DLIO takes the word `off` for a shuffle.
    """
    reader = workload.reader
    found: dict[str, Any] = {
        "data_loader": reader.data_loader,
        "batch_size": reader.batch_size,
        "batch_size_eval": reader.batch_size,
        "read_threads": reader.read_threads,
        "computation_threads": reader.computation_threads,
        "prefetch_size": reader.prefetch_size,
        "transfer_size": reader.transfer_size,
        "multiprocessing_context": start_method,
    }
    shuffles = {"file_shuffle": reader.file_shuffle, "sample_shuffle": reader.sample_shuffle}
    found.update({name: how for name, how in shuffles.items() if how != "off"})
    if reader.shuffle_size:
        found["shuffle_size"] = reader.shuffle_size
    if reader.odirect:
        found["odirect"] = True
    return found
