"""What held a training run back, told from counters rather than guessed."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.kinds.bottleneck import Bottleneck, exhausted, network_text

CEILING_AU_PERCENT = 95.0


@dataclass(frozen=True)
class Evidence:
    """The numbers a verdict rests on; shares are 0 to 1, for the others see `exhausted`.

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
    network_share: float | None = None


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """Compute-bound at the AU ceiling, else the first resource found exhausted.

    >>> bottleneck_of(Evidence(62.0, 0.38, 0.97, 0.20, 0.3, 0.1, 0.0)).value
    'storage-bound'
    """
    if evidence.au_percent >= CEILING_AU_PERCENT:
        return Bottleneck.COMPUTE
    return exhausted(
        io_share=evidence.reader_share,
        host_cpu_share=evidence.host_cpu_share,
        user_cores=evidence.user_cores,
        network_share=evidence.network_share,
    )


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    share = evidence.reader_share
    reading = "" if share is None else f"readers were in I/O {100 * share:.0f} %, "
    numbers = (
        f"AU {evidence.au_percent:.1f} %, accelerators waited {100 * evidence.wait_share:.0f} % of "
        f"the time, {reading}client CPU {100 * evidence.host_cpu_share:.0f} % busy"
        f"{network_text(evidence.network_share)}"
    )
    cached = evidence.cached_share
    if cached is None:
        return f"{numbers}, page-cache share unknown on this filesystem"
    return f"{numbers}, {100 * cached:.1f} % of the bytes from the page cache"
