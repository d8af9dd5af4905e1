"""What each kind of benchmark is compared by, from its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.kinds.comparing import comparer_of

if TYPE_CHECKING:
    from mlpstorage.core.measures import Measure

KINDS = ["training", "checkpointing", "kv_cache", "vector_database"]


def measures(kind: str, summary: dict[str, Any]) -> dict[str, Measure]:
    """The figures of a summary by name."""
    comparer = comparer_of(kind)
    assert comparer is not None
    return {one.name: one for one in comparer.measures_of(summary)}


def test_training_has_its_epochs() -> None:
    """Throughput and AU come with the values of every epoch, latency without."""
    found = measures(
        "training",
        {
            "metric": {
                "train_au_percentage": [90.0, 92.0],
                "train_au_mean_percentage": 91.0,
                "train_throughput_samples_per_second": [10, 12],
                "train_throughput_mean_samples_per_second": 11,
            },
            "read_MiB_per_second": [5.0, 7.0],
            "file_read_latency_us": {"p50": 500, "p99": 2500},
        },
    )
    assert found["throughput"].samples == (10.0, 12.0)
    assert found["throughput"].sampled == "epochs"
    assert found["au"].value == 91.0
    assert found["read"].value == 6.0
    assert (found["read_p99"].value, found["read_p99"].samples) == (2.5, ())


def test_checkpoints_are_samples_of_their_phase() -> None:
    """Writing and reading have their own checkpoints; a run that only reads has no writing."""
    checkpoints = [
        {"phase": "load", "aggregate_GB_per_second": rate, "duration_seconds": 1 / rate}
        for rate in (2.0, 4.0)
    ]
    found = measures(
        "checkpointing",
        {
            "save": None,
            "load": {"aggregate_mean_GB_per_second": 3.0, "duration_mean_seconds": 0.375},
            "checkpoints": checkpoints,
        },
    )
    assert set(found) == {"read", "read_seconds"}
    assert found["read"].samples == (2.0, 4.0)
    assert found["read_seconds"].value == 0.375


def test_kv_trials_or_parts_of_the_window() -> None:
    """Three trials are the samples; of one trial, ten parts of its window are."""
    rates = [{"read_bytes_per_second": r * 1e9, "write_bytes_per_second": 1e9} for r in (1, 2, 3)]
    metric = {"read_gbps": 9.0, "write_gbps": 1.0, "series": {"read_bytes": [1e9, 3e9] * 10}}
    trials = measures("kv_cache", {"trials": rates, "metric": metric})
    assert (trials["read"].value, trials["read"].samples) == (2.0, (1.0, 2.0, 3.0))
    window = measures("kv_cache", {"trials": rates[:1], "metric": metric})
    assert (window["read"].samples, window["read"].sampled) == ((2.0,) * 10, "windows")


def test_vector_search_by_its_scored_point() -> None:
    """Queries per second, recall and latency of the run, bytes per query of the scored point."""
    points = [{"bytes_per_query": 10.0}, {"bytes_per_query": 20.0}]
    summary = {"throughput_qps": 100, "recall": 0.9, "p99_latency_ms": 3, "points": points}
    assert (
        measures("vector_database", {**summary, "scored_point": 1})["bytes_per_query"].value == 20.0
    )
    found = measures("vector_database", {**summary, "scored_point": None})
    assert set(found) == {"qps", "p99", "recall"}
    for reused, names in ((True, set()), (False, {"load"})):
        load = {"vectors_per_second": 5.0, "reused": reused}
        assert set(measures("vector_database", {"load": load})) == names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"metric": None, "checkpoints": "x", "trials": [1], "points": {}, "scored_point": 7},
        {"metric": {"train_throughput_mean_samples_per_second": float("nan"), "read_gbps": "1"}},
        {"throughput_qps": True, "recall": 10**400, "load": [], "save": 3},
    ],
)
def test_summaries_of_others_have_no_figures(kind: str, summary: dict[str, Any]) -> None:
    """What is missing, of another type or not finite is no figure, and no error."""
    assert measures(kind, summary) == {}


def test_an_unknown_benchmark_has_no_comparer() -> None:
    """A record of a kind that this program does not have is told apart."""
    assert comparer_of("mystery") is None
