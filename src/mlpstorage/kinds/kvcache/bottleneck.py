"""What held a KV cache back, told from the counters of its trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.kinds.bottleneck import (
    BUSY_IO_SHARE,
    Bottleneck,
    ClientLoad,
    busiest_host,
    busiest_link,
    exhausted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.engine.kv.record import RankRecord

# In these modes threads do I/O all the time; in the others users ask when they are ready to.
_PEAK_MODES = frozenset({"restore", "store"})


@dataclass(frozen=True, kw_only=True)
class Evidence(ClientLoad):
    """The numbers a verdict rests on; shares are 0 to 1.

    Attributes:
        io_share: The part of their time in which the readers, or the writers where those are
            busier, were in I/O.
        slo_decides: Whether a search ended because more users would have waited too long.
        users_decide: Whether emulated users ask at their own pace.
    """

    io_share: float
    slo_decides: bool = False
    users_decide: bool = False


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """The first resource found exhausted.

    Where latency ends a search, storage need not be busy all the time to be the limit; where users
    decide and storage mostly waits for them, nothing is exhausted: they are the limit.
    """
    found = exhausted(evidence, 1.0 if evidence.slo_decides else evidence.io_share)
    waits = found is Bottleneck.MIXED and evidence.io_share < BUSY_IO_SHARE
    if waits and evidence.users_decide and not evidence.is_disturbed:
        return Bottleneck.COMPUTE
    return found


def evidence_of(
    trials: Sequence[Sequence[RankRecord]], cpus: Sequence[float], mode: str, *, slo_decides: bool
) -> Evidence:
    """The evidence of trials: each the records of all ranks, in the order of `cpus`.

    Args:
        trials: At least one; each window is longer than nothing.
        cpus: Every rank's part of the processors of its host.
        mode: What was measured.
        slo_decides: See `Evidence`.
    """
    records = [record for trial in trials for record in trial]
    ranks_on = {h: sum(r.host == h for r in trials[0]) for h in {r.host for r in trials[0]}}

    def part(seconds: float, record: RankRecord, rank: int) -> float:
        """Of the host's processors."""
        return seconds / (record.window_ns / 1e9 * cpus[rank] * ranks_on[record.host])

    return Evidence(
        io_share=max(_io_share(trial) for trial in trials),
        host_cpu_share=max(
            part(record.host_busy_seconds, record, rank)
            for trial in trials
            for rank, record in enumerate(trial)
        ),
        own_cpu_share=max(
            busiest_host([(r.host, part(r.cpu_seconds, r, n)) for n, r in enumerate(trial)])
            for trial in trials
        ),
        user_cores=max(r.cpu_user_seconds / (r.window_ns / 1e9) for r in records),
        network_share=busiest_link([r.network_share for r in records]),
        slo_decides=slo_decides,
        users_decide=mode not in _PEAK_MODES,
    )


def _io_share(trial: Sequence[RankRecord]) -> float:
    """Of the threads that read or of those that write, whichever were busier."""
    window = max(record.window_ns for record in trial)
    reading = sum(r.read_busy_ns for r in trial) / (window * max(1, sum(r.readers for r in trial)))
    writing = sum(r.write_busy_ns for r in trial) / (window * max(1, sum(r.writers for r in trial)))
    return min(max(reading, writing), 1.0)


def told(evidence: Evidence) -> dict[str, Any]:
    """The verdict with its numbers, for the summary."""
    share = 100 * evidence.io_share
    why = ", more users would have waited too long" if evidence.slo_decides else ""
    return {
        "verdict": bottleneck_of(evidence).value,
        "explanation": f"threads were in I/O {share:.0f} % of the time{why}, {evidence.text()}",
        **{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__},
    }
