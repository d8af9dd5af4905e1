"""The figures of one point, from what its ranks counted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.engine.histogram import merge, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.kinds.vectordb.record import PointPlan, PointRecord, Verification

NOT_COUNTED = "nothing: no counter of the engine, its control group or its processes"
_PERCENTILES = (50, 95, 99, 99.9)


@dataclass(frozen=True)
class Counted:
    """What was read in a window, by one source; reads are None where only bytes are counted."""

    source: str
    bytes: int
    reads: int | None


@dataclass(frozen=True)
class PointMetrics:
    """One point over all ranks; a query is one vector that was answered.

    `agreement` is the largest relative difference of two sources that count the same bytes.
    `ended_early` says that the user wanted to stop during the window.
    """

    clients: int
    rate: float | None
    share: float | None
    seconds: float
    least_seconds: float
    queries: int
    failed: int
    overdue: int
    ended_early: bool
    qps: float
    latency_ms: dict[str, float]
    latency_histogram_us: dict[str, int]
    recall: float | None
    recall_queries: int
    query_reuse: float
    source: str
    sources: dict[str, dict[str, int | None]]
    agreement: float | None
    bytes_per_query: float | None
    reads_per_query: float | None
    mean_read_bytes: float | None
    read_bytes_per_second: float | None
    reads_per_second: float | None
    read_amplification: float | None
    cpu_ms_per_query: float
    cpu_share: float
    iowait_share: float
    resident_bytes: int
    group_memory_bytes: int | None
    cache: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values."""
        return asdict(self)


def metrics_of(
    plan: PointPlan,
    records: Sequence[PointRecord],
    hosts: Sequence[str],
    *,
    k: int,
    dimension: int,
    pool: int,
    counted: bool,
) -> PointMetrics:
    """The metrics of a point.

    Args:
        plan: The point.
        records: What every rank counted, in the order of the ranks.
        hosts: The host of every rank.
        k: Neighbours of a query: read amplification is against their bytes.
        dimension: Numbers of a vector.
        pool: Different queries that there are.
        counted: Whether the bytes of the ranks' own processes are those of the searches.
    """
    active = [record for record in records if record.active]
    seconds = max(record.window_seconds for record in active)
    queries = sum(record.queries for record in active)
    requests = sum(record.requests for record in active)
    sources = counted_by(records, counted=counted)
    best = sources[0] if sources and queries else None
    # What read within the window: also the requests that its end has cut off.
    reading = queries + sum(r.cut * r.queries // max(1, r.requests) for r in active)
    per_query = best.bytes / reading if best else None
    reads = best.reads if best else None
    recalls = [value for record in active for value in record.recalls]
    busy, iowait = _host_shares(records, hosts)
    early = any(record.ended_early for record in active)
    cpu = math.fsum(r.user_seconds + r.system_seconds for r in active)
    return PointMetrics(
        clients=plan.clients,
        rate=plan.rate,
        share=plan.share,
        seconds=seconds,
        least_seconds=min(record.window_seconds for record in active),
        queries=queries,
        failed=sum(record.failed for record in active),
        overdue=sum(record.overdue for record in active),
        ended_early=early,
        qps=_rate(active, queries, seconds, early=early),
        latency_ms=_latency(active, requests),
        latency_histogram_us={str(b): n for b, n in sorted(_merged(active).items())},
        recall=math.fsum(recalls) / len(recalls) if recalls else None,
        recall_queries=len(recalls),
        query_reuse=queries / pool,
        source=best.source if best else NOT_COUNTED,
        sources={one.source: {"bytes": one.bytes, "reads": one.reads} for one in sources},
        agreement=agreement_of(sources),
        bytes_per_query=per_query,
        reads_per_query=reads / reading if reads is not None else None,
        mean_read_bytes=best.bytes / reads if best and reads else None,
        read_bytes_per_second=best.bytes / seconds if best else None,
        reads_per_second=reads / seconds if reads is not None else None,
        read_amplification=per_query / (k * dimension * 4) if per_query is not None else None,
        cpu_ms_per_query=1000 * cpu / queries if queries else 0.0,
        cpu_share=busy,
        iowait_share=iowait,
        resident_bytes=sum(record.resident_bytes for record in active),
        group_memory_bytes=_sum_of([record.group_memory_bytes for record in records]),
        cache=[
            {"host": host, "method": r.cache.method, "resident_share": r.cache.resident_share,
             "warmup_rounds": r.cache.warmup_rounds, "settled": r.cache.settled}
            for host, r in zip(hosts, records, strict=True)
            if r.cache.resident_share is not None or r.cache.warmup_rounds
        ],
    )  # fmt: skip


def _rate(active: Sequence[PointRecord], queries: int, seconds: float, *, early: bool) -> float:
    """Queries per second over all clients.

    A wish to stop does not reach all of them at once: then each has a window of its own.
    """
    if early:
        own = [record for record in active if record.window_seconds]
        return math.fsum(record.queries / record.window_seconds for record in own)
    return queries / seconds if seconds else 0.0


def counted_by(records: Sequence[PointRecord | Verification], *, counted: bool) -> list[Counted]:
    """What was read, by every source that has counted it, the most trustworthy first.

    The engine's own counters, then the control group's block reads, then the processes' bytes.
    """
    active = [record for record in records if record.active]
    found = []
    own = _sum_of([record.own_bytes for record in active], every=True)
    if own is not None:
        own_reads = _sum_of([record.own_reads for record in active], every=True)
        found.append(Counted("the engine's own counters", own, own_reads))
    group = _sum_of([record.group_bytes for record in records])
    if group is not None:
        name = next(record.group_source for record in records if record.group_source)
        reads = _sum_of([record.group_reads for record in records])
        found.append(Counted(name, group, reads))
    if counted:
        moved = sum(record.read_bytes for record in active)
        found.append(Counted("the processes' read_bytes", moved, None))
    return found


def agreement_of(sources: Sequence[Counted]) -> float | None:
    """The difference of the engine's own counters from the processes', relative to the larger.

    The control group is left out: its window is the host's, not that of each client.

    >>> agreement_of([Counted("the engine's own counters", 99, 1),
    ...               Counted("the processes' read_bytes", 100, None)])
    0.01
    """
    named = {one.source: one.bytes for one in sources}
    own, kernel = (
        named.get("the engine's own counters"),
        named.get("the processes' read_bytes"),
    )
    if own is None or kernel is None or not max(own, kernel):
        return None
    return abs(own - kernel) / max(own, kernel)


def _sum_of(values: Sequence[int | None], *, every: bool = False) -> int | None:
    """The sum of what is known; None if nothing is, or with `every` if anything is not."""
    known = [value for value in values if value is not None]
    if not known or (every and len(known) != len(values)):
        return None
    return sum(known)


def _merged(active: Sequence[PointRecord]) -> dict[int, int]:
    return merge([{int(b): n for b, n in record.latency_us.items()} for record in active])


def _latency(active: Sequence[PointRecord], requests: int) -> dict[str, float]:
    """Percentiles, mean and maximum of the requests' latencies, in milliseconds."""
    counts = _merged(active)
    total = math.fsum(record.latency_sum_us for record in active)
    return {
        "mean": total / requests / 1000 if requests else 0.0,
        **{f"p{share:g}": percentile(counts, share / 100) / 1000 for share in _PERCENTILES},
        "max": max((record.latency_max_us for record in active), default=0.0) / 1000,
    }


def _host_shares(records: Sequence[PointRecord], hosts: Sequence[str]) -> tuple[float, float]:
    """How busy the busiest host's processors were, and how long they waited for I/O, 0 to 1."""
    busy, waiting = 0.0, 0.0
    for host in set(hosts):
        mine = [r for r, name in zip(records, hosts, strict=True) if name == host and r.active]
        for record in mine[:1]:
            room = record.window_seconds * record.host_cpus
            busy = max(busy, record.host_busy_seconds / room)
            waiting = max(waiting, record.host_iowait_seconds / room)
    return busy, waiting
