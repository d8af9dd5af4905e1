"""What two checkpointing runs are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.core.measures import Better, all_numbers, entries, measure, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.core.measures import Measure

KIND = "checkpointing"
# How the client moves the bytes, and how often: a checkpoint stays the same.
TUNING = (
    "checkpoint.checkpoint_folder",
    "checkpoint.num_checkpoints_write",
    "checkpoint.num_checkpoints_read",
    "checkpoint.time_between_checkpoints",
    "checkpoint.write_threads",
    "checkpoint.read_threads",
    "checkpoint.block_size",
    "checkpoint.odirect",
    "checkpoint.recovery_rank_shift",
)
_WORDS = {"save": "write", "load": "read"}


def measures_of(summary: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The figures of a summary, with their values of every checkpoint."""
    return tuple(one for phase in _WORDS for one in _of_phase(summary, phase))


def _of_phase(summary: Mapping[str, Any], phase: str) -> tuple[Measure, ...]:
    word = _WORDS[phase]
    parts = [part for part in entries(summary, "checkpoints") if part.get("phase") == phase]
    rates = all_numbers(part.get("aggregate_GB_per_second") for part in parts)
    seconds = all_numbers(part.get("duration_seconds") for part in parts)
    rate = number(summary, f"{phase}.aggregate_mean_GB_per_second")
    duration = number(summary, f"{phase}.duration_mean_seconds")
    return (
        *measure(word, word, "GB/s", Better.HIGHER, rate, rates, "checkpoints"),
        *measure(
            f"{word}_seconds", f"{word} time", "s", Better.LOWER, duration, seconds, "checkpoints"
        ),
    )
