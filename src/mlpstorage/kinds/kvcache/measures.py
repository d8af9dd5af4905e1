"""What two KV-cache runs are compared by."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from mlpstorage.core.measures import Better, all_numbers, entries, measure, number, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.core.measures import Measure

KIND = "kv_cache"
# None: what tunes the executor is no part of the setup.
TUNING: tuple[str, ...] = ()
_LEAST_TRIALS = 3
# Neighbouring seconds resemble each other, so the window is cut into this many longer parts.
_PARTS = 10


def measures_of(summary: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The figures of a summary: rates by trial, or by parts of the window where trials are few."""
    restore = "metric.ttft_storage_ms.all"
    lower, higher = Better.LOWER, Better.HIGHER
    users = number(summary, "max_users_at_slo")
    return (
        *_rate(summary, "read"),
        *_rate(summary, "write"),
        *measure("users", "users at the SLO", "", higher, users),
        *measure("restore_p50", "restore p50", "ms", lower, number(summary, f"{restore}.p50")),
        *measure("restore_p95", "restore p95", "ms", lower, number(summary, f"{restore}.p95")),
        *measure("restore_p99", "restore p99", "ms", lower, number(summary, f"{restore}.p99")),
    )


def _rate(summary: Mapping[str, Any], way: str) -> tuple[Measure, ...]:
    """Reading or writing in GB/s."""
    found = [trial.get(f"{way}_bytes_per_second") for trial in entries(summary, "trials")]
    trials = tuple(value / 1e9 for value in all_numbers(found))
    if len(trials) >= _LEAST_TRIALS:
        return measure(way, way, "GB/s", Better.HIGHER, fmean(trials), trials, "trials")
    value = number(summary, f"metric.{way}_gbps")
    series = "read_bytes" if way == "read" else "written_bytes"
    parts = parts_of(numbers(summary, f"metric.series.{series}"))
    return measure(way, way, "GB/s", Better.HIGHER, value, parts, "windows")


def parts_of(seconds: tuple[float, ...]) -> tuple[float, ...]:
    """The mean of each of ten equal parts of a series of bytes, in GB; a short rest is left out.

    >>> parts_of((1e9, 3e9) * 10), parts_of((1e9,) * 7)
    ((2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0), ())
    """
    length = len(seconds) // _PARTS
    return tuple(
        fmean(seconds[start : start + length]) / 1e9
        for start in range(0, length * _PARTS, max(length, 1))
    )
