"""The figures of a window of all ranks, from their merged records."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from mlpstorage.core.units import GIB
from mlpstorage.engine.kv.latency import Latencies
from mlpstorage.engine.kv.record import HIT_SIZES
from mlpstorage.kinds.kvcache.result_rules import coefficient_of_variation
from mlpstorage.kinds.kvcache.slo import violations

if TYPE_CHECKING:
    from mlpstorage.engine.kv.record import Merged, RankRecord
    from mlpstorage.kinds.kvcache.setup import Setup

SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def latency_ms(found: Latencies) -> dict[str, float | None]:
    """Percentiles in milliseconds; None where too few values lie beyond."""
    figures: dict[str, float | None] = {"n": found.count}
    for name, share in SHARES.items():
        value = found.percentile(share)
        figures[name] = None if value is None else value / 1e6
    figures["max"] = found.most / 1e6 if found.count else None
    figures["mean"] = found.mean / 1e6 if found.count else None
    return figures


def restores(record: RankRecord) -> Latencies:
    """The restore latencies of all classes together."""
    return Latencies.merged(kind.restore for kind in record.classes.values())


def load_point(users: int, merged: Merged) -> dict[str, Any]:
    """One point of the load curve: what was asked, what came of it, and whether the SLO was met.

    Of a window that the user cut short, it also says how long it was.
    """
    record = merged.all
    broken = violations(record)
    found = restores(record)
    cut = {} if record.cut_ns is None else {"cut_after_seconds": record.window_ns / 1e9}
    return {
        "users": users,
        "met": not broken,
        "violations": broken,
        "requests": record.requests,
        "read_bytes_per_second": record.read_bytes_per_second,
        "write_bytes_per_second": record.written_bytes_per_second,
        "restore_p50_ms": found.quantile(0.50) / 1e6,
        "restore_p95_ms": found.quantile(0.95) / 1e6,
        "restore_max_ms": found.most / 1e6,
        "slo_share_used_p95": Latencies.merged(
            kind.slo_ppm for kind in record.classes.values()
        ).quantile(0.95)
        / 1e6,
        **cut,
    }


def measured_hit_rate(record: RankRecord) -> float:
    """Prompt tokens that storage brought back, of all; reads that found nothing are no hits."""
    missed = record.reads_early + record.reads_lost + record.reads_absent
    found = record.reads / (record.reads + missed) if record.reads + missed else 0.0
    return record.hit_tokens * found / record.input_tokens if record.input_tokens else 0.0


def window_metrics(setup: Setup, merged: Merged) -> dict[str, Any]:
    """The metrics of the window that counts.

    Rates count bytes whose I/O completed in the window, over the window (written: and the time to
    make them durable). Percentiles are of all ranks' values together.
    """
    record = merged.all
    seconds = record.window_ns / 1e9
    read, written = record.read_bytes_per_second, record.written_bytes_per_second
    found = restores(record)
    return {
        "window_seconds": seconds,
        "read_gbps": read / 1e9,
        "write_gbps": written / 1e9,
        "read_GiB_per_second": read / GIB,
        "write_GiB_per_second": written / GIB,
        "read_bytes": record.read_bytes,
        "written_bytes": record.written_bytes,
        "reads": record.reads,
        "writes": record.writes,
        "deletes": record.deletes,
        "requests": record.requests,
        "tokens_restored_per_s": read / setup.shape.bytes_per_token,
        "tokens_stored_per_s": written / setup.shape.bytes_per_token,
        "ttft_storage_ms": {
            "all": latency_ms(found),
            "service": latency_ms(
                Latencies.merged(kind.service for kind in record.classes.values())
            ),
            "by_class": {name: latency_ms(k.restore) for name, k in record.classes.items()},
            "by_hit_tokens": {
                name: latency_ms(
                    Latencies.merged(k.restore_by_size[n] for k in record.classes.values())
                )
                for n, name in enumerate(HIT_SIZES)
            },
        },
        "slo_share_within": {name: k.share_within() for name, k in record.classes.items()},
        "block_read_ms": latency_ms(record.block_read),
        "block_write_ms": latency_ms(record.block_write),
        "block_delete_ms": latency_ms(record.block_delete),
        "write_queue_age_ms": latency_ms(record.write_age),
        "hit_rate_tokens_storage": measured_hit_rate(record),
        "planned_hit_rate_tokens_storage": record.hit_tokens / record.input_tokens
        if record.input_tokens
        else 0.0,
        "read_write_ratio": record.read_bytes / record.written_bytes
        if record.written_bytes
        else None,
        "bytes_stored_per_token": setup.shape.block_bytes / setup.shape.block_tokens,
        "restore_speedup": _speedup(setup, record, found),
        "cpu_cores_per_GBps": _cores_per_gbps(record),
        "executor_lag_ms": latency_ms(record.lag),
        "reads_waited_for_write": record.reads_waited,
        "reads_missed": {
            "early": record.reads_early,
            "write_dropped": record.reads_lost,
            "absent": record.reads_absent,
        },
        "writes_dropped": record.writes_dropped,
        "verification": {
            "blocks": record.verification.blocks,
            "sectors": record.verification.sectors,
            "whole_blocks": record.verification.whole_blocks,
            "bad": record.verification.bad,
            "findings": [
                {"what": f.what, "file": f.file, "offset": f.offset, "detail": f.detail}
                for f in record.verification.findings
            ],
        },
        "variation_of_10s_windows": coefficient_of_variation(
            record.read_series, record.write_series
        ),
        "ranks": {
            "read_bytes_per_second": {
                "min": min(merged.read_rates),
                "median": statistics.median(merged.read_rates),
                "max": max(merged.read_rates),
            },
            "slowest": merged.slowest_rank,
            "first_done_seconds": merged.first_done_ns / 1e9,
            "last_done_seconds": merged.last_done_ns / 1e9,
        },
        "series": {
            "read_bytes": record.read_series,
            "written_bytes": record.write_series,
            "requests": record.request_series,
        },
    }


def _speedup(setup: Setup, record: RankRecord, found: Latencies) -> float | None:
    """How much longer computing the restored tokens would have taken than restoring them."""
    if not found.total or not record.hit_tokens:
        return None
    return record.hit_tokens / setup.prefill_tokens_per_second / (found.total / 1e9)


def _cores_per_gbps(record: RankRecord) -> float | None:
    moved = record.read_bytes + record.written_bytes
    return record.cpu_seconds / moved * 1e9 if moved else None
