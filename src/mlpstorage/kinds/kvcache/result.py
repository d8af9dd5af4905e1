"""From the ranks' records to the outcome of a KV-cache run: metrics, evidence, sections, issues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.plan import Outcome
from mlpstorage.core.rules import Phase as RulePhase
from mlpstorage.core.rules import judge
from mlpstorage.core.stats import mean
from mlpstorage.engine.counters import COUNTED_FILESYSTEMS
from mlpstorage.engine.kv.record import merge
from mlpstorage.kinds.kvcache.bottleneck import evidence_of, told
from mlpstorage.kinds.kvcache.metrics import load_point, window_metrics
from mlpstorage.kinds.kvcache.outcome_record import POPULATE, PROBE, SCORE, RankOutcome
from mlpstorage.kinds.kvcache.planner import combined_hash
from mlpstorage.kinds.kvcache.result_rules import RESULT_RULES, ResultSubject
from mlpstorage.kinds.kvcache.sections import sections_of
from mlpstorage.watch.mounts import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.engine.kv.record import Merged
    from mlpstorage.kinds.kvcache.setup import Setup


@dataclass(frozen=True)
class Measured:
    """The phases of all ranks, merged: each with its name, users and trial."""

    ranks: tuple[RankOutcome, ...]
    phases: tuple[tuple[str, int, int, Merged], ...]

    @classmethod
    def of(cls, results: Sequence[RankResult]) -> Measured:
        """Merge what the ranks did, phase by phase.

        Raises:
            BenchmarkError: a rank did other phases than the others.
        """
        ranks = tuple(msgspec.convert(result.data, RankOutcome) for result in results)
        names = [[(p.name, p.users, p.trial) for p in rank.phases] for rank in ranks]
        for result, own in zip(results, names, strict=True):
            if own != names[0]:
                raise BenchmarkError(
                    f"rank {result.rank} on {result.host} did other phases than rank 0",
                    why="a result counts only when every rank did all of its work",
                )
        phases = tuple(
            (*name, merge([rank.phases[number].record for rank in ranks], len(ranks)))
            for number, name in enumerate(names[0])
        )
        return cls(ranks, phases)

    def named(self, name: str) -> list[tuple[int, Merged]]:
        """The phases of a name, with their users."""
        return [(users, merged) for phase, users, _, merged in self.phases if phase == name]

    @property
    def score(self) -> tuple[int, Merged] | None:
        """The trial with the median throughput, and its users."""
        trials = sorted(self.named(SCORE), key=lambda trial: _rate(trial[1]))
        return trials[(len(trials) - 1) // 2] if trials else None


def _rate(merged: Merged) -> float:
    return merged.all.read_bytes_per_second + merged.all.written_bytes_per_second


def outcome_of(
    results: Sequence[RankResult], *, setup: Setup, folder: Path, slo: str, stopped: bool = False
) -> Outcome:
    """The outcome of a run whose ranks have all delivered; `stopped` if the user ended it early.

    Raises:
        BenchmarkError: a rank's record is incomplete.
    """
    measured = Measured.of(results)
    filesystem = filesystem_of(folder)
    scores = [merged for _, merged in measured.named(SCORE)]
    subject = ResultSubject(
        setup=setup,
        scores=scores,
        cpu_share=_cpu_share(measured),
        cached_share=_cached_share(scores) if filesystem in COUNTED_FILESYSTEMS else None,
        foreign=sorted({name for rank in measured.ranks for name in rank.foreign}),
        hashes=() if setup.private else [rank.plan_hash for rank in measured.ranks],
        filesystem=filesystem,
        checked=[merged for _, _, _, merged in measured.phases],
        raw=measured.ranks[0].raw,
    )
    summary = _summary(measured, setup, subject, slo, [result.host for result in results])
    if stopped:
        # What was searched for has not been found, and a score is of all its trials.
        for name in ("max_users_at_slo", "slo_confirmed", "search_bounded", "mlperf_v3"):
            summary.pop(name, None)
    return Outcome(
        summary=summary,
        issues=tuple(judge(RESULT_RULES, subject, phase=RulePhase.RESULT)),
        sections=sections_of(summary),
        rank_outputs=tuple(
            {"hostname": result.host, **result.data, "rank": result.rank} for result in results
        ),
    )


def planned_work(setup: Setup, trials: int, *, raw: bool) -> str:
    """All that a run measures, in words; `raw` if other modes measure plain speeds first."""
    table = "all points of raw speeds"
    if setup.mode == "raw":
        return table
    parts = [table] * raw + ["a search"] * setup.searches
    return ", ".join([*parts, f"{trials} trial{'s' * (trials > 1)}"])


def _published_score(trials: Sequence[Merged], setup: Setup) -> dict[str, Any]:
    """The score as rule 6.3.4 has it: rates as sums over ranks and means over trials.

    The 95th percentiles are those of all ranks' I/O together, the worst of the trials.
    """
    records = [trial.all for trial in trials]
    read = mean([record.read_bytes_per_second for record in records])
    written = mean([record.written_bytes_per_second for record in records])
    return {
        "option": setup.v3_option,
        "read_gbps": read / 1e9,
        "write_gbps": written / 1e9,
        "tokens_read_per_s": read / setup.shape.bytes_per_token,
        "block_read_p95_ms": max(record.block_read.quantile(0.95) for record in records) / 1e6,
        "block_write_p95_ms": max(record.block_write.quantile(0.95) for record in records) / 1e6,
        "trial_count": len(records),
        "rank_count": trials[0].ranks,
    }


def _cpu_share(measured: Measured) -> float:
    """The busiest rank's CPU time over its part of its host's CPUs, in a window that counts."""
    return max(
        (
            phase.record.cpu_seconds / (phase.record.window_ns / 1e9) / rank.cpus
            for rank in measured.ranks
            for phase in rank.phases
            if phase.name == SCORE and phase.record.window_ns
        ),
        default=0.0,
    )


def _cached_share(scores: Sequence[Merged]) -> float | None:
    """The part of the bytes read that the kernel did not fetch from a device or server."""
    moved = sum(score.all.moved_read_bytes for score in scores)
    fetched = sum(score.all.kernel_read_bytes for score in scores)
    return 1 - min(fetched / moved, 1) if moved else None


def _summary(
    measured: Measured, setup: Setup, subject: ResultSubject, slo: str, hosts: list[str]
) -> dict[str, Any]:
    first, score = measured.ranks[0], measured.score
    summary: dict[str, Any] = {
        "mode": setup.mode,
        "model": setup.model.model,
        "profile": setup.profile or None,
        "option": setup.v3_option or None,
        "num_ranks": len(measured.ranks),
        "num_hosts": len(set(hosts)),
        "hostname": hosts[0],
        "filesystem": subject.filesystem,
        "bytes_per_token": setup.shape.bytes_per_token,
        "block_tokens": setup.shape.block_tokens,
        "block_bytes": setup.shape.block_bytes,
        "padding_bytes_per_block": setup.shape.padding_bytes,
        "capacity_bytes": setup.capacity_bytes,
        "key_space": setup.key_space,
        "slo": slo,
        "plan": {
            "hash": combined_hash([rank.plan_hash for rank in measured.ranks]),
            "seed": setup.seed,
            "returning_sessions": first.returning,
            "figures": msgspec.to_builtins(first.figures) if first.figures else None,
        },
        "start_skew_ns": first.skew_ns,
        "start_skew_error_ns": first.skew_error_ns,
        "cpu_share_of_busiest_rank": subject.cpu_share,
        "cached_share": subject.cached_share,
    }
    if first.raw:
        summary["raw"] = [msgspec.to_builtins(point) for point in first.raw]
    filled = measured.named(POPULATE)
    if filled:
        record = filled[0][1].all
        summary["populate"] = {
            "bytes": record.written_bytes,
            "seconds": (record.window_ns + record.sync_ns) / 1e9,
            "write_bytes_per_second": record.written_bytes_per_second,
        }
    if setup.searches:
        summary |= _search_summary(measured)
    if score is not None:
        users, merged = score
        summary["users"] = users
        summary["metric"] = window_metrics(setup, merged)
        trials = [merged for _, merged in measured.named(SCORE)]
        if setup.v3_option:
            summary["mlperf_v3"] = _published_score(trials, setup)
        summary["trials"] = [load_point(users, trial) for trial in trials]
        summary |= _bottleneck(measured, setup, slo_decides=bool(summary.get("search_bounded")))
    return summary


def _bottleneck(measured: Measured, setup: Setup, *, slo_decides: bool) -> dict[str, Any]:
    """What limited the trials; nothing where no window was open."""
    numbers = [n for n, phase in enumerate(measured.ranks[0].phases) if phase.name == SCORE]
    trials = [[rank.phases[number].record for rank in measured.ranks] for number in numbers]
    trials = [trial for trial in trials if all(record.window_ns for record in trial)]
    if not trials:
        return {}
    cpus = [rank.cpus for rank in measured.ranks]
    found = evidence_of(trials, cpus, setup.mode, slo_decides=slo_decides)
    return {"bottleneck": told(found)}


def _search_summary(measured: Measured) -> dict[str, Any]:
    """The curve, and the most users: those of the score, if each of its trials met the SLO."""
    probes = [load_point(users, merged) for users, merged in measured.named(PROBE)]
    trials = [load_point(users, merged) for users, merged in measured.named(SCORE)]
    confirmed = bool(trials) and all(trial["met"] for trial in trials)
    best = int(trials[0]["users"]) if confirmed else 0
    return {
        "search": probes,
        "max_users_at_slo": best,
        "slo_confirmed": confirmed,
        "search_bounded": any(not p["met"] and p["users"] > best for p in probes),
    }
