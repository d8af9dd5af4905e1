"""Training in reports: figures of runs, ours and DLIO's, their curves and the ranks' spread."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.measures import number
from mlpstorage.core.stats import mean
from mlpstorage.kinds.reporting import RunFacts, setup_hash, summary_of
from mlpstorage.kinds.run_details import (
    Problems,
    common_details,
    finite,
    hosts_of,
    rank_outputs,
    spread_over,
    utc,
)
from mlpstorage.kinds.sittings import by_sitting
from mlpstorage.kinds.training.datasize_record import datasize_record
from mlpstorage.kinds.training.elsewhere import DlioFigures, judge_elsewhere
from mlpstorage.kinds.training.set_rules import MEASURED, SET_RULES
from mlpstorage.report.limits import limits_of
from mlpstorage.report.model import (
    Better,
    Curve,
    HostView,
    Line,
    Metric,
    PhaseSpan,
)
from mlpstorage.store.files import read_as
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.rules import Rule
    from mlpstorage.kinds.reporting import Member, Reporter, SetSubject
    from mlpstorage.kinds.run_details import (
        HostRecord,
    )
    from mlpstorage.report.model import (
        RankSpread,
        RunDetails,
    )
    from mlpstorage.store.runs import StoredRun

_WARM_UP_RUNS = 6


class _Metric(msgspec.Struct, frozen=True):
    """The figures under `metric`, with the reference engine's keys; its MB is 2²⁰ bytes."""

    train_au_percentage: tuple[float | None, ...] = ()
    train_au_mean_percentage: float | None = None
    train_throughput_samples_per_second: tuple[float | None, ...] = ()
    train_throughput_mean_samples_per_second: float | None = None
    train_io_mean_MB_per_second: float | None = None  # noqa: N815 (the file's key)


class _Latency(msgspec.Struct, frozen=True):
    p50: float | None = None
    p99: float | None = None


class Summary(msgspec.Struct, frozen=True):
    """A summary of training: what DLIO writes, then what is ours."""

    metric: _Metric | None = None
    num_accelerators: int | None = None
    num_hosts: int | None = None
    num_files_train: int | None = None
    num_samples_per_file: int | None = None
    host_memory_GB: tuple[float, ...] = ()  # noqa: N815 (the file's key)
    hostname: str | None = None
    epochs: int | None = None
    start: str | None = None
    end: str | None = None
    bottleneck: Any = None
    file_read_latency_us: _Latency | None = None
    host_cpuinfo: dict[str, str] = {}
    host_meminfo: dict[str, str] = {}


class _Span(msgspec.Struct, frozen=True):
    start: str | None = None
    end: str | None = None


class _Block(msgspec.Struct, frozen=True):
    block1: float | None = None


class _Counters(msgspec.Struct, frozen=True):
    start: str | None = None
    end: str | None = None
    read_bytes: int | None = None
    block_seconds: float | None = None


class _Epoch(msgspec.Struct, frozen=True):
    au: _Block | None = None
    throughput: _Block | None = None
    counters: _Counters | None = None


@dataclass(frozen=True)
class TrainingReporter:
    """See `Reporter`."""

    kind: str = "training"
    set_rules: tuple[Rule[SetSubject], ...] = SET_RULES
    least_runs: int = MEASURED
    result_needs: str = f"a warm-up and {MEASURED} measured runs (rule 2.1.17): --loops {MEASURED}"

    def setup(self, run: StoredRun) -> str:
        """All parameters but the seed."""
        train = run.parameters.get("train")
        kept = {k: v for k, v in train.items() if k != "seed"} if isinstance(train, dict) else train
        return setup_hash({**run.parameters, "train": kept})

    def facts(self, run: StoredRun) -> RunFacts:
        """AU and throughput, and for runs of others what the rules say as far as is recorded."""
        summary = summary_of(run, Summary)
        if isinstance(summary, RunFacts):
            return summary
        metrics = _metrics(summary)
        if not metrics:
            return RunFacts(problem=f"{run.summary}: it has no figures of training")
        known = RunFacts(
            metrics=metrics,
            hosts=summary.num_hosts,
            setup=self.setup(run),
            limits=limits_of(summary.bottleneck),
            figures={"num_files_train": summary.num_files_train, "nodes": _nodes(run)},
        )
        if run.origin == OURS:
            return known
        judged = judge_elsewhere(run, _figures(summary))
        return replace(known, issues=judged.issues, unjudged=judged.unjudged, setup=judged.setup)

    def details(self, run: StoredRun) -> RunDetails:
        """Curves over epochs, and every rank's AU and rate."""
        problems = Problems()
        details = common_details(run, problems)
        if run.summary is None:
            return replace(details, problems=tuple(problems))
        summary = problems.attempt(lambda: read_as(run.summary, Summary), Summary())  # type: ignore[arg-type] # not None here
        ranks = rank_outputs(run, dict[str, _Epoch | str], problems)
        return replace(
            details,
            curves=_curves(summary, run),
            ranks=_rank_spreads(ranks),
            phases=_phases(run, ranks),
            hosts=details.hosts or _dlio_host(summary),
            problems=tuple(problems),
        )

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Runs of one sitting."""
        return by_sitting(members)

    def has_warm_up(self, edition: str, count: int) -> bool:
        """Since the second round six runs are made, and the first dropped."""
        return edition != "1.0" and count >= _WARM_UP_RUNS

    def size_record(self, run: StoredRun) -> dict[str, Any] | None:
        """What `training datasize` says of the run's data set."""
        return datasize_record(run, _files(run))


def _nodes(run: StoredRun) -> tuple[HostRecord, ...]:
    """The client hosts; none where their record cannot be read, which `details` tells."""
    try:
        return hosts_of(run)
    except MlpstorageError:
        return ()


def _files(run: StoredRun) -> int | None:
    return read_as(run.summary, Summary).num_files_train if run.summary else None


def _metrics(summary: Summary) -> tuple[Metric, ...]:
    found = summary.metric or _Metric()
    shares, latency = {"of": summary.bottleneck}, summary.file_read_latency_us
    neutral, lower = Better.NEUTRAL, Better.LOWER
    rows = (
        ("train_au_percent", "AU", found.train_au_mean_percentage, "%", Better.HIGHER, True),
        (
            "train_throughput_samples_per_second", "throughput",
            found.train_throughput_mean_samples_per_second, "samples/s", Better.HIGHER, True,
        ),
        (
            "train_io_MiB_per_second", "I/O", found.train_io_mean_MB_per_second, "MiB/s",
            Better.HIGHER, True,
        ),
        (
            "file_read_p50_ms", "file read, median",
            None if latency is None or latency.p50 is None else latency.p50 / 1000, "ms", lower,
            False,
        ),
        (
            "file_read_p99_ms", "file read, p99",
            None if latency is None or latency.p99 is None else latency.p99 / 1000, "ms", lower,
            False,
        ),
        (
            "cached_percent", "from the page cache", _percent(number(shares, "of.cached_share")),
            "%", lower, False,
        ),
        (
            "client_cpu_percent", "busiest client's CPU",
            _percent(number(shares, "of.host_cpu_share")), "%", neutral, False,
        ),
    )  # fmt: skip
    return finite(
        *(
            None if value is None else Metric(name, label, value, unit, better, headline)
            for name, label, value, unit, better, headline in rows
        )
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _figures(summary: Summary) -> DlioFigures:
    return DlioFigures(
        au_percent=summary.metric.train_au_mean_percentage if summary.metric else None,
        accelerators=summary.num_accelerators,
        hosts=summary.num_hosts,
        files=summary.num_files_train,
        samples_per_file=summary.num_samples_per_file,
        memory_gib=math.fsum(summary.host_memory_GB) if summary.host_memory_GB else None,
    )


def _curves(summary: Summary, run: StoredRun) -> tuple[Curve, ...]:
    found = summary.metric or _Metric()
    metric = run.parameters.get("metric")
    floor = metric.get("au") if isinstance(metric, dict) else None
    limit = 100 * floor if isinstance(floor, int | float) else None
    curves = []
    for title, label, values, least, name in (
        ("AU by epoch", "AU, %", found.train_au_percentage, limit, "floor"),
        ("Throughput by epoch", "samples/s", found.train_throughput_samples_per_second, None, ""),
    ):
        if values:
            line = Line(run.run_id, tuple(float(n) for n in range(1, len(values) + 1)), values)
            curves.append(Curve(title, "epoch", label, (line,), least, name if least else ""))
    return tuple(curves)


def _rank_spreads(ranks: list[tuple[int, dict[str, _Epoch | str]]]) -> tuple[RankSpread, ...]:
    utilisation: list[tuple[int, str, float]] = []
    rates: list[tuple[int, str, float]] = []
    for rank, document in ranks:
        host = document.get("hostname")
        name = host if isinstance(host, str) else ""
        epochs = [epoch for epoch in document.values() if isinstance(epoch, _Epoch)]
        for rows, blocks in (
            (utilisation, [epoch.au for epoch in epochs]),
            (rates, [epoch.throughput for epoch in epochs]),
        ):
            values = [block.block1 for block in blocks if block]
            known = [v for v in values if v is not None and math.isfinite(v)]
            if known:
                rows.append((rank, name, mean(known)))
    return (*spread_over("AU", "%", utilisation), *spread_over("throughput", "samples/s", rates))


def _phases(
    run: StoredRun, ranks: list[tuple[int, dict[str, _Epoch | str]]]
) -> tuple[PhaseSpan, ...]:
    """The epochs of the first rank that tells of them, else of the file that DLIO writes."""
    for _, document in ranks[:1]:
        spans = [
            PhaseSpan(f"epoch {name}", utc(e.counters.start), utc(e.counters.end))
            for name, e in document.items()
            if isinstance(e, _Epoch) and e.counters and e.counters.start and e.counters.end
        ]
        if spans:
            return tuple(spans)
    for name in ("0_per_epoch_stats.json", "per_epoch_stats.json"):
        try:
            epochs = read_as(run.directory / name, dict[str, _Span])
        except MlpstorageError:
            continue  # absent, or of a shape that shows no phases: the figures do not need it
        return tuple(
            PhaseSpan(f"epoch {number}", utc(span.start), utc(span.end))
            for number, span in epochs.items()
            if span.start and span.end
        )
    return ()


def _dlio_host(summary: Summary) -> tuple[HostView, ...]:
    """The one host that DLIO describes: that of its first rank."""
    facts = (
        ("processor", summary.host_cpuinfo.get("model name", "")),
        ("memory", summary.host_meminfo.get("MemTotal", "")),
    )
    known = tuple((name, value) for name, value in facts if value)
    return (HostView(summary.hostname or "", known),) if known else ()


REPORTER: Reporter = TrainingReporter()
