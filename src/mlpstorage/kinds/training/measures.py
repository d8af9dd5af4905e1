"""What two training runs are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.core.measures import Better, measure, number, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.core.measures import Measure

KIND = "training"
# What tunes the client, or follows from its size, and leaves the work on a sample as it is.
TUNING = (
    "dataset.num_files_train",
    "dataset.num_subfolders_train",
    "reader.read_threads",
    "reader.computation_threads",
    "reader.transfer_size",
    "reader.prefetch_size",
    "reader.odirect",
    "reader.data_loader",
)


def measures_of(summary: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The figures of a summary, with their values of every epoch."""
    rates = numbers(summary, "metric.train_throughput_samples_per_second")
    mean_rate = number(summary, "metric.train_throughput_mean_samples_per_second")
    use = numbers(summary, "metric.train_au_percentage")
    mean_use = number(summary, "metric.train_au_mean_percentage")
    moved = numbers(summary, "read_MiB_per_second")
    io = sum(moved) / len(moved) if moved else None
    return (
        *measure(
            "throughput", "throughput", "samples/s", Better.HIGHER, mean_rate, rates, "epochs"
        ),
        *measure("au", "AU", "%", Better.HIGHER, mean_use, use, "epochs"),
        *measure("read", "read, whole epochs", "MiB/s", Better.HIGHER, io, moved, "epochs"),
        *_latency(summary, "p50"),
        *_latency(summary, "p99"),
    )


def _latency(summary: Mapping[str, Any], share: str) -> tuple[Measure, ...]:
    found = number(summary, f"file_read_latency_us.{share}")
    value = None if found is None else found / 1000
    return measure(f"read_{share}", f"file read {share}", "ms", Better.LOWER, value)
