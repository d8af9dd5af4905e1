"""What a window shows of itself while it goes on: the restores so far, against the SLO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.events import Figure
from mlpstorage.kinds.kvcache.slo import LEAST_WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.kv.so_far import Standing

# With fewer requests the 95th percentile would be the slowest.
_LEAST_REQUESTS = 20


def figures_of(rank: int, standing: Standing | None, what: str) -> Iterator[Figure]:
    """The figures of one rank; none before there is something to say.

    Percentiles of ranks are not averaged: the worst rank's is shown. Shares are.

    Args:
        rank: The rank's number.
        standing: How its window stands.
        what: What a request of the plan is: a restore, a store.
    """
    if standing is None or standing.requests < _LEAST_REQUESTS:
        return
    p95_ms = standing.p95_ns / 1e6
    yield Figure(
        rank, f"{what} p95", p95_ms, "ms", better="lower", combine="max", compares_hosts=True
    )
    if standing.share_within is not None:
        within = 100 * standing.share_within
        yield Figure(rank, f"{what}s within the SLO", within, "%", 100 * LEAST_WITHIN)
