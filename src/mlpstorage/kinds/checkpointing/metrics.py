"""The figures of checkpoints, from the records of their ranks.

A checkpoint lasts until its last rank is done. Of the units, `GB` is 10⁹ and `GiB` 2³⁰ bytes,
except in the reference engine's own keys, whose GB is 2³⁰.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.stats import mean, stdev
from mlpstorage.core.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.kinds.checkpointing.record import CheckpointRecord

GB = 10**9


@dataclass(frozen=True)
class CheckpointFigures:
    """One checkpoint over all ranks: seconds, bytes, and bytes per second.

    `least_rank_rate` is the throughput of the slowest rank; shares are of the threads' time, by
    what they did: open, io, fsync, close, name (rename and fsync of the folder).
    """

    phase: str
    number: int
    start: str
    end: str
    bytes: int
    rank_seconds: tuple[float, ...]
    least_rank_rate: float
    most_rank_rate: float
    shares: dict[str, float]
    device_bytes: int
    char_bytes: int

    @property
    def duration(self) -> float:
        """Until the last rank was done: the maximum over ranks."""
        return max(self.rank_seconds)

    @property
    def first_done(self) -> float:
        """Until the first rank was done."""
        return min(self.rank_seconds)

    @property
    def rate(self) -> float:
        """All ranks' bytes over the duration."""
        return self.bytes / self.duration

    def as_dict(self) -> dict[str, Any]:
        """The figures under names that carry their units."""
        return {
            "phase": self.phase,
            "number": self.number,
            "start": self.start,
            "end": self.end,
            "bytes": self.bytes,
            "duration_seconds": self.duration,
            "first_done_seconds": self.first_done,
            "last_done_seconds": self.duration,
            "rank_duration_mean_seconds": mean(self.rank_seconds),
            "rank_duration_stdev_seconds": stdev(self.rank_seconds),
            "aggregate_GB_per_second": self.rate / GB,
            "aggregate_GiB_per_second": self.rate / GIB,
            "slowest_rank_GB_per_second": self.least_rank_rate / GB,
            "slowest_rank_GiB_per_second": self.least_rank_rate / GIB,
            "fastest_rank_GB_per_second": self.most_rank_rate / GB,
            "time_shares": self.shares,
            "device_bytes": self.device_bytes,
            "delivered_bytes": self.char_bytes,
        }


def figures_of(ranks: Sequence[CheckpointRecord]) -> CheckpointFigures:
    """The figures of one checkpoint from all ranks' records of it; some ranks may have no file."""
    rates = [record.bytes / record.seconds for record in ranks if record.bytes]
    spent = {
        name: math.fsum(getattr(record, f"{name}_seconds") for record in ranks)
        for name in ("open", "io", "fsync", "close", "name")
    }
    total = math.fsum(spent.values()) or 1.0
    return CheckpointFigures(
        phase=ranks[0].phase,
        number=ranks[0].number,
        start=min(record.start for record in ranks),
        end=max(record.end for record in ranks),
        bytes=sum(record.bytes for record in ranks),
        rank_seconds=tuple(record.seconds for record in ranks),
        least_rank_rate=min(rates),
        most_rank_rate=max(rates),
        shares={name: seconds / total for name, seconds in spent.items()},
        device_bytes=sum(record.device_bytes for record in ranks),
        char_bytes=sum(record.char_bytes for record in ranks),
    )


def phase_summary(all_of_phase: Sequence[CheckpointFigures]) -> dict[str, Any]:
    """The figures over all checkpoints of a phase, in both units."""
    durations = [figures.duration for figures in all_of_phase]
    rates = [figures.rate for figures in all_of_phase]
    slowest = [figures.least_rank_rate for figures in all_of_phase]
    return {
        "checkpoints": len(all_of_phase),
        "duration_mean_seconds": mean(durations),
        "duration_stdev_seconds": stdev(durations),
        "duration_min_seconds": min(durations),
        "duration_max_seconds": max(durations),
        "aggregate_mean_GB_per_second": mean(rates) / GB,
        "aggregate_mean_GiB_per_second": mean(rates) / GIB,
        "aggregate_min_GB_per_second": min(rates) / GB,
        "aggregate_max_GB_per_second": max(rates) / GB,
        "slowest_rank_mean_GB_per_second": mean(slowest) / GB,
        "slowest_rank_mean_GiB_per_second": mean(slowest) / GIB,
        "slowest_rank_min_GB_per_second": min(slowest) / GB,
        "slowest_rank_min_GiB_per_second": min(slowest) / GIB,
    }


def reference_metric(phase: str, all_of_phase: Sequence[CheckpointFigures]) -> dict[str, float]:
    """The same under the reference engine's keys (`phase` is save or load); GB is 2³⁰ there."""
    rates = [figures.rate / GIB for figures in all_of_phase]
    durations = [figures.duration for figures in all_of_phase]
    return {
        f"{phase}_checkpoint_io_mean_GB_per_second": mean(rates),
        f"{phase}_checkpoint_io_stdev_GB_per_second": stdev(rates),
        f"{phase}_checkpoint_duration_mean_seconds": mean(durations),
        f"{phase}_checkpoint_duration_stdev_seconds": stdev(durations),
    }
