from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.events import RankResult
from mlpstorage.kinds.bottleneck import Bottleneck, ClientLoad, exhausted
from mlpstorage.kinds.checkpointing.metrics import figures_of, phase_summary, reference_metric
from mlpstorage.kinds.checkpointing.record import CheckpointRecord, RankRecord
from mlpstorage.kinds.checkpointing.result import Measured

GIB = 1 << 30


def _record(phase: str = "save", **changes: Any) -> CheckpointRecord:  # noqa: ANN401 (fields)
    plain = CheckpointRecord(
        phase=phase, number=1, start="2026-01-01T00:00:00Z", end="2026-01-01T00:00:02Z",
        seconds=2.0, span_seconds=2.0, bytes=4 * GIB, files=2, depth=4, open_seconds=0.1,
        io_seconds=7.0, fsync_seconds=0.5, close_seconds=0.1, name_seconds=0.3, own_seconds=0.1,
        source_rank=0, wrote_on="a", char_bytes=4 * GIB, device_bytes=4 * GIB, user_seconds=0.1,
        system_seconds=0.1, host_busy_seconds=0.4, host_iowait_seconds=0.0, host_cpus=2.0,
        peak_bytes=1, drop_method="", sectors_verified=0, payloads_verified=0, mismatches=0,
        first_file="", first_offset=0, first_what="",
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def _result(rank: int, *records: CheckpointRecord) -> RankResult:
    data = msgspec.to_builtins(RankRecord(checkpoints=list(records), total_seconds=5.0))
    return RankResult(rank, "ab"[rank], data)


def test_a_checkpoint_lasts_until_its_last_rank() -> None:
    """Duration is the maximum, a rank's throughput the minimum, the aggregate over all."""
    figures = figures_of([_record(), _record(seconds=4.0)])
    assert (figures.first_done, figures.duration) == (2.0, 4.0)
    assert figures.rate == 2 * GIB
    assert (figures.least_rank_rate, figures.most_rank_rate) == (GIB, 2 * GIB)
    shown = figures.as_dict()
    assert shown["aggregate_GiB_per_second"] == 2
    assert shown["aggregate_GB_per_second"] == pytest.approx(2.147, abs=0.001)
    assert shown["slowest_rank_GiB_per_second"] == 1
    assert shown["rank_duration_stdev_seconds"] == 1.0
    assert figures.shares["io"] == pytest.approx(7 / 8)
    assert sum(figures.shares.values()) == pytest.approx(1)


def test_a_rank_without_files_does_not_slow_the_slowest() -> None:
    """Throughput per rank is of those that have something to move."""
    figures = figures_of([_record(), _record(bytes=0, seconds=1e-4)])
    assert figures.least_rank_rate == 2 * GIB


def test_figures_over_all_checkpoints() -> None:
    """Means over checkpoints, in both units; the reference engine's GB is a GiB."""
    found = [figures_of([_record()]), figures_of([_record(seconds=4.0)])]
    over = phase_summary(found)
    assert (over["duration_mean_seconds"], over["duration_stdev_seconds"]) == (3.0, 1.0)
    assert over["aggregate_mean_GiB_per_second"] == 1.5
    assert over["slowest_rank_min_GiB_per_second"] == 1
    metric = reference_metric("load", found)
    assert metric["load_checkpoint_io_mean_GB_per_second"] == 1.5
    assert metric["load_checkpoint_duration_mean_seconds"] == 3.0


def test_every_rank_must_have_done_every_checkpoint() -> None:
    """A record with one checkpoint less than asked is no result, and the rank is named."""
    whole, part = _result(0, _record(), _record("load")), _result(1, _record())
    assert len(Measured.of([whole], 1, 1).figures()) == 2
    with pytest.raises(BenchmarkError, match=r"rank 1 on b did 0 of 1 checkpoints \(reading\)"):
        Measured.of([whole, part], 1, 1)


def test_the_first_mismatch_of_all_ranks_is_named() -> None:
    """By file and offset, not by rank."""
    bad = {"mismatches": 2, "first_what": "holds zeros"}
    measured = Measured.of(
        [
            _result(0, _record("load", first_file="/ck/b", first_offset=0, **bad)),
            _result(1, _record("load", first_file="/ck/a", first_offset=8192, **bad)),
        ],
        0,
        1,
    )
    assert measured.mismatches == 4
    assert measured.first_mismatch == "/ck/a at offset 8192 holds zeros"


def test_reads_of_the_own_hosts_files_are_told() -> None:
    """By the recorded host, or by this run's where it wrote itself."""
    reads = [_record("load", wrote_on=""), _record("load", wrote_on="b")]
    measured = Measured.of([_result(0, reads[0]), _result(1, reads[1])], 0, 1)
    assert measured.reads_own(0, reads[0])
    assert measured.reads_own(1, reads[1])
    assert not measured.reads_own(1, reads[0])


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.99, 0.2, 0.2, 0.1, None), Bottleneck.STORAGE),
        ((0.99, 0.95, 0.9, 0.1, None), Bottleneck.CLIENT_CPU),
        ((0.99, 0.95, 0.1, 0.1, None), Bottleneck.MIXED),
        ((0.30, 0.5, 0.5, 0.9, None), Bottleneck.CLIENT_CPU),
        ((0.30, 0.5, 0.5, 0.1, None), Bottleneck.MIXED),
        ((0.99, 0.2, 0.2, 0.1, 0.93), Bottleneck.NETWORK),
    ],
)
def test_bottleneck(
    shares: tuple[float, float, float, float, float | None], verdict: Bottleneck
) -> None:
    """A full link comes first, then processors that this run keeps busy, then storage."""
    io, host, own, user, network = shares
    load = ClientLoad(
        host_cpu_share=host, own_cpu_share=own, user_cores=user, network_share=network
    )
    assert exhausted(load, io) is verdict
