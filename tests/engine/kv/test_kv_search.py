"""The search finds the load that is known to be the largest, by arithmetic and by clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from engine.kv.kv_rig import R, Request, Rig, plan_of, settings_of
from mlpstorage.engine.kv.search import confirmed, find_most
from mlpstorage.engine.kv.selftest import PacedLayout

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.kv.plan import KvPlan


@given(st.integers(0, 5000), st.integers(1, 300))
def test_the_best_is_within_the_tolerance(true_most: int, first: int) -> None:
    """Whatever the first load: the best passes, and is within 5 % of the truth, or 1 below it."""
    found = find_most(lambda load: load <= true_most, first, most=4000)
    assert found.best <= true_most
    assert found.best >= min(true_most, 4000) / 1.05 - 1
    tried = [load for load, _ in found.probes]
    assert len(set(tried)) == len(tried)
    assert found.bounded == (true_most < 4000)
    assert all(passed == (load <= true_most) for load, passed in found.probes)


def test_confirming_lowers_what_does_not_hold() -> None:
    """A load that passes once in a while gives way to one that passes three times in a row."""
    calls: list[int] = []

    def probe(load: int) -> bool:
        calls.append(load)
        return load <= 95 or (load <= 100 and len(calls) % 2 == 1)

    assert confirmed(probe, 100) == 95
    assert confirmed(lambda _load: False, 3) == 0


SERVICE, THINK, LIMIT = 0.020, 0.300, 0.110
# A device that serves one read at a time in 20 ms, with N users who think for 300 ms: the response
# is max(20 ms, N × 20 ms − 300 ms). 20 users wait 100 ms, 21 wait 120 ms.
KNOWN = 20


def users(count: int, turns: int) -> KvPlan:
    """Sessions that read a block, think, and read again; begun one after the other."""
    requests = [
        Request([(R, 1)], session, arrival_ms=1000 * (session * SERVICE if turn == 0 else THINK))
        for turn in range(turns)
        for session in range(count)
    ]
    return plan_of(*requests)


def test_the_search_finds_the_known_load_of_a_paced_device(tmp_path: Path) -> None:
    """With the real executor in front of a device of known speed, N* is found to 5 %."""
    rig = Rig(tmp_path)
    rig.populate(1)

    def probe(count: int) -> bool:
        settings = settings_of(
            readers=2 * count,
            warmup_seconds=0.4,
            duration_seconds=0.8,
            slo_base_ns=(int(LIMIT * 1e9),),
            slo_per_token_ns=0,
        )
        layout = PacedLayout(rig.layout, SERVICE)
        record = rig.execute(users(count, 40), settings, layout=layout)
        return record.classes["chat"].share_within() >= 0.95

    found = find_most(probe, 16, most=200)
    assert found.bounded
    assert abs(found.best - KNOWN) <= 0.05 * KNOWN
