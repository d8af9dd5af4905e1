"""What a restore may take, and whether a load point kept to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpstorage.engine.kv.record import RankRecord
    from mlpstorage.kinds.kvcache.setup import Setup

SLOS = ("break-even", "interactive", "none")
BASE_NS = {"interactive": 200_000_000, "agent": 500_000_000, "batch": 0}
# 100,000 tokens per second: the rate at which interactive users are served from fast storage.
INTERACTIVE_NS_PER_TOKEN = 10_000
LEAST_WITHIN = 0.95
LEAST_WITHIN_DOUBLE = 0.99
MOST_WRITE_AGE_NS = 30_000_000_000


def bases_ns(setup: Setup, slo: str) -> tuple[int, ...]:
    """By class, what a restore of no tokens may take; 0 for no limit."""
    if slo == "none" or setup.mode != "serve":
        return ()
    return tuple(BASE_NS[kind.slo] for kind in setup.workload.classes.values())


def per_token_ns(setup: Setup, slo: str) -> int:
    """What a restore may take longer for each token that it brings back.

    `break-even` is the time in which the emulated accelerators would compute the token: beyond it,
    the cache is slower than no cache.
    """
    if slo == "interactive":
        return INTERACTIVE_NS_PER_TOKEN
    return round(1e9 / setup.prefill_tokens_per_second)


def violations(record: RankRecord) -> list[str]:
    """What a load point of all ranks did not keep to; nothing if it met the SLO.

    95 % of the requests of a class within their limit, 99 % within twice that; writes that do not
    back up, none dropped; and no byte that was wrong.
    """
    found = []
    if not any(kind.judged for kind in record.classes.values()):
        found.append("no restore ended in time to be judged")
    for name, kind in record.classes.items():
        if not kind.slo_ppm.count and not kind.unfinished_late:
            continue
        within, double = kind.share_within(), kind.share_within_double()
        if within < LEAST_WITHIN:
            found.append(f"{name}: {100 * within:.1f} % of restores within the limit, not 95 %")
        elif double < LEAST_WITHIN_DOUBLE:
            found.append(f"{name}: {100 * double:.1f} % of restores within twice it, not 99 %")
    if record.write_age.quantile(0.99) > MOST_WRITE_AGE_NS:
        found.append("stores back up for more than 30 s")
    if record.writes_dropped:
        found.append(f"{record.writes_dropped} stores were dropped")
    if record.verification.bad:
        found.append(f"{record.verification.bad} blocks were not what had been written")
    return found
