"""What held a checkpoint back, told from counters rather than guessed."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.kinds.bottleneck import ClientLoad


@dataclass(frozen=True, kw_only=True)
class Evidence(ClientLoad):
    """The numbers a verdict rests on: `io_share` of the ranks' time a call was at the storage."""

    io_share: float
    cpu_seconds_per_gb: float


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    return (
        f"ranks were in I/O {100 * evidence.io_share:.0f} % of the time, {evidence.text()}, "
        f"{evidence.cpu_seconds_per_gb:.3f} CPU-seconds per GB"
    )
