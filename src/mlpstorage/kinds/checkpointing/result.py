"""What the ranks of a checkpointing run measured: figures, evidence, files and sections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.plan import Outcome
from mlpstorage.core.rules import Phase, judge
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import GIB, format_bytes, format_seconds
from mlpstorage.engine.counters import COUNTED_FILESYSTEMS
from mlpstorage.kinds.bottleneck import busiest_host, busiest_link, exhausted
from mlpstorage.kinds.checkpointing.bottleneck import Evidence, explain
from mlpstorage.kinds.checkpointing.metrics import (
    GB,
    figures_of,
    phase_summary,
    reference_metric,
)
from mlpstorage.kinds.checkpointing.record import RankRecord
from mlpstorage.kinds.checkpointing.rules import RESULT_RULES, ResultSubject
from mlpstorage.watch.mounts import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.kinds.checkpointing.layout import Sizes
    from mlpstorage.kinds.checkpointing.metrics import CheckpointFigures
    from mlpstorage.kinds.checkpointing.record import CheckpointRecord
    from mlpstorage.kinds.checkpointing.workload import Workload

PHASES = ("save", "load")
_WORDS = {"save": "writing", "load": "reading"}


@dataclass(frozen=True)
class Measured:
    """The records of all ranks: `ranks[r]`, and the host of each rank."""

    ranks: tuple[RankRecord, ...]
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, results: Sequence[RankResult], writes: int, reads: int) -> Measured:
        """Check that every rank did every checkpoint.

        Raises:
            BenchmarkError: a rank's record is incomplete.
        """
        ranks = tuple(msgspec.convert(result.data, RankRecord) for result in results)
        for result, record in zip(results, ranks, strict=True):
            for phase, asked in zip(PHASES, (writes, reads), strict=True):
                done = sum(at.phase == phase for at in record.checkpoints)
                if done != asked:
                    raise BenchmarkError(
                        f"rank {result.rank} on {result.host} did {done} of {asked} checkpoints "
                        f"({_WORDS[phase]})",
                        why="a result counts only when every rank did all of its work",
                    )
        return cls(ranks, tuple(result.host for result in results))

    @property
    def all(self) -> list[CheckpointRecord]:
        """Every record of every rank."""
        return [record for rank in self.ranks for record in rank.checkpoints]

    def of_phase(self, phase: str) -> list[CheckpointRecord]:
        """Every record of one phase."""
        return [record for record in self.all if record.phase == phase]

    def figures(self) -> tuple[CheckpointFigures, ...]:
        """Each checkpoint over all ranks, in the order of the run."""
        checkpoints = zip(*(rank.checkpoints for rank in self.ranks), strict=True)
        return tuple(figures_of(records) for records in checkpoints)

    def reads_own(self, rank: int, record: CheckpointRecord) -> bool:
        """Whether a rank read what its own host had written."""
        return (record.wrote_on or self.hosts[record.source_rank]) == self.hosts[rank]

    @property
    def mismatches(self) -> int:
        """How many blocks were not as they were written."""
        return sum(record.mismatches for record in self.all)

    @property
    def first_mismatch(self) -> str:
        """The first of them by file and offset."""
        found = [record for record in self.all if record.mismatches]
        if not found:
            return ""
        first = min(found, key=lambda record: (record.first_file, record.first_offset))
        return f"{first.first_file} at offset {first.first_offset} {first.first_what}"


def outcome_of(
    results: Sequence[RankResult],
    *,
    workload: Workload,
    sizes: Sizes,
    folder: Path,
    verify: str,
    done: tuple[int, int] | None = None,
) -> Outcome:
    """The outcome of a run whose ranks have all delivered.

    `done` is how many checkpoints were written and read where it is not all of them; at least one
    was.

    Raises:
        BenchmarkError: a rank's record is incomplete.
    """
    checkpoint = workload.checkpoint
    planned = (checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read)
    measured = Measured.of(results, *(done or planned))
    filesystem = filesystem_of(folder)
    loads = measured.of_phase("load")
    cached = _cached_share(loads) if filesystem in COUNTED_FILESYSTEMS else None
    subject = ResultSubject(
        cached_share=cached,
        filesystem=filesystem,
        mismatches=measured.mismatches,
        first_mismatch=measured.first_mismatch,
        bytes_moved=sum(record.char_bytes for record in measured.all),
        bytes_expected=sum(record.bytes for record in measured.all),
        verify=verify if loads else "",
    )
    figures = measured.figures()
    summary = _summary(measured, figures, workload, sizes)
    summary["filesystem"] = filesystem
    summary["cached_share"] = cached
    summary["verify"] = verify
    return Outcome(
        summary=summary,
        issues=tuple(judge(RESULT_RULES, subject, phase=Phase.RESULT)),
        sections=(_headline(summary), _table(figures, measured)),
        rank_outputs=tuple(_rank_output(measured, rank) for rank in range(len(results))),
        rank_epochs=tuple(_rank_epochs(measured, rank) for rank in range(len(results))),
    )


def _cached_share(loads: Sequence[CheckpointRecord]) -> float | None:
    """The part of the bytes read that did not come from a device."""
    delivered = sum(record.char_bytes for record in loads)
    if not delivered:
        return None
    return 1 - min(sum(record.device_bytes for record in loads) / delivered, 1)


def _evidence(measured: Measured, phase: str) -> Evidence:
    records = measured.of_phase(phase)
    seconds = math.fsum(record.seconds for record in records)
    at_storage = math.fsum(
        min(
            record.open_seconds + record.io_seconds + record.fsync_seconds + record.name_seconds,
            record.seconds,
        )
        for record in records
    )
    cpu = math.fsum(record.user_seconds + record.system_seconds for record in records)
    busy, own = [], []
    for host, rank in zip(measured.hosts, measured.ranks, strict=True):
        spans = [record for record in rank.checkpoints if record.phase == phase]
        most = math.fsum(record.span_seconds * record.host_cpus for record in spans)
        busy.append(math.fsum(record.host_busy_seconds for record in spans) / most)
        own.append((host, math.fsum(r.user_seconds + r.system_seconds for r in spans) / most))
    return Evidence(
        io_share=at_storage / seconds,
        host_cpu_share=max(busy),
        own_cpu_share=busiest_host(own),
        user_cores=max(record.user_seconds / record.span_seconds for record in records),
        cpu_seconds_per_gb=cpu / (sum(record.bytes for record in records) / GB),
        network_share=busiest_link([record.network_share for record in records]),
    )


def _summary(
    measured: Measured,
    figures: Sequence[CheckpointFigures],
    workload: Workload,
    sizes: Sizes,
) -> dict[str, Any]:
    """The summary document: DLIO's keys first, then ours.

    Where data were corrupted, reading has no figures: what was read was not the checkpoint.
    """
    hosts = sorted(set(measured.hosts))
    sound = [f for f in figures if f.phase == "save" or not measured.mismatches]
    phases = {phase: [f for f in sound if f.phase == phase] for phase in PHASES}
    metric: dict[str, Any] = {"checkpoint_size_GB": sizes.total_bytes / GIB}
    for phase, found in phases.items():
        metric |= reference_metric(phase, found) if found else {}
    loads = measured.of_phase("load")
    own = sum(measured.reads_own(rank, at) for rank, at in _reads(measured))
    return {
        "start": figures[0].start,
        "end": figures[-1].end,
        "num_accelerators": len(measured.hosts),
        "num_hosts": len(hosts),
        "hostname": hosts[0],
        "metric": metric,
        "engine": "native",
        "model": workload.model.name,
        "edition": workload.edition,
        "checkpoint_bytes": sizes.total_bytes,
        "parameters": sizes.parameters,
        **{phase: phase_summary(found) if found else None for phase, found in phases.items()},
        "checkpoints": [f.as_dict() for f in sound],
        "total_seconds": max(rank.total_seconds for rank in measured.ranks),
        "peak_rank_memory_bytes": max(record.peak_bytes for record in measured.all),
        "cache_drop": sorted({record.drop_method for record in loads}),
        "reads_on_the_host_that_wrote": own,
        "reads": len(loads),
        "verification": {
            "sectors": sum(record.sectors_verified for record in loads),
            "checksums": sum(record.payloads_verified for record in loads),
            "mismatches": measured.mismatches,
            "first_mismatch": measured.first_mismatch,
        },
        "bottleneck": {
            phase: _bottleneck(measured, phase) for phase in PHASES if measured.of_phase(phase)
        },
    }


def _reads(measured: Measured) -> list[tuple[int, CheckpointRecord]]:
    return [
        (rank, record)
        for rank, records in enumerate(measured.ranks)
        for record in records.checkpoints
        if record.phase == "load"
    ]


def _bottleneck(measured: Measured, phase: str) -> dict[str, Any]:
    evidence = _evidence(measured, phase)
    return {
        "verdict": exhausted(evidence, evidence.io_share).value,
        "explanation": explain(evidence),
        **{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__},
    }


def _headline(summary: dict[str, Any]) -> Section:
    rows: list[Row] = []
    for phase in PHASES:
        found = summary[phase]
        word = _WORDS[phase]
        if found:
            rows += [
                Row(
                    word,
                    f"{found['duration_mean_seconds']:.2f} s",
                    f"± {found['duration_stdev_seconds']:.2f}, "
                    f"mean of {found['checkpoints']}, the last rank's time",
                ),
                Row(
                    "",
                    f"{found['aggregate_mean_GB_per_second']:.3f} GB/s",
                    f"{found['aggregate_mean_GiB_per_second']:.3f} GiB/s, all ranks",
                ),
                Row(
                    "",
                    f"{found['slowest_rank_mean_GB_per_second']:.3f} GB/s",
                    f"{found['slowest_rank_mean_GiB_per_second']:.3f} GiB/s, the slowest rank",
                ),
            ]
        elif phase == "load" and summary["verification"]["mismatches"]:
            rows.append(
                Row(word, "no figures", "what was read is not what was written: see the verdict")
            )
        if phase in summary["bottleneck"]:
            told = summary["bottleneck"][phase]
            rows.append(Row("bottleneck", told["verdict"], told["explanation"]))
    rows.append(Row("whole", format_seconds(summary["total_seconds"]), "pauses included"))
    rows.append(Row("memory", format_bytes(summary["peak_rank_memory_bytes"]), "most of any rank"))
    if summary["cached_share"] is not None:
        rows.append(
            Row("page cache", f"{100 * summary['cached_share']:.1f} %", "of the bytes read")
        )
    return Section("result", rows=tuple(rows))


def _table(figures: Sequence[CheckpointFigures], measured: Measured) -> Section:
    body = tuple(
        (
            f"{f.phase} {f.number}",
            f"{f.first_done:.2f}",
            f"{f.duration:.2f}",
            f"{f.rate / GB:.3f}",
            f"{f.least_rank_rate / GB:.3f}",
            *(f"{100 * f.shares[name]:.0f}" for name in ("open", "io", "fsync")),
            f"{100 * (f.shares['close'] + f.shares['name']):.0f}",
            format_bytes(f.device_bytes),
        )
        for f in figures
        if f.phase == "save" or not measured.mismatches
    )
    head = (
        "checkpoint", "first done s", "last done s", "GB/s", "slowest rank GB/s", "open %", "I/O %",
        "fsync %", "close %", "device",
    )  # fmt: skip
    return Section("checkpoints", table=Table(head, body))


def _rank_output(measured: Measured, rank: int) -> dict[str, Any]:
    """One rank's document: all its records."""
    return {
        "hostname": measured.hosts[rank],
        "total_seconds": measured.ranks[rank].total_seconds,
        "checkpoints": [msgspec.to_builtins(at) for at in measured.ranks[rank].checkpoints],
    }


def _rank_epochs(measured: Measured, rank: int) -> dict[str, Any]:
    """One rank's document in the shape of DLIO's <rank>_per_epoch_stats.json."""
    names = {"save": "save_ckpt", "load": "load_ckpt"}
    return {
        "1": {
            f"{names[at.phase]}{at.number}": {
                "start": at.start,
                "end": at.end,
                "duration": f"{at.seconds:.4f}",
                "throughput": f"{at.bytes / at.seconds / GIB:.4f}",
            }
            for at in measured.ranks[rank].checkpoints
        }
    }
