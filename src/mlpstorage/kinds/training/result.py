"""What the ranks of a training run measured: metrics, evidence, files and sections."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.plan import Outcome
from mlpstorage.core.rules import Phase, incomplete, judge
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.stats import mean, stdev
from mlpstorage.core.units import MIB, format_bytes, format_seconds
from mlpstorage.engine.counters import COUNTED_FILESYSTEMS
from mlpstorage.engine.histogram import merge, percentile
from mlpstorage.kinds.bottleneck import busiest_host, busiest_link
from mlpstorage.kinds.training.bottleneck import Evidence, bottleneck_of, explain
from mlpstorage.kinds.training.metrics import EpochTimings, Window, aggregate
from mlpstorage.kinds.training.record import EpochRecord
from mlpstorage.kinds.training.rules import RESULT_RULES, ResultSubject
from mlpstorage.watch.mounts import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.engine.dataset import DatasetSpec
    from mlpstorage.kinds.training.metrics import TrainingMetrics
    from mlpstorage.kinds.training.workload import Workload


@dataclass(frozen=True)
class Measured:
    """The epochs of all ranks: `epochs[e][r]`, and the host of each rank."""

    epochs: tuple[tuple[EpochRecord, ...], ...]
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, results: Sequence[RankResult], epochs: int) -> Measured:
        """Check that every rank did every epoch.

        Raises:
            BenchmarkError: a rank's record is incomplete.
        """
        ranks = [msgspec.convert(r.data["epochs"], list[EpochRecord]) for r in results]
        for result, records in zip(results, ranks, strict=True):
            if len(records) != epochs:
                raise BenchmarkError(
                    f"rank {result.rank} on {result.host} did {len(records)} of {epochs} epochs",
                    why="a result counts only when every rank did all of its work",
                )
        return cls(
            tuple(tuple(records[e] for records in ranks) for e in range(epochs)),
            tuple(result.host for result in results),
        )

    @property
    def all(self) -> list[EpochRecord]:
        """Every record, epoch by epoch."""
        return [record for ranks in self.epochs for record in ranks]


def outcome_of(
    results: Sequence[RankResult],
    *,
    workload: Workload,
    spec: DatasetSpec,
    files: int,
    folder: Path,
    trial: bool,
    nominal: bool = False,
    epochs: int | None = None,
) -> Outcome:
    """The outcome of a run whose ranks have all delivered.

    `epochs` is how many were done where it is not all of them. `nominal` makes the AU by the
    compute time that was asked for the headline (DLIO 2.0.0).

    Raises:
        BenchmarkError: a rank's record is incomplete.
    """
    measured = Measured.of(results, workload.train.epochs if epochs is None else epochs)
    window = Window(workload.metric.exclude_start_steps, workload.metric.exclude_end_steps)
    batch = workload.reader.batch_size
    timings = [[_timings(record, batch) for record in ranks] for ranks in measured.epochs]
    metrics = aggregate(timings, window, workload.train.computation_time)
    measured_au = metrics.au_percent
    if nominal:
        metrics = replace(metrics, au_percent=metrics.au_nominal_percent)
    filesystem = filesystem_of(folder)
    evidence = _evidence(measured, metrics, filesystem)
    subject = ResultSubject(
        workload=workload,
        au_percent=evidence.au_percent,
        bytes_read=sum(r.rchar for r in measured.all),
        bytes_expected=sum(r.bytes_planned for r in measured.all),
        cached_share=evidence.cached_share,
        filesystem=filesystem,
    )
    summary = _summary(measured, metrics, evidence, workload, spec, files)
    summary["filesystem"] = filesystem
    if nominal:
        summary["au_formula"] = "nominal compute, first step left out, as DLIO 2.0.0"
        summary["train_au_measured_percentage"] = list(measured_au)
    summary["trial"] = trial
    return Outcome(
        summary=summary,
        issues=tuple(judge(RESULT_RULES, subject, phase=Phase.RESULT)),
        sections=(_headline(summary, evidence, workload), _epoch_section(measured, metrics)),
        rank_outputs=tuple(
            _rank_output(measured, rank, timings, window) for rank in range(len(results))
        ),
        rank_epochs=tuple(_rank_epochs(measured, rank) for rank in range(len(results))),
    )


def nothing_complete(workload: Workload, reached: str) -> Outcome:
    """The outcome of a run that was ended in its first epoch: no figures instead of wrong ones."""
    expected = f"{workload.train.epochs} epochs"
    return Outcome(
        summary={
            "model": workload.model,
            "accelerator": workload.accelerator,
            "edition": workload.edition,
            "epochs": workload.train.epochs,
            "epochs_complete": 0,
        },
        issues=(incomplete(expected, reached),),
        sections=(Section("result", lines=(f"none: no epoch was complete, only {reached}",)),),
    )


def _timings(record: EpochRecord, batch: int) -> EpochTimings:
    return EpochTimings(
        tuple(us / 1e6 for us in record.load_us),
        tuple(us / 1e6 for us in record.compute_us),
        record.block_seconds,
        batch,
    )


def _evidence(measured: Measured, metrics: TrainingMetrics, filesystem: str) -> Evidence:
    records = measured.all
    seconds = math.fsum(r.block_seconds for r in records)
    rchar = sum(r.rchar for r in records)
    # Epoch by epoch: what one of them reads twice, or a library's pages, makes no other one cold.
    cold = sum(min(r.read_bytes, r.rchar) for r in records)
    cached = 1 - cold / rchar if rchar else None
    return Evidence(
        au_percent=mean(metrics.au_percent),
        wait_share=math.fsum(sum(r.load_us) / 1e6 for r in records) / seconds,
        reader_share=_reader_share(records, seconds),
        host_cpu_share=max(r.host_busy_seconds / (r.block_seconds * r.host_cpus) for r in records),
        own_cpu_share=max(
            busiest_host(
                [
                    (host, (r.user_seconds + r.system_seconds) / (r.block_seconds * r.host_cpus))
                    for host, r in zip(measured.hosts, ranks, strict=True)
                ]
            )
            for ranks in measured.epochs
        ),
        rank_cores=max((r.user_seconds + r.system_seconds) / r.block_seconds for r in records),
        user_cores=max(r.user_seconds / (r.block_seconds * r.processes) for r in records),
        cached_share=cached if filesystem in COUNTED_FILESYSTEMS else None,
        network_share=busiest_link([r.network_share for r in records]),
    )


def _reader_share(records: Sequence[EpochRecord], seconds: float) -> float | None:
    busy = [r.reader_busy_seconds for r in records]
    if any(one is None for one in busy):
        return None
    return (
        math.fsum((one or 0.0) / r.readers for one, r in zip(busy, records, strict=True)) / seconds
    )


def _summary(
    measured: Measured,
    metrics: TrainingMetrics,
    evidence: Evidence,
    workload: Workload,
    spec: DatasetSpec,
    files: int,
) -> dict[str, Any]:
    """The summary document: DLIO's keys first, then ours."""
    rates = metrics.samples_per_second
    io = [rate * workload.read_bytes / MIB for rate in rates]
    hosts = sorted(set(measured.hosts))
    au_met = mean(metrics.au_percent) >= 100 * workload.metric.au
    latency = merge([{int(k): v for k, v in r.visit_us.items()} for r in measured.all])
    moved = [sum(r.bytes_planned for r in ranks) for ranks in measured.epochs]
    seconds = [max(r.block_seconds for r in ranks) for ranks in measured.epochs]
    return {
        "start": measured.epochs[0][0].start,
        "end": measured.epochs[-1][0].end,
        "num_accelerators": len(measured.hosts),
        "num_hosts": len(hosts),
        "hostname": measured.hosts[0],
        "num_files_train": files,
        "num_files_eval": 0,
        "num_samples_per_file": spec.samples_per_file,
        "epochs": workload.train.epochs,
        "metric": {
            "train_au_percentage": list(metrics.au_percent),
            "train_au_mean_percentage": mean(metrics.au_percent),
            "train_au_stdev_percentage": stdev(metrics.au_percent),
            "train_au_meet_expectation": "success" if au_met else "fail",
            "train_throughput_samples_per_second": list(rates),
            "train_throughput_mean_samples_per_second": mean(rates),
            "train_throughput_stdev_samples_per_second": stdev(rates),
            "train_io_mean_MB_per_second": mean(io),
            "train_io_stdev_MB_per_second": stdev(io),
        },
        "engine": "native",
        "model": workload.model,
        "accelerator": workload.accelerator,
        "edition": workload.edition,
        "au_formula": "measured compute over the metric window",
        "train_au_nominal_percentage": list(metrics.au_nominal_percent),
        "reference_throughput_samples_per_second": list(metrics.reference_samples_per_second),
        "format": workload.dataset.format,
        "decode": workload.reader.decode,
        "decode_cpu_seconds_per_epoch": [
            math.fsum(r.decode_seconds for r in ranks) for ranks in measured.epochs
        ],
        "read_bytes_per_epoch": moved,
        "read_MiB_per_second": [b / s / MIB for b, s in zip(moved, seconds, strict=True)],
        "file_read_latency_us": {
            f"p{share:g}": percentile(latency, share / 100) for share in (50, 95, 99, 99.9)
        }
        if latency
        else None,
        "cache_drop": sorted({r.drop_method for r in measured.all}),
        "bottleneck": {
            "verdict": bottleneck_of(evidence).value,
            "explanation": explain(evidence),
            **{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__},
        },
    }


def _headline(summary: dict[str, Any], evidence: Evidence, workload: Workload) -> Section:
    metric = summary["metric"]
    floor = 100 * workload.metric.au
    rate = metric["train_throughput_mean_samples_per_second"]
    return Section(
        "result",
        rows=(
            Row(
                "AU",
                f"{metric['train_au_mean_percentage']:.2f} %",
                f"± {metric['train_au_stdev_percentage']:.2f}, floor {floor:.0f} %",
            ),
            Row(
                "throughput",
                f"{rate:.2f} samples/s",
                f"± {metric['train_throughput_stdev_samples_per_second']:.2f}",
            ),
            Row(
                "I/O",
                f"{metric['train_io_mean_MB_per_second'] * MIB / 1e6:.1f} MB/s",
                f"{format_bytes(rate * workload.read_bytes)}/s",
            ),
            *_latency_rows(summary["file_read_latency_us"]),
            Row("bottleneck", summary["bottleneck"]["verdict"], explain(evidence)),
        ),
    )


def _latency_rows(latency: dict[str, int] | None) -> tuple[Row, ...]:
    if latency is None:
        return ()
    median, slow = (format_seconds(latency[name] / 1e6) for name in ("p50", "p99"))
    return (Row("file read", f"{median} median", f"{slow} p99"),)


def _epoch_section(measured: Measured, metrics: TrainingMetrics) -> Section:
    body = tuple(
        (
            str(number + 1),
            f"{metrics.au_percent[number]:.2f}",
            f"{metrics.samples_per_second[number]:.2f}",
            f"{max(r.block_seconds for r in ranks):.2f}",
            format_bytes(sum(r.bytes_planned for r in ranks)),
            format_bytes(sum(r.read_bytes for r in ranks)),
        )
        for number, ranks in enumerate(measured.epochs)
    )
    head = ("epoch", "AU %", "samples/s", "seconds", "read", "from device")
    return Section("epochs", table=Table(head, body))


def _rank_output(
    measured: Measured, rank: int, timings: list[list[EpochTimings]], window: Window
) -> dict[str, Any]:
    """One rank's document in the shape of DLIO's <rank>_output.json, plus our counters."""
    document: dict[str, Any] = {"hostname": measured.hosts[rank]}
    for number, ranks in enumerate(measured.epochs):
        record, epoch = ranks[rank], timings[number][rank]
        alone = aggregate([[epoch]], window, 0.0)
        document[str(number + 1)] = {
            "load": {"block1": list(epoch.load)},
            "compute": {"block1": list(epoch.compute)},
            "proc": {"block1": [a + b for a, b in zip(epoch.load, epoch.compute, strict=True)]},
            "au": {"block1": alone.au_percent[0]},
            "throughput": {"block1": alone.samples_per_second[0]},
            "counters": {
                k: v
                for k, v in msgspec.to_builtins(record).items()
                if k not in {"load_us", "compute_us"}
            },
        }
    return document


def _rank_epochs(measured: Measured, rank: int) -> dict[str, Any]:
    """One rank's document in the shape of DLIO's <rank>_per_epoch_stats.json."""
    document = {}
    for number, ranks in enumerate(measured.epochs):
        record = ranks[rank]
        span = {
            "start": record.start,
            "end": record.end,
            "duration": f"{record.block_seconds:.2f}",
        }
        document[str(number + 1)] = {"start": record.start, "block1": span, **span}
    return document
