"""Who limits a KV cache, on the typical situations."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from kinds.kvcache.test_kvcache_rules import RECORD
from mlpstorage.kinds.bottleneck import Bottleneck
from mlpstorage.kinds.kvcache.bottleneck import Evidence, bottleneck_of, evidence_of, told

PEAK = Evidence(host_cpu_share=0.2, own_cpu_share=0.2, user_cores=0.1, io_share=0.9)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Bottleneck.STORAGE),
        ({"io_share": 0.3}, Bottleneck.MIXED),
        ({"io_share": 0.3, "users_decide": True}, Bottleneck.COMPUTE),
        ({"io_share": 0.3, "users_decide": True, "slo_decides": True}, Bottleneck.STORAGE),
        ({"io_share": 0.3, "users_decide": True, "host_cpu_share": 0.99}, Bottleneck.MIXED),
        (
            {"host_cpu_share": 0.95, "own_cpu_share": 0.9, "slo_decides": True},
            Bottleneck.CLIENT_CPU,
        ),
        ({"user_cores": 0.95}, Bottleneck.CLIENT_CPU),
        ({"network_share": 0.97}, Bottleneck.NETWORK),
    ],
)
def test_what_is_exhausted(change: dict[str, float], verdict: Bottleneck) -> None:
    """Latency that ends a search is storage's; users who do not ask for more are no one's fault."""
    assert bottleneck_of(replace(PEAK, **change)) is verdict


def test_the_evidence_of_two_hosts() -> None:
    """Parts of processors add up by host; the busier direction counts for all threads together."""
    window = RECORD.window_ns
    busy = {"read_busy_ns": 8 * window, "write_busy_ns": 2 * window, "host_busy_seconds": 30.0}
    ranks = [
        msgspec.structs.replace(RECORD, rank=n, host=host, cpu_user_seconds=6.0, **busy)
        for n, host in enumerate(("a", "a", "b"))
    ]
    found = evidence_of([ranks], [2.0, 2.0, 4.0], "restore", slo_decides=False)
    assert found.io_share == pytest.approx(0.5)
    assert found.host_cpu_share == pytest.approx(30 / (30 * 4))
    assert found.own_cpu_share == pytest.approx(2 * 7 / (30 * 4))
    assert found.user_cores == pytest.approx(0.2)
    assert found.network_share is None
    summary = told(found)
    assert summary["verdict"] == "storage-bound"
    assert "threads were in I/O 50 % of the time" in summary["explanation"]
