"""What held a checkpoint back, told from counters rather than guessed."""

from __future__ import annotations

import enum
from dataclasses import dataclass

BUSY_CPU_SHARE = 0.9
IDLE_ENOUGH_SHARE = 0.7
BUSY_IO_SHARE = 0.5
GIL_CORES = 0.85


class Bottleneck(enum.Enum):
    """Who sets the score."""

    STORAGE = "storage-bound"
    CLIENT_CPU = "client-CPU-bound"
    MIXED = "mixed"


@dataclass(frozen=True)
class Evidence:
    """The numbers a verdict rests on; shares are 0 to 1.

    `io_share` is the part of the ranks' time in which a call was at the storage;
    `host_cpu_share` is the busiest host's CPU time over its usable CPUs; `user_cores` is the
    busiest rank's time in user mode in cores, which one interpreter cannot raise above 1.
    """

    io_share: float
    host_cpu_share: float
    user_cores: float
    cpu_seconds_per_gb: float


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """The first resource found exhausted.

    >>> bottleneck_of(Evidence(0.99, 0.20, 0.1, 0.03)).value
    'storage-bound'
    """
    if evidence.host_cpu_share >= BUSY_CPU_SHARE or evidence.user_cores >= GIL_CORES:
        return Bottleneck.CLIENT_CPU
    if evidence.io_share >= BUSY_IO_SHARE and evidence.host_cpu_share < IDLE_ENOUGH_SHARE:
        return Bottleneck.STORAGE
    return Bottleneck.MIXED


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    return (
        f"ranks were in I/O {100 * evidence.io_share:.0f} % of the time, client CPU "
        f"{100 * evidence.host_cpu_share:.0f} % busy, {evidence.cpu_seconds_per_gb:.3f} "
        "CPU-seconds per GB"
    )
