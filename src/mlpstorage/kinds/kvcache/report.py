"""The KV cache in reports: figures of runs, the curve over users, the windows, the ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.kinds.kvcache.result_rules import RESULT_RULES
from mlpstorage.kinds.kvcache.rules import PLAN_RULES
from mlpstorage.kinds.kvcache.set_rules import SET_RULES
from mlpstorage.kinds.reporting import RunFacts, rules_edition, setup_hash, summary_of, unrecorded
from mlpstorage.kinds.run_details import Problems, common_details, finite, rank_outputs, spread_over
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

_GB = 1e9
_SCORE = "score"
_EACH = 3  # the published score of an option: what it measures, how often


class _Latency(msgspec.Struct, frozen=True):
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class _Restore(msgspec.Struct, frozen=True):
    all: _Latency | None = None


class _Series(msgspec.Struct, frozen=True):
    read_bytes: tuple[float, ...] = ()
    written_bytes: tuple[float, ...] = ()


class _Metric(msgspec.Struct, frozen=True):
    read_gbps: float | None = None
    write_gbps: float | None = None
    tokens_restored_per_s: float | None = None
    hit_rate_tokens_storage: float | None = None
    ttft_storage_ms: _Restore | None = None
    block_read_ms: _Latency | None = None
    block_write_ms: _Latency | None = None
    cpu_cores_per_GBps: float | None = None  # noqa: N815 (the file's key)
    series: _Series | None = None


class _Point(msgspec.Struct, frozen=True):
    users: int = 0
    met: bool = False
    read_bytes_per_second: float | None = None
    write_bytes_per_second: float | None = None
    restore_p50_ms: float | None = None
    restore_p95_ms: float | None = None


class _Published(msgspec.Struct, frozen=True):
    """The score of a published option, as this program writes it."""

    read_gbps: float | None = None
    write_gbps: float | None = None
    block_read_p95_ms: float | None = None
    block_write_p95_ms: float | None = None
    trial_count: int | None = None
    rank_count: int | None = None


class _Option(msgspec.Struct, frozen=True):
    """The score of an option as the published tool writes it."""

    aggregated_read_bandwidth_gbps: float | None = None
    aggregated_write_bandwidth_gbps: float | None = None
    aggregated_throughput_tokens_per_sec: float | None = None
    max_read_device_p95_ms: float | None = None
    max_write_device_p95_ms: float | None = None


class Summary(msgspec.Struct, frozen=True):
    """A summary of a KV-cache run: ours, or that of the published tool (`options`)."""

    mode: str | None = None
    num_ranks: int | None = None
    num_hosts: int | None = None
    host_count: int | None = None
    users: int | None = None
    max_users_at_slo: int | None = None
    cached_share: float | None = None
    metric: _Metric | None = None
    search: tuple[_Point, ...] = ()
    mlperf_v3: _Published | None = None
    options: dict[str, _Option] = {}
    bottleneck: Any = None


class _RankRecord(msgspec.Struct, frozen=True):
    read_bytes: int | None = None
    written_bytes: int | None = None
    window_ns: int | None = None


class _RankPhase(msgspec.Struct, frozen=True):
    name: str = ""
    record: _RankRecord | None = None


class _Output(msgspec.Struct, frozen=True):
    hostname: str = ""
    phases: tuple[_RankPhase, ...] = ()


@dataclass(frozen=True)
class KvCacheReporter:
    """See `Reporter`."""

    kind: str = "kv_cache"
    set_rules: tuple[Rule[SetSubject], ...] = SET_RULES
    least_runs: int = 1
    result_needs: str = "a run that ended"

    def setup(self, run: StoredRun) -> str:
        """All parameters but the seed."""
        return setup_hash({k: v for k, v in run.parameters.items() if k != "seed"})

    def facts(self, run: StoredRun) -> RunFacts:
        """Users, rates and latencies."""
        summary = summary_of(run, Summary)
        if isinstance(summary, RunFacts):
            return summary
        metrics = (*_metrics(summary), *_published(summary))
        if not metrics:
            return RunFacts(problem=f"{run.summary}: it has no figures of a KV cache")
        ours = run.origin == OURS
        score = summary.mlperf_v3
        return RunFacts(
            metrics=metrics,
            hosts=summary.num_hosts or summary.host_count,
            setup=self.setup(run) if ours else "",
            unjudged=() if ours else unrecorded((*PLAN_RULES, *RESULT_RULES), rules_edition(run)),
            limits=limits_of(summary.bottleneck),
            figures={
                "option": run.parameters.get("v3_option") or "",
                "trials": score.trial_count if score else None,
                "ranks": score.rank_count if score else None,
                "autoscaling": run.options.get("enable_autoscaling"),
            },
        )

    def details(self, run: StoredRun) -> RunDetails:
        """The curve over users, the windows of the score, and the ranks' rates."""
        problems = Problems()
        details = common_details(run, problems)
        if run.summary is None:
            return replace(details, problems=tuple(problems))
        summary = problems.attempt(lambda: read_as(run.summary, Summary), Summary())  # type: ignore[arg-type] # not None here
        ranks = rank_outputs(run, _Output, problems) if run.origin == OURS else []
        return replace(
            details,
            curves=_curves(summary),
            ranks=_rank_spreads(ranks),
            problems=tuple(problems),
        )

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Each by itself: a run has its trials inside."""
        return [[member] for member in members]

    def has_warm_up(self, _edition: str, _count: int) -> bool:
        """A run fills its cache itself."""
        return False

    def size_record(self, _run: StoredRun) -> dict[str, Any] | None:
        """No record of its own."""
        return None


def _metrics(summary: Summary) -> tuple[Metric, ...]:
    found = summary.metric or _Metric()
    restore = (found.ttft_storage_ms.all if found.ttft_storage_ms else None) or _Latency()
    read = found.block_read_ms or _Latency()
    write = found.block_write_ms or _Latency()
    lower, higher = Better.LOWER, Better.HIGHER
    cached, hits = summary.cached_share, found.hit_rate_tokens_storage
    rows = (
        ("max_users_at_slo", "users within the SLO", summary.max_users_at_slo, "users", higher,
         True),
        ("kv_read_GB_per_second", "read", found.read_gbps, "GB/s", higher, True),
        ("kv_write_GB_per_second", "written", found.write_gbps, "GB/s", higher, True),
        ("restore_p95_ms", "restore, p95", restore.p95, "ms", lower, True),
        ("restore_p50_ms", "restore, median", restore.p50, "ms", lower, False),
        ("restore_max_ms", "restore, longest", restore.max, "ms", lower, False),
        ("tokens_restored_per_second", "restored", found.tokens_restored_per_s, "tokens/s", higher,
         False),
        ("block_read_p95_ms", "block read, p95", read.p95, "ms", lower, False),
        ("block_write_p95_ms", "block write, p95", write.p95, "ms", lower, False),
        ("hit_percent", "hits in storage", None if hits is None else 100 * hits, "%",
         Better.NEUTRAL, False),
        ("cached_percent", "from the page cache", None if cached is None else 100 * cached, "%",
         lower, False),
        ("users", "users", summary.users, "users", Better.NEUTRAL, False),
        ("cpu_cores_per_GB_per_second", "client CPU", found.cpu_cores_per_GBps, "cores per GB/s",
         lower, False),
    )  # fmt: skip
    return finite(
        *(
            None if value is None else Metric(name, label, float(value), unit, better, headline)
            for name, label, value, unit, better, headline in rows
        )
    )


def _published(summary: Summary) -> tuple[Metric, ...]:
    """The scores of options that the published tool wrote."""
    metrics: list[Metric] = []
    for name, option in summary.options.items():
        rows = (
            ("read_GB_per_second", "read", option.aggregated_read_bandwidth_gbps, "GB/s",
             Better.HIGHER),
            ("write_GB_per_second", "written", option.aggregated_write_bandwidth_gbps, "GB/s",
             Better.HIGHER),
            ("tokens_per_second", "tokens", option.aggregated_throughput_tokens_per_sec,
             "tokens/s", Better.HIGHER),
            ("read_p95_ms", "device read, p95", option.max_read_device_p95_ms, "ms", Better.LOWER),
            ("write_p95_ms", "device write, p95", option.max_write_device_p95_ms, "ms",
             Better.LOWER),
        )  # fmt: skip
        metrics += [
            Metric(
                f"option_{name}_{key}", f"option {name}: {label}", value, unit, better, n < _EACH
            )
            for n, (key, label, value, unit, better) in enumerate(rows)
            if value is not None
        ]
    return finite(*metrics)


def _curves(summary: Summary) -> tuple[Curve, ...]:
    curves = []
    points = sorted(summary.search, key=lambda point: point.users)
    if points:
        x = tuple(float(point.users) for point in points)
        lines = tuple(
            Line(name, x, values)
            for name, values in (
                ("median", tuple(point.restore_p50_ms for point in points)),
                ("p95", tuple(point.restore_p95_ms for point in points)),
            )
        )
        curves.append(Curve("Restore latency by users", "users", "ms", lines))
        rates = tuple(_scaled(point.read_bytes_per_second) for point in points)
        curves.append(Curve("Read throughput by users", "users", "GB/s", (Line("read", x, rates),)))
    series = (summary.metric.series if summary.metric else None) or _Series()
    lines = tuple(
        Line(name, tuple(float(n) for n in range(len(values))), tuple(_scaled(v) for v in values))
        for name, values in (("read", series.read_bytes), ("written", series.written_bytes))
        if values
    )
    if lines:
        curves.append(Curve("Throughput of the score", "second", "GB/s", lines, points=False))
    return tuple(curves)


def _scaled(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value / _GB


def _rank_spreads(ranks: list[tuple[int, _Output]]) -> tuple[RankSpread, ...]:
    """The rates of each rank in its last score."""
    read: list[tuple[int, str, float]] = []
    written: list[tuple[int, str, float]] = []
    for rank, output in ranks:
        scores = [p.record for p in output.phases if p.name == _SCORE and p.record]
        last = scores[-1] if scores else None
        if last is None or not last.window_ns:
            continue
        for rows, moved in ((read, last.read_bytes), (written, last.written_bytes)):
            if moved is not None:
                rows.append((rank, output.hostname, moved / last.window_ns))
    return (*spread_over("read", "GB/s", read), *spread_over("written", "GB/s", written))


REPORTER: Reporter = KvCacheReporter()
