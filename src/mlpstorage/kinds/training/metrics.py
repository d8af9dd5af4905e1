"""Accelerator utilisation and throughput, from the timings of steps.

Two formulas exist in the reference engine (DLIO), and both are here, named; the results say which
one the headline uses:

- `measured`: the compute time that was measured, over a metric window that leaves out steps at
  both ends of an epoch (DLIO since 2025);
- `nominal`: the compute time that was asked for, without the first step (DLIO 2.0.0).

DLIO since 2025 counts (n − 2) steps for throughput although its window holds n − 1; here the
window's own step count is used, and the reference's figure is kept beside it for comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.stats import mean

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class EpochTimings:
    """One rank's epoch in seconds: per step the wait for data and the compute, and the whole.

    `block_seconds` runs from before the readers start to the barrier after the last step.
    """

    load: tuple[float, ...]
    compute: tuple[float, ...]
    block_seconds: float
    batch: int


@dataclass(frozen=True)
class Window:
    """The part of an epoch that counts; `exclude_start` and `exclude_end` are steps left out."""

    exclude_start: int = 1
    exclude_end: int = 0


def window_seconds(timings: EpochTimings, window: Window) -> float:
    """The block's time without the load and compute time of the steps left out."""
    steps = len(timings.load)
    last = max(steps - window.exclude_end, 0)
    excluded = [*range(min(window.exclude_start, steps)), *range(last, steps)]
    return timings.block_seconds - math.fsum(
        timings.load[i] + timings.compute[i] for i in sorted(set(excluded))
    )


def window_steps(timings: EpochTimings, window: Window) -> int:
    """How many steps count; 0 when the epoch is too short."""
    return max(len(timings.load) - window.exclude_start - window.exclude_end, 0)


def au_measured(timings: EpochTimings, window: Window) -> float:
    """AU in percent from measured compute: 100 · Σ compute in the window ÷ the window's time.

    nan when no step counts.
    """
    if not window_steps(timings, window):
        return math.nan
    inside = timings.compute[window.exclude_start : len(timings.compute) - window.exclude_end]
    return 100 * math.fsum(inside) / window_seconds(timings, window)


def au_nominal(timings: EpochTimings, computation_time: float) -> float:
    """AU in percent as DLIO 2.0.0: nominal compute of all steps but the first ÷ (T − first step).

    nan for fewer than two steps.
    """
    steps = len(timings.load)
    if steps < 2:  # noqa: PLR2004 (the first step never counts)
        return math.nan
    first = timings.load[0] + timings.compute[0]
    return 100 * computation_time * (steps - 1) / (timings.block_seconds - first)


def throughput(timings: EpochTimings, window: Window) -> float:
    """Samples per second of one rank within the window; nan when no step counts."""
    steps = window_steps(timings, window)
    return steps * timings.batch / window_seconds(timings, window) if steps else math.nan


def throughput_reference(timings: EpochTimings, window: Window) -> float:
    """Samples per second as DLIO since 2025 prints them: (n − 2) steps whatever the window."""
    return (len(timings.load) - 2) * timings.batch / window_seconds(timings, window)


@dataclass(frozen=True)
class TrainingMetrics:
    """Per epoch: AU as the mean over ranks (percent), throughput as their sum (samples/s)."""

    au_percent: tuple[float, ...]
    au_nominal_percent: tuple[float, ...]
    samples_per_second: tuple[float, ...]
    reference_samples_per_second: tuple[float, ...]


def aggregate(
    epochs: Sequence[Sequence[EpochTimings]], window: Window, computation_time: float
) -> TrainingMetrics:
    """Combine the ranks of each epoch; `epochs[e][r]` is rank r in epoch e.

    Source: DLIO's summary: AU is the mean over ranks, throughput the sum over ranks.
    """
    return TrainingMetrics(
        au_percent=tuple(mean([au_measured(t, window) for t in ranks]) for ranks in epochs),
        au_nominal_percent=tuple(
            mean([au_nominal(t, computation_time) for t in ranks]) for ranks in epochs
        ),
        samples_per_second=tuple(
            math.fsum(throughput(t, window) for t in ranks) for ranks in epochs
        ),
        reference_samples_per_second=tuple(
            math.fsum(throughput_reference(t, window) for t in ranks) for ranks in epochs
        ),
    )
