"""The bottleneck verdict, on the typical situations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpstorage.kinds.bottleneck import Bottleneck
from mlpstorage.kinds.training.bottleneck import Evidence, bottleneck_of, explain

SLOW_STORAGE = Evidence(
    au_percent=60.0,
    wait_share=0.4,
    reader_share=0.95,
    host_cpu_share=0.2,
    own_cpu_share=0.15,
    rank_cores=0.3,
    user_cores=0.1,
    cached_share=0.0,
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Bottleneck.STORAGE),
        ({"au_percent": 98.0, "reader_share": 0.1}, Bottleneck.COMPUTE),
        ({"host_cpu_share": 0.97, "own_cpu_share": 0.9}, Bottleneck.CLIENT_CPU),
        ({"host_cpu_share": 0.97}, Bottleneck.MIXED),
        ({"user_cores": 0.93}, Bottleneck.CLIENT_CPU),
        ({"reader_share": 0.2}, Bottleneck.MIXED),
        ({"host_cpu_share": 0.8}, Bottleneck.MIXED),
        ({"network_share": 0.5}, Bottleneck.STORAGE),
        ({"network_share": 0.96}, Bottleneck.NETWORK),
        ({"network_share": 0.96, "host_cpu_share": 0.97, "own_cpu_share": 0.9}, Bottleneck.NETWORK),
        ({"network_share": 0.96, "au_percent": 98.0}, Bottleneck.COMPUTE),
    ],
)
def test_verdict_follows_the_exhausted_resource(
    change: dict[str, float], expected: Bottleneck
) -> None:
    """The resource that is exhausted is named; when none is, the verdict is mixed."""
    assert bottleneck_of(replace(SLOW_STORAGE, **change)) is expected


def test_the_numbers_are_told() -> None:
    """The explanation holds the numbers, and says when the cache's share is unknown."""
    assert "0.0 % of the bytes from the page cache" in explain(SLOW_STORAGE)
    assert "unknown" in explain(replace(SLOW_STORAGE, cached_share=None))
    assert "network" not in explain(SLOW_STORAGE)
    assert "client CPU 20 % busy (15 % by this run)" in explain(SLOW_STORAGE)
    disturbed = explain(replace(SLOW_STORAGE, host_cpu_share=1.01))
    assert "client CPU 100 % busy (15 % by this run: something else runs there)" in disturbed
    assert "link 96 % of its speed" in explain(replace(SLOW_STORAGE, network_share=0.96))
