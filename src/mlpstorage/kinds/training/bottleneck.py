"""What held a training run back, told from counters rather than guessed."""

from __future__ import annotations

import enum
from dataclasses import dataclass

CEILING_AU_PERCENT = 95.0
BUSY_CPU_SHARE = 0.9
IDLE_ENOUGH_SHARE = 0.7
BUSY_READER_SHARE = 0.5
GIL_CORES = 0.85


class Bottleneck(enum.Enum):
    """Who sets the score."""

    STORAGE = "storage-bound"
    CLIENT_CPU = "client-CPU-bound"
    COMPUTE = "compute-bound"
    MIXED = "mixed"


@dataclass(frozen=True)
class Evidence:
    """The numbers a verdict rests on; shares are 0 to 1.

    `host_cpu_share` is the busiest host's CPU time over its usable CPUs; `user_cores` is the
    busiest rank's time in user mode in cores, which one interpreter cannot raise above 1;
    `reader_share` is the part of their time that readers spent in open, read and close, None where
    it cannot be known.
    """

    au_percent: float
    wait_share: float
    reader_share: float | None
    host_cpu_share: float
    rank_cores: float
    user_cores: float
    cached_share: float | None


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """Compute-bound at the AU ceiling, else the first resource found exhausted.

    >>> bottleneck_of(Evidence(62.0, 0.38, 0.97, 0.20, 0.3, 0.1, 0.0)).value
    'storage-bound'
    """
    if evidence.au_percent >= CEILING_AU_PERCENT:
        return Bottleneck.COMPUTE
    if evidence.host_cpu_share >= BUSY_CPU_SHARE or evidence.user_cores >= GIL_CORES:
        return Bottleneck.CLIENT_CPU
    busy = evidence.reader_share is not None and evidence.reader_share >= BUSY_READER_SHARE
    if busy and evidence.host_cpu_share < IDLE_ENOUGH_SHARE:
        return Bottleneck.STORAGE
    return Bottleneck.MIXED


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    share = evidence.reader_share
    reading = "" if share is None else f"readers were in I/O {100 * share:.0f} %, "
    numbers = (
        f"AU {evidence.au_percent:.1f} %, accelerators waited {100 * evidence.wait_share:.0f} % of "
        f"the time, {reading}client CPU {100 * evidence.host_cpu_share:.0f} % busy"
    )
    cached = evidence.cached_share
    if cached is None:
        return f"{numbers}, page-cache share unknown on this filesystem"
    return f"{numbers}, {100 * cached:.1f} % of the bytes from the page cache"
