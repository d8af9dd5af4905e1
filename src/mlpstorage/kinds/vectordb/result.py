"""What the ranks of a vector run measured: metrics, evidence, files and sections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.plan import Outcome
from mlpstorage.core.rules import Phase, judge
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.stats import stdev
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.vectordb.bottleneck import evidence_of, told
from mlpstorage.kinds.vectordb.metrics import counted_by, metrics_of
from mlpstorage.kinds.vectordb.record import RankRecord
from mlpstorage.kinds.vectordb.result_rules import RESULT_RULES, PointSubject, ResultSubject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.events import RankResult
    from mlpstorage.engine.vectors.manifest import VectorManifest
    from mlpstorage.kinds.vectordb.backends.interface import Description
    from mlpstorage.kinds.vectordb.metrics import PointMetrics
    from mlpstorage.kinds.vectordb.record import CollectionRecord
    from mlpstorage.kinds.vectordb.workload import Workload


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run without its ranks.

    `counted` says whether the kernel counts reads of the index's filesystem by process, `timed`
    that points end by time and not by a number of queries.
    """

    workload: Workload
    backend: Description
    manifest: VectorManifest
    effort_name: str
    batch: int
    filesystem: str
    counted: bool
    exceeds_memory: bool
    timed: bool


@dataclass(frozen=True)
class Measured:
    """The records of all ranks, and the host of each."""

    ranks: tuple[RankRecord, ...]
    hosts: tuple[str, ...]
    collection: CollectionRecord
    recalls: tuple[float, ...]

    @classmethod
    def of(cls, results: Sequence[RankResult], points: int | None = None) -> Measured:
        """Check that every rank did every point, and found the same effort.

        With `points`, these first points are all that there are, none perhaps.

        Raises:
            BenchmarkError: a rank's record is incomplete.
        """
        ranks = tuple(msgspec.convert(r.data, RankRecord) for r in results)
        if points is not None:
            ranks = tuple(
                msgspec.structs.replace(r, plans=r.plans[:points], points=r.points[:points])
                for r in ranks
            )
        first = ranks[0]
        if first.collection is None or not (first.plans or points == 0):
            raise BenchmarkError("rank 0 delivered no collection and no points")
        for result, record in zip(results, ranks, strict=True):
            if len(record.points) != len(first.plans) or record.effort != first.effort:
                raise BenchmarkError(
                    f"rank {result.rank} on {result.host} did {len(record.points)} of "
                    f"{len(first.plans)} points",
                    why="a result counts only when every rank did all of its work",
                )
        found = tuple(sorted(v for record in ranks for v in record.verification.recalls))
        return cls(ranks, tuple(r.host for r in results), first.collection, found)

    @property
    def recall(self) -> float:
        """The mean over all queries with exact neighbours; nan for none."""
        return math.fsum(self.recalls) / len(self.recalls) if self.recalls else math.nan

    @property
    def recall_p5(self) -> float:
        """What 95 % of the queries reach."""
        return self.recalls[len(self.recalls) // 20] if self.recalls else math.nan

    def points(self, facts: RunFacts) -> tuple[PointMetrics, ...]:
        """The metrics of every point."""
        return tuple(
            metrics_of(
                plan,
                [record.points[place] for record in self.ranks],
                self.hosts,
                k=facts.workload.search.k,
                dimension=facts.workload.dataset.dimension,
                pool=facts.manifest.spec.queries,
                counted=facts.counted and not facts.backend.server,
            )
            for place, plan in enumerate(self.ranks[0].plans)
        )


def outcome_of(
    results: Sequence[RankResult], facts: RunFacts, points_done: int | None = None
) -> Outcome:
    """The outcome of a run whose ranks have all delivered.

    `points_done` are the points of a run that was stopped; with none of them nothing is judged.

    Raises:
        BenchmarkError: a rank's record is incomplete.
    """
    measured = Measured.of(results, points_done)
    points = measured.points(facts)
    if not points:
        summary = _summary(measured, points, None, facts)
        built = measured.collection.status == "built"
        return Outcome(
            summary=summary,
            issues=(),
            sections=(_index_section(measured, facts, summary),) if built else (),
            rank_outputs=tuple({"hostname": r.host, **r.data} for r in results),
        )
    scored = scored_point(points, facts.workload.search.slo_ms)
    subject = ResultSubject(
        workload=facts.workload,
        recall=measured.recall,
        recall_p5=measured.recall_p5,
        recall_queries=len(measured.recalls),
        points=tuple(_point_subject(point) for point in points),
        scored=scored,
        query_reuse=max(point.query_reuse for point in points),
        index_bytes=measured.collection.disk_bytes,
        cap_bytes=measured.ranks[0].memory_cap_bytes,
        exceeds_memory=facts.exceeds_memory,
        source=points[0].source,
        counted=points[0].bytes_per_query is not None,
        recall_deviation=stdev(measured.recalls),
        timed=facts.timed,
    )
    summary = _summary(measured, points, scored, facts)
    return Outcome(
        summary=summary,
        issues=tuple(judge(RESULT_RULES, subject, phase=Phase.RESULT)),
        sections=(
            _index_section(measured, facts, summary),
            _score_section(measured, points, scored, facts, summary["bottleneck"]),
            _sweep_section(points),
        ),
        rank_outputs=tuple({"hostname": r.host, **r.data} for r in results),
    )


def scored_point(points: Sequence[PointMetrics], slo_ms: float) -> int | None:
    """The point of most queries per second among those that keep the p99 latency; None for none.

    One that was ended early counts only where there is no other.
    """
    whole = [point for point in points if not point.ended_early] or points
    kept = [
        number
        for number, point in enumerate(points)
        if point.queries
        and point.latency_ms["p99"] <= slo_ms
        and not point.overdue
        and point in whole
    ]
    return max(kept, key=lambda number: points[number].qps) if kept else None


def _point_subject(point: PointMetrics) -> PointSubject:
    return PointSubject(
        clients=point.clients,
        queries=point.queries,
        failed=point.failed,
        overdue=point.overdue,
        seconds=point.seconds,
        least_seconds=point.least_seconds,
        bytes_per_query=point.bytes_per_query,
        cpu_share=point.cpu_share,
        p99_ms=point.latency_ms["p99"],
        agreement=point.agreement,
        recall=point.recall,
        recall_queries=point.recall_queries,
    )


def _summary(
    measured: Measured,
    points: tuple[PointMetrics, ...],
    scored: int | None,
    facts: RunFacts,
) -> dict[str, Any]:
    """The summary document: the keys that tools of the field read first, then ours."""
    data, record = facts.workload.dataset, measured.collection
    raw = record.vectors * record.dimension * 4
    first = measured.ranks[0]
    recall = measured.recall if measured.recalls else None
    return {
        "num_vectors": record.vectors,
        "dimension": record.dimension,
        "index_type": record.index,
        "inserted_vectors": first.rows,
        "query_count": sum(point.queries for point in points),
        "query_reuse": sum(point.queries for point in points) / facts.manifest.spec.queries,
        **_headline(points, scored),
        "recall": recall,
        "recall_stats": {
            "k": facts.workload.search.k,
            "mean_recall": recall,
            "p5_recall": measured.recall_p5 if measured.recalls else None,
            "min_recall": measured.recalls[0] if measured.recalls else None,
            "below_half": sum(v < 0.5 for v in measured.recalls) / len(measured.recalls)  # noqa: PLR2004
            if measured.recalls
            else None,
            "num_queries_evaluated": len(measured.recalls),
            "target": facts.workload.search.target_recall,
        },
        "recall_reads": _recall_reads(measured, facts),
        "dataset": {
            "hash": facts.manifest.dataset_hash,
            "query_hash": facts.manifest.query_hash,
            "metric": facts.manifest.spec.metric,
            "distribution": facts.manifest.spec.distribution,
            "seed": data.seed,
            **msgspec.to_builtins(facts.manifest.structure),
        },
        "backend": {
            "name": facts.backend.name,
            "database": facts.backend.database,
            "index": record.index,
            "version": first.version,
            "parameters_asked": record.asked,
            "parameters_effective": record.effective,
            "effort": {facts.effort_name: first.effort or None, "calibrated": first.calibrated},
        },
        "calibration": [msgspec.to_builtins(step) for step in first.steps],
        "storage": {"filesystem": facts.filesystem},
        "memory_cap_bytes": first.memory_cap_bytes,
        "counter_source": points[0].source if points else None,
        "memory_resident": any((point.bytes_per_query or 0) == 0 for point in points)
        if points
        else None,
        "load": _load(record, raw, reused=first.reused),
        **_bottleneck(measured, points, scored, facts),
        "slo_p99_ms": facts.workload.search.slo_ms,
        "scored_point": scored,
        "points": [point.as_dict() for point in points],
        "num_hosts": len(set(measured.hosts)),
        "hosts": sorted(set(measured.hosts)),
    }


def _bottleneck(
    measured: Measured, points: tuple[PointMetrics, ...], scored: int | None, facts: RunFacts
) -> dict[str, Any]:
    """What limited the scored point, or the fastest; nothing where nothing was measured."""
    if not points:
        return {}
    place = _best(points, scored)
    records = [record.points[place] for record in measured.ranks]
    server = facts.backend.server
    return {"bottleneck": told(evidence_of(points[place], records, measured.hosts, server=server))}


def _best(points: Sequence[PointMetrics], scored: int | None) -> int:
    """The scored point, or the fastest where none is."""
    return scored if scored is not None else max(range(len(points)), key=lambda n: points[n].qps)


def _headline(points: Sequence[PointMetrics], scored: int | None) -> dict[str, Any]:
    """The figures of the scored point, or of the fastest; of none where nothing was measured."""
    if not points:
        return {}
    best = points[_best(points, scored)]
    return {
        "throughput_qps": best.qps,
        "total_queries": best.queries,
        "total_time_seconds": best.seconds,
        "mean_latency_ms": best.latency_ms["mean"],
        "p50_latency_ms": best.latency_ms["p50"],
        "p95_latency_ms": best.latency_ms["p95"],
        "p99_latency_ms": best.latency_ms["p99"],
        "p999_latency_ms": best.latency_ms["p99.9"],
        "failed_batches": best.failed,
    }


def _recall_reads(measured: Measured, facts: RunFacts) -> dict[str, dict[str, float | None]]:
    """What the queries with exact neighbours read, per query, by every source.

    They are the same in every run: an engine that bypasses the page cache reads the same for them,
    cold or warm, alone or together.
    """
    shares = [record.verification for record in measured.ranks]
    asked = sum(share.queries for share in shares)
    if not asked:
        return {}
    counted = facts.counted and not facts.backend.server
    return {
        one.source: {
            "bytes_per_query": one.bytes / asked,
            "reads_per_query": one.reads / asked if one.reads is not None else None,
        }
        for one in counted_by(shares, counted=counted)
    }


def _load(record: CollectionRecord, raw: int, *, reused: bool) -> dict[str, Any]:
    loaded = record.vectors - record.resumed_from
    seconds = record.load_seconds + record.flush_seconds
    return {
        "reused": reused,
        "created": record.created,
        "vectors_per_second": loaded / seconds if seconds else None,
        "megabytes_per_second": loaded * record.dimension * 4 / seconds / 1e6 if seconds else None,
        "load_seconds": record.load_seconds,
        "flush_seconds": record.flush_seconds,
        "index_seconds": record.build_seconds,
        "index_vectors_per_second": record.vectors / record.build_seconds
        if record.build_seconds
        else None,
        "resumed_from": record.resumed_from,
        "bytes_written": record.bytes_written,
        "write_amplification": record.bytes_written / raw if record.bytes_written else None,
        "disk_bytes": record.disk_bytes,
        "space_amplification": record.disk_bytes / raw if record.disk_bytes else None,
        "peak_memory_bytes": record.peak_memory_bytes,
    }


def _index_section(measured: Measured, facts: RunFacts, summary: dict[str, Any]) -> Section:
    record, load = measured.collection, summary["load"]
    made = f"made {record.created}" if load["reused"] else "made by this run"
    version = ", ".join(f"{name} {value}" for name, value in measured.ranks[0].version.items())
    parameters = ", ".join(f"{name}={value}" for name, value in record.effective.items())
    space = load["space_amplification"]
    return Section(
        f"index: {record.backend} {record.index}",
        rows=(
            Row("engine", version, "" if facts.backend.database else "a probe, not a database"),
            Row("parameters", parameters, "as the engine has them"),
            Row("loaded", f"{load['vectors_per_second'] or 0:.0f} vectors/s", made),
            Row("built", format_seconds(load["index_seconds"]), f"{record.vectors} vectors"),
            Row(
                "on storage",
                format_bytes(load["disk_bytes"] or 0),
                "" if space is None else f"{space:.2f} × the vectors",
            ),
        ),
    )


def _score_section(
    measured: Measured,
    points: tuple[PointMetrics, ...],
    scored: int | None,
    facts: RunFacts,
    limit: dict[str, Any],
) -> Section:
    search, first = facts.workload.search, measured.ranks[0]
    how = "calibrated" if first.calibrated else "given"
    rows = [
        Row(
            f"recall@{search.k}",
            f"{measured.recall:.4f}",
            f"{len(measured.recalls)} queries, target {search.target_recall:g}",
        ),
        Row("effort", f"{facts.effort_name} {first.effort}", how),
    ]
    if scored is None:
        rows.append(Row("score", "none", f"no point keeps p99 <= {search.slo_ms:g} ms"))
    else:
        best = points[scored]
        rows += [
            Row(
                "score",
                f"{best.qps:.1f} queries/s",
                f"{best.clients} clients, p99 {best.latency_ms['p99']:.2f} ms",
            ),
            *_io_rows(best),
        ]
    rows.append(Row("bottleneck", limit["verdict"], limit["explanation"]))
    return Section("result", rows=tuple(rows))


def _io_rows(best: PointMetrics) -> tuple[Row, ...]:
    if best.bytes_per_query is None:
        return (Row("storage", "not counted", best.source),)
    reads = "" if best.reads_per_query is None else f"{best.reads_per_query:.2f} reads"
    return (
        Row("per query", format_bytes(best.bytes_per_query), f"{reads}, by {best.source}"),
        Row("read", f"{(best.read_bytes_per_second or 0) / 1e6:.1f} MB/s"),
        Row("processor", f"{best.cpu_ms_per_query:.2f} ms per query", "of the clients"),
    )


def _sweep_section(points: tuple[PointMetrics, ...]) -> Section:
    head = ("clients", "rate", "queries/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms",
            "bytes/query", "reads/query", "amplif.", "CPU ms/query", "CPU %")  # fmt: skip
    body = tuple(
        (
            str(point.clients),
            "closed loop" if point.rate is None else f"{point.rate:.0f}/s",
            f"{point.qps:.1f}",
            *(f"{point.latency_ms[name]:.2f}" for name in ("p50", "p95", "p99", "p99.9")),
            _or_dash(point.bytes_per_query, "{:.0f}"),
            _or_dash(point.reads_per_query, "{:.2f}"),
            _or_dash(point.read_amplification, "{:.1f}"),
            f"{point.cpu_ms_per_query:.2f}",
            f"{100 * point.cpu_share:.0f}",
        )
        for point in points
    )
    return Section("sweep", table=Table(head, body))


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
