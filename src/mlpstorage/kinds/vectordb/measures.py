"""What two runs of vector search are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.core.measures import Better, entries, measure, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.core.measures import Measure

KIND = "vector_database"
# The index and how it is searched are what is compared; the vectors and the target are the work.
TUNING = ("index", "query")


def measures_of(summary: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The figures of a summary: those of the scored point, and of the whole run.

    A point is one window: what varies is seen over the runs of a set only.
    """
    higher, lower = Better.HIGHER, Better.LOWER
    p99, recall = number(summary, "p99_latency_ms"), number(summary, "recall")
    load = summary.get("load")
    made = isinstance(load, dict) and not load.get("reused")  # else another run made the index
    loaded = number(summary, "load.vectors_per_second") if made else None
    return (
        *measure("qps", "queries", "queries/s", higher, number(summary, "throughput_qps")),
        *measure("p99", "latency p99", "ms", lower, p99),
        *measure("p50", "latency p50", "ms", lower, number(summary, "p50_latency_ms")),
        *measure("recall", "recall", "", higher, recall),
        *measure("bytes_per_query", "read per query", "B", lower, _of_best(summary)),
        *measure("load", "load", "vectors/s", higher, loaded),
    )


def _of_best(summary: Mapping[str, Any]) -> float | None:
    points, place = entries(summary, "points"), number(summary, "scored_point")
    if place is None or not 0 <= place < len(points):
        return None
    return number(points[int(place)], "bytes_per_query")
