"""What held a training run back, told from counters rather than guessed."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.kinds.bottleneck import Bottleneck, ClientLoad, exhausted

CEILING_AU_PERCENT = 95.0


@dataclass(frozen=True, kw_only=True)
class Evidence(ClientLoad):
    """The numbers a verdict rests on; shares are 0 to 1.

    `reader_share` is the part of their time that readers spent in open, read and close, None where
    it cannot be known.
    """

    au_percent: float
    wait_share: float
    reader_share: float | None
    rank_cores: float
    cached_share: float | None


def bottleneck_of(evidence: Evidence) -> Bottleneck:
    """Compute-bound at the AU ceiling, else the first resource found exhausted."""
    if evidence.au_percent >= CEILING_AU_PERCENT:
        return Bottleneck.COMPUTE
    return exhausted(evidence, evidence.reader_share)


def explain(evidence: Evidence) -> str:
    """The numbers behind the verdict, in one sentence."""
    share = evidence.reader_share
    reading = "" if share is None else f"readers were in I/O {100 * share:.0f} %, "
    numbers = (
        f"AU {evidence.au_percent:.1f} %, accelerators waited {100 * evidence.wait_share:.0f} % of "
        f"the time, {reading}{evidence.text()}"
    )
    cached = evidence.cached_share
    if cached is None:
        return f"{numbers}, page-cache share unknown on this filesystem"
    return f"{numbers}, {100 * cached:.1f} % of the bytes from the page cache"
