"""What held a search back at the point that is scored, told from the counters of its clients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.kinds.bottleneck import ClientLoad, busiest_host, busiest_link, exhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.kinds.bottleneck import Bottleneck
    from mlpstorage.kinds.vectordb.metrics import PointMetrics
    from mlpstorage.kinds.vectordb.record import PointRecord


@dataclass(frozen=True, kw_only=True)
class Evidence(ClientLoad):
    """The numbers a verdict rests on; shares are 0 to 1.

    Attributes:
        wait_share: The part of their time in which clients used no processor: an engine inside them
            then waits for storage. None where the engine is a server, of which that says nothing.
        reads: Whether searches have read anything from storage at all; None where nobody counts.
    """

    wait_share: float | None
    reads: bool | None


def evidence_of(
    point: PointMetrics, records: Sequence[PointRecord], hosts: Sequence[str], *, server: bool
) -> Evidence:
    """The evidence of a point, from the records of all ranks and the host of each."""
    active = [(h, r) for h, r in zip(hosts, records, strict=True) if r.active and r.window_seconds]
    cpu = [(host, (r.user_seconds + r.system_seconds) / r.window_seconds, r) for host, r in active]
    cores = math.fsum(share for _, share, _ in cpu) / max(1, len(cpu))
    return Evidence(
        host_cpu_share=point.cpu_share,
        own_cpu_share=busiest_host([(h, share / r.host_cpus) for h, share, r in cpu]),
        user_cores=max((r.user_seconds / r.window_seconds for _, r in active), default=0.0),
        network_share=busiest_link([r.network_share for _, r in active]),
        wait_share=None if server else max(0.0, 1 - cores),
        reads=None if point.bytes_per_query is None else point.bytes_per_query > 0,
    )


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """The first resource found exhausted; storage that is not read never is."""
    return exhausted(evidence, evidence.wait_share if evidence.reads else None)


def told(evidence: Evidence) -> dict[str, Any]:
    """The verdict with its numbers, for the summary."""
    wait = evidence.wait_share
    waits = (
        "clients wait for a server, of which nothing is known here"
        if wait is None
        else f"clients waited {100 * wait:.0f} % of the time"
    )
    reads = {True: "", False: ", nothing was read from storage", None: ", reads are not counted"}
    return {
        "verdict": bottleneck_of(evidence).value,
        "explanation": f"{waits}{reads[evidence.reads]}, {evidence.text()}",
        **{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__},
    }
