"""What held a checkpoint back, told from counters rather than guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.kinds.bottleneck import exhausted, network_text

if TYPE_CHECKING:
    from mlpstorage.kinds.bottleneck import Bottleneck


@dataclass(frozen=True)
class Evidence:
    """The numbers a verdict rests on; shares are 0 to 1, for the others see `exhausted`.

    `io_share` is the part of the ranks' time in which a call was at the storage.
    """

    io_share: float
    host_cpu_share: float
    user_cores: float
    cpu_seconds_per_gb: float
    network_share: float | None = None


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """The first resource found exhausted.

    >>> bottleneck_of(Evidence(0.99, 0.20, 0.1, 0.03)).value
    'storage-bound'
    """
    return exhausted(
        io_share=evidence.io_share,
        host_cpu_share=evidence.host_cpu_share,
        user_cores=evidence.user_cores,
        network_share=evidence.network_share,
    )


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    return (
        f"ranks were in I/O {100 * evidence.io_share:.0f} % of the time, client CPU "
        f"{100 * evidence.host_cpu_share:.0f} % busy, {evidence.cpu_seconds_per_gb:.3f} "
        f"CPU-seconds per GB{network_text(evidence.network_share)}"
    )
