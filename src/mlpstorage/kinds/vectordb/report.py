"""Vector search in reports: figures of runs, ours and others', the sweep over clients."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.kinds.reporting import RunFacts, rules_edition, setup_hash, summary_of, unrecorded
from mlpstorage.kinds.run_details import Problems, common_details, finite, rank_outputs, spread_over
from mlpstorage.kinds.sittings import by_sitting
from mlpstorage.kinds.vectordb.result_rules import RESULT_RULES
from mlpstorage.kinds.vectordb.rules import PLAN_RULES
from mlpstorage.kinds.vectordb.set_rules import RUNS, SET_RULES
from mlpstorage.report.limits import limits_of
from mlpstorage.report.model import (
    Better,
    Curve,
    Line,
    Metric,
)
from mlpstorage.store.files import read_as
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.rules import Rule
    from mlpstorage.kinds.reporting import Member, Reporter, SetSubject
    from mlpstorage.report.model import (
        RankSpread,
        RunDetails,
    )
    from mlpstorage.store.runs import StoredRun


class _Point(msgspec.Struct, frozen=True):
    clients: int = 0
    rate: float | None = None
    qps: float | None = None
    latency_ms: dict[str, float | None] = {}
    bytes_per_query: float | None = None
    cpu_share: float | None = None


class _Load(msgspec.Struct, frozen=True):
    vectors_per_second: float | None = None
    index_seconds: float | None = None
    index_vectors_per_second: float | None = None
    disk_bytes: float | None = None
    space_amplification: float | None = None


class _Backend(msgspec.Struct, frozen=True):
    name: str | None = None
    index: str | None = None


class Summary(msgspec.Struct, frozen=True):
    """A summary of vector search: the keys that tools of the field write, then ours."""

    num_vectors: int | None = None
    dimension: int | None = None
    index_type: str | None = None
    inserted_vectors: int | None = None
    throughput_qps: float | None = None
    mean_latency_ms: float | None = None
    p50_latency_ms: float | None = None
    median_latency_ms: float | None = None
    p95_latency_ms: float | None = None
    p99_latency_ms: float | None = None
    recall: float | dict[str, msgspec.Raw] | None = None
    backend: _Backend | None = None
    load: _Load | None = None
    scored_point: int | None = None
    points: tuple[_Point, ...] = ()
    num_hosts: int | None = None
    bottleneck: Any = None


class _RankPoint(msgspec.Struct, frozen=True):
    queries: int | None = None
    window_seconds: float | None = None


class _Output(msgspec.Struct, frozen=True):
    hostname: str = ""
    points: tuple[_RankPoint, ...] = ()


@dataclass(frozen=True)
class VectorReporter:
    """See `Reporter`."""

    kind: str = "vector_database"
    set_rules: tuple[Rule[SetSubject], ...] = SET_RULES
    least_runs: int = RUNS
    result_needs: str = f"{RUNS} runs (rule 5.3.1): --loops {RUNS}"

    def setup(self, run: StoredRun) -> str:
        """All parameters."""
        return setup_hash(run.parameters)

    def facts(self, run: StoredRun) -> RunFacts:
        """Queries per second, recall and latencies."""
        summary = summary_of(run, Summary)
        if isinstance(summary, RunFacts):
            return summary
        metrics = _metrics(summary)
        if not metrics:
            return RunFacts(problem=f"{run.summary}: it has no figures of vector search")
        ours = run.origin == OURS
        return RunFacts(
            metrics=metrics,
            hosts=summary.num_hosts,
            setup=self.setup(run) if ours else "",
            unjudged=() if ours else unrecorded((*PLAN_RULES, *RESULT_RULES), rules_edition(run)),
            limits=limits_of(summary.bottleneck),
            figures={
                "vectors": summary.num_vectors,
                "inserted": summary.inserted_vectors,
                "dimension": summary.dimension,
                "index": summary.index_type,
                "built": bool(summary.load and summary.load.index_seconds is not None),
                "asked_dimension": _asked(run, "dimension"),
                "asked_vectors": _asked(run, "num_vectors"),
                "foreign": not ours,
            },
        )

    def details(self, run: StoredRun) -> RunDetails:
        """The sweep over clients, and each rank's queries at the scored point."""
        problems = Problems()
        details = common_details(run, problems)
        if run.summary is None:
            return replace(details, problems=tuple(problems))
        summary = problems.attempt(lambda: read_as(run.summary, Summary), Summary())  # type: ignore[arg-type] # not None here
        ranks = rank_outputs(run, _Output, problems) if run.origin == OURS else []
        return replace(
            details,
            curves=_curves(summary),
            ranks=_rank_spreads(ranks, summary.scored_point),
            problems=tuple(problems),
        )

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Runs of one sitting."""
        return by_sitting(members)

    def has_warm_up(self, _edition: str, _count: int) -> bool:
        """A run warms up itself, or begins with cold caches on purpose."""
        return False

    def size_record(self, _run: StoredRun) -> dict[str, Any] | None:
        """No record of its own."""
        return None


def _asked(run: StoredRun, name: str) -> int | None:
    dataset = run.parameters.get("dataset")
    found = dataset.get(name) if isinstance(dataset, dict) else None
    return found if isinstance(found, int) else None


def _metrics(summary: Summary) -> tuple[Metric, ...]:
    load = summary.load or _Load()
    point = _scored(summary)
    recall = summary.recall if isinstance(summary.recall, float) else None
    median = summary.p50_latency_ms if summary.p50_latency_ms is not None else (
        summary.median_latency_ms
    )  # fmt: skip
    lower, higher, neutral = Better.LOWER, Better.HIGHER, Better.NEUTRAL
    rows = (
        ("queries_per_second", "score", summary.throughput_qps, "queries/s", higher, True),
        ("recall", "recall", recall, "", higher, True),
        ("query_p99_ms", "query, p99", summary.p99_latency_ms, "ms", lower, True),
        ("query_p95_ms", "query, p95", summary.p95_latency_ms, "ms", lower, False),
        ("query_p50_ms", "query, median", median, "ms", lower, False),
        ("query_mean_ms", "query, mean", summary.mean_latency_ms, "ms", lower, False),
        ("bytes_per_query", "read per query", point.bytes_per_query, "bytes", neutral, False),
        (
            "client_cpu_percent", "busiest client's CPU",
            None if point.cpu_share is None else 100 * point.cpu_share, "%", neutral, False,
        ),
        ("load_vectors_per_second", "loaded", load.vectors_per_second, "vectors/s", higher, False),
        ("index_vectors_per_second", "indexed", load.index_vectors_per_second, "vectors/s", higher,
         False),
        ("index_space_amplification", "on storage", load.space_amplification, "× the vectors",
         lower, False),
    )  # fmt: skip
    return finite(
        *(
            None if value is None else Metric(name, label, float(value), unit, better, headline)
            for name, label, value, unit, better, headline in rows
        )
    )


def _scored(summary: Summary) -> _Point:
    at = summary.scored_point
    return summary.points[at] if at is not None and 0 <= at < len(summary.points) else _Point()


def _curves(summary: Summary) -> tuple[Curve, ...]:
    points = sorted(
        (point for point in summary.points if point.rate is None), key=lambda point: point.clients
    )
    if not points:
        return ()
    x = tuple(float(point.clients) for point in points)
    qps = Line("queries/s", x, tuple(point.qps for point in points))
    latencies = tuple(
        Line(name, x, tuple(point.latency_ms.get(name) for point in points))
        for name in ("p50", "p95", "p99")
    )
    return (
        Curve("Queries per second by clients", "clients", "queries/s", (qps,)),
        Curve("Latency by clients", "clients", "ms", latencies),
    )


def _rank_spreads(ranks: list[tuple[int, _Output]], scored: int | None) -> tuple[RankSpread, ...]:
    rows: list[tuple[int, str, float]] = []
    for rank, output in ranks:
        at = -1 if scored is None else scored
        point = output.points[at] if -1 <= at < len(output.points) and output.points else None
        if point and point.queries is not None and point.window_seconds:
            rate = point.queries / point.window_seconds
            if math.isfinite(rate):
                rows.append((rank, output.hostname, rate))
    return spread_over("queries", "queries/s", rows)


REPORTER: Reporter = VectorReporter()
