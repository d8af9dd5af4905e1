"""Who limits a search, on the typical situations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpstorage.kinds.bottleneck import Bottleneck
from mlpstorage.kinds.vectordb.bottleneck import Evidence, bottleneck_of, evidence_of, told
from mlpstorage.kinds.vectordb.metrics import metrics_of
from mlpstorage.kinds.vectordb.record import CacheProof, PointPlan, PointRecord

DISK = Evidence(host_cpu_share=0.3, own_cpu_share=0.3, user_cores=0.2, wait_share=0.8, reads=True)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Bottleneck.STORAGE),
        ({"user_cores": 0.95}, Bottleneck.CLIENT_CPU),
        ({"host_cpu_share": 0.95, "own_cpu_share": 0.9}, Bottleneck.CLIENT_CPU),
        ({"reads": False}, Bottleneck.MIXED),
        ({"reads": None}, Bottleneck.MIXED),
        ({"wait_share": None}, Bottleneck.MIXED),
        ({"network_share": 0.95}, Bottleneck.NETWORK),
    ],
)
def test_what_is_exhausted(change: dict[str, float], verdict: Bottleneck) -> None:
    """Storage is blamed only where clients wait for an engine of their own that does read."""
    assert bottleneck_of(replace(DISK, **change)) is verdict


def test_the_evidence_of_a_point() -> None:
    """Two clients on one host, one idle rank: the waiting of those that searched, on their host."""
    record = PointRecord(
        point=0, active=True, cache=CacheProof(method="cold"), window_seconds=10.0, requests=100,
        queries=100, latency_us={"100": 100}, user_seconds=2.0, system_seconds=1.0,
        own_reads=500, own_bytes=500 * 4096, host_busy_seconds=8.0, host_cpus=4.0,
    )  # fmt: skip
    idle = PointRecord(point=0, active=False, cache=CacheProof(method="cold"))
    records, hosts = [record, record, idle], ["a", "a", "b"]
    point = metrics_of(
        PointPlan(number=0, clients=2), records, hosts, k=10, dimension=8, pool=1000, counted=True
    )
    found = evidence_of(point, records, hosts, server=False)
    assert found.wait_share == pytest.approx(0.7)
    assert found.own_cpu_share == pytest.approx(2 * 0.3 / 4)
    assert found.host_cpu_share == pytest.approx(0.2)
    assert found.reads is True
    assert told(found)["verdict"] == "storage-bound"
    assert "clients waited 70 % of the time" in told(found)["explanation"]
    server = evidence_of(point, records, hosts, server=True)
    assert told(server)["verdict"] == "mixed"
    assert "clients wait for a server" in told(server)["explanation"]
