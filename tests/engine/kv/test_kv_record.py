"""Records travel as JSON, and merge to what one rank with all the work would have recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from engine.kv.kv_rig import BLOCK, R, Request, Rig, W, plan_of
from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.kv.latency import Latencies
from mlpstorage.engine.kv.record import RankRecord, merge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def records(tmp_path: Path) -> list[RankRecord]:
    """Of two ranks, which did different things."""
    made = []
    for rank in range(2):
        rig = Rig(tmp_path / str(rank))
        rig.populate(10)
        requests = [
            Request([(R, block), (W, 100 + block)], hit_tokens=5000 * block, kind=rank)
            for block in range(1, 4 + 2 * rank)
        ]
        made.append(rig.execute(plan_of(*requests, kinds=("chat", "agent")), rank=rank))
    return made


def test_a_record_survives_json(records: list[RankRecord]) -> None:
    """What a rank sends is what the launcher gets."""
    for record in records:
        text = json.dumps(msgspec.to_builtins(record))
        assert msgspec.convert(json.loads(text), RankRecord) == record


def test_merging_sums_and_pools(records: list[RankRecord]) -> None:
    """Bytes add up, histograms are those of all values, classes of either rank are there."""
    merged = merge(records[::-1], 2)
    both = merged.all
    assert both.reads == 3 + 5
    assert both.read_bytes == 8 * BLOCK
    assert both.hit_tokens == 5000 * (6 + 15)
    assert both.block_read == Latencies.merged(record.block_read for record in records)
    assert both.block_read.count == 8
    assert both.block_read.most == max(record.block_read.most for record in records)
    assert set(both.classes) == {"chat", "agent"}
    assert both.classes["agent"].restore.count == 5
    assert [part.count for part in both.classes["agent"].restore_by_size] == [0, 3, 2, 0]
    assert both.window_ns == max(record.window_ns for record in records)
    assert both.verification.sectors == 8 * BLOCK // 4096
    assert sum(both.read_series) == 8 * BLOCK
    assert both.cpu_seconds == pytest.approx(sum(record.cpu_seconds for record in records))
    assert len(merged.read_rates) == merged.ranks == 2


def test_the_pool_is_not_the_average(records: list[RankRecord]) -> None:
    """A slow rank dominates the pooled 95th percentile, where an average would hide it."""
    fast, slow = Latencies.of(np.full(100, 1000)), Latencies.of(np.full(100, 1_000_000))
    changed = [
        msgspec.structs.replace(record, block_read=latencies)
        for record, latencies in zip(records, (fast, slow), strict=True)
    ]
    pooled = merge(changed, 2).all.block_read
    assert pooled.quantile(0.95) == pytest.approx(1_000_000, rel=0.01)


def test_a_lost_rank_is_no_result(records: list[RankRecord]) -> None:
    """A missing record, or one that came twice, is an error that names the rank."""
    with pytest.raises(BenchmarkError, match="rank 1 is lost"):
        merge(records[:1], 2)
    with pytest.raises(BenchmarkError, match="rank 1 is lost"):
        merge([records[0], records[0]], 2)
