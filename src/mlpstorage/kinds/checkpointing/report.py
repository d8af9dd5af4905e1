"""Checkpointing in reports: figures of runs, ours and DLIO's, their curves, the ranks' spread."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.stats import mean
from mlpstorage.core.units import GIB
from mlpstorage.kinds.checkpointing.elsewhere import judge_elsewhere
from mlpstorage.kinds.checkpointing.set_rules import SET_RULES
from mlpstorage.kinds.reporting import RunFacts, setup_hash, summary_of
from mlpstorage.kinds.run_details import (
    Problems,
    common_details,
    finite,
    rank_outputs,
    spread_over,
    utc,
)
from mlpstorage.kinds.sittings import by_sitting
from mlpstorage.report.limits import limits_of
from mlpstorage.report.model import Better, Curve, Line, Metric, PhaseSpan
from mlpstorage.store.files import read_as
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.rules import Rule
    from mlpstorage.kinds.reporting import Member, Reporter, SetSubject
    from mlpstorage.report.model import RankSpread, RunDetails
    from mlpstorage.store.runs import StoredRun

_WORDS = {"save": "writing", "load": "reading"}
_GB = 1e9


class _Metric(msgspec.Struct, frozen=True):
    """The figures under `metric`, with the reference engine's keys; its GB is 2³⁰ bytes."""

    save_checkpoint_io_mean_GB_per_second: float | None = None  # noqa: N815 (the file's key)
    save_checkpoint_duration_mean_seconds: float | None = None
    load_checkpoint_io_mean_GB_per_second: float | None = None  # noqa: N815 (the file's key)
    load_checkpoint_duration_mean_seconds: float | None = None
    checkpoint_size_GB: float | None = None  # noqa: N815 (the file's key)


class _Phase(msgspec.Struct, frozen=True):
    checkpoints: int | None = None
    duration_max_seconds: float | None = None
    slowest_rank_mean_GB_per_second: float | None = None  # noqa: N815 (the file's key)


class _Checkpoint(msgspec.Struct, frozen=True):
    phase: str = ""
    number: int = 0
    start: str = ""
    end: str = ""
    duration_seconds: float | None = None
    aggregate_GB_per_second: float | None = None  # noqa: N815 (the file's key)


class Summary(msgspec.Struct, frozen=True):
    """A summary of checkpointing: what DLIO writes, then what is ours."""

    metric: _Metric | None = None
    num_accelerators: int | None = None
    num_hosts: int | None = None
    save: _Phase | None = None
    load: _Phase | None = None
    checkpoints: tuple[_Checkpoint, ...] = ()
    total_seconds: float | None = None
    cached_share: float | None = None
    bottleneck: Any = None


class _Part(msgspec.Struct, frozen=True):
    phase: str = ""
    seconds: float | None = None
    bytes: int | None = None


class _Output(msgspec.Struct, frozen=True):
    hostname: str = ""
    checkpoints: tuple[_Part, ...] = ()


@dataclass(frozen=True)
class CheckpointingReporter:
    """See `Reporter`."""

    kind: str = "checkpointing"
    set_rules: tuple[Rule[SetSubject], ...] = SET_RULES
    least_runs: int = 1
    result_needs: str = "a run that writes and reads, or one of each"

    def setup(self, run: StoredRun) -> str:
        """All parameters but how many checkpoints are written and read."""
        checkpoint = run.parameters.get("checkpoint")
        kept = checkpoint
        if isinstance(checkpoint, dict):
            kept = {k: v for k, v in checkpoint.items() if not k.startswith("num_checkpoints_")}
        return setup_hash({**run.parameters, "checkpoint": kept})

    def facts(self, run: StoredRun) -> RunFacts:
        """Durations and rates of writing and reading."""
        summary = summary_of(run, Summary)
        if isinstance(summary, RunFacts):
            return summary
        metrics = _metrics(summary)
        if not metrics:
            return RunFacts(problem=f"{run.summary}: it has no figures of checkpoints")
        known = RunFacts(
            metrics=metrics,
            hosts=summary.num_hosts,
            setup=self.setup(run) if run.origin == OURS else "",
            writes=_count(summary.save, run),
            reads=_count(summary.load, run),
            limits=limits_of(summary.bottleneck),
        )
        if run.origin == OURS:
            return known
        issues, unjudged = judge_elsewhere(run, summary.num_accelerators, summary.num_hosts)
        return replace(known, issues=issues, unjudged=unjudged)

    def details(self, run: StoredRun) -> RunDetails:
        """Seconds and rates of every checkpoint, and every rank's."""
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
            phases=tuple(
                PhaseSpan(f"{_WORDS.get(c.phase, c.phase)} {c.number}", utc(c.start), utc(c.end))
                for c in summary.checkpoints
                if c.start and c.end
            ),
            problems=tuple(problems),
        )

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """A run that writes and reads is whole; one that only writes is whole with its reader."""
        found: list[list[Member]] = []
        for sitting in by_sitting(members):
            before: list[Member] = []
            for member in sitting:
                if _half(before) and member.facts.reads and not member.facts.writes:
                    before.append(member)
                else:
                    before = [member]
                    found.append(before)
        return found

    def has_warm_up(self, _edition: str, _count: int) -> bool:
        """Checkpoints have no warm-up."""
        return False

    def size_record(self, _run: StoredRun) -> dict[str, Any] | None:
        """No record of its own."""
        return None


def _half(members: Sequence[Member]) -> bool:
    return len(members) == 1 and bool(members[0].facts.writes) and not members[0].facts.reads


def _count(phase: _Phase | None, run: StoredRun) -> int | None:
    """Checkpoints of a phase; of runs of others nothing says it for certain."""
    if run.origin != OURS:
        return None
    return (phase.checkpoints or 0) if phase else 0


def _metrics(summary: Summary) -> tuple[Metric, ...]:
    found = summary.metric or _Metric()
    rows: list[tuple[str, str, float | None, str, Better, bool]] = []
    for name, word, duration, rate, phase in (
        (
            "write", "writing", found.save_checkpoint_duration_mean_seconds,
            found.save_checkpoint_io_mean_GB_per_second, summary.save,
        ),
        (
            "read", "reading", found.load_checkpoint_duration_mean_seconds,
            found.load_checkpoint_io_mean_GB_per_second, summary.load,
        ),
    ):  # fmt: skip
        scaled = None if rate is None else rate * GIB / _GB
        slowest = phase.slowest_rank_mean_GB_per_second if phase else None
        worst = phase.duration_max_seconds if phase else None
        rows += [
            (f"checkpoint_{name}_seconds", word, duration, "s", Better.LOWER, True),
            (f"checkpoint_{name}_GB_per_second", word, scaled, "GB/s", Better.HIGHER, True),
            (f"checkpoint_{name}_slowest_rank_GB_per_second", f"{word}, slowest rank", slowest,
             "GB/s", Better.HIGHER, False),
            (f"checkpoint_{name}_max_seconds", f"{word}, longest", worst, "s", Better.LOWER, False),
        ]  # fmt: skip
    size = found.checkpoint_size_GB
    rows += [
        ("checkpoint_GiB", "size", size, "GiB", Better.NEUTRAL, False),
        ("total_seconds", "whole", summary.total_seconds, "s", Better.LOWER, False),
        (
            "cached_percent", "from the page cache",
            None if summary.cached_share is None else 100 * summary.cached_share, "%",
            Better.LOWER, False,
        ),
    ]  # fmt: skip
    return finite(
        *(
            None if value is None else Metric(name, label, value, unit, better, headline)
            for name, label, value, unit, better, headline in rows
        )
    )


def _curves(summary: Summary) -> tuple[Curve, ...]:
    seconds: list[Line] = []
    rates: list[Line] = []
    for phase, word in _WORDS.items():
        found = [c for c in summary.checkpoints if c.phase == phase]
        if found:
            x = tuple(float(n) for n in range(1, len(found) + 1))
            seconds.append(Line(word, x, tuple(c.duration_seconds for c in found)))
            rates.append(Line(word, x, tuple(c.aggregate_GB_per_second for c in found)))
    if not seconds:
        return ()
    return (
        Curve("Seconds by checkpoint", "checkpoint", "seconds", tuple(seconds)),
        Curve("Throughput by checkpoint", "checkpoint", "GB/s", tuple(rates)),
    )


def _rank_spreads(ranks: list[tuple[int, _Output]]) -> tuple[RankSpread, ...]:
    spreads: list[RankSpread] = []
    for phase, word in _WORDS.items():
        rows: list[tuple[int, str, float]] = []
        for rank, output in ranks:
            rates = [
                part.bytes / part.seconds / _GB
                for part in output.checkpoints
                if part.phase == phase and part.bytes and part.seconds
            ]
            known = [rate for rate in rates if math.isfinite(rate)]
            if known:
                rows.append((rank, output.hostname, mean(known)))
        spreads += spread_over(word, "GB/s", rows)
    return tuple(spreads)


REPORTER: Reporter = CheckpointingReporter()
