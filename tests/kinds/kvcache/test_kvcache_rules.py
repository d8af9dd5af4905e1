"""Every rule, on a case that passes and one that fails."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.engine.kv.latency import Latencies
from mlpstorage.engine.kv.raw import RawPoint
from mlpstorage.engine.kv.record import ClassRecord, Finding, Merged, RankRecord, Verification
from mlpstorage.kinds.kvcache.options import RunOptions
from mlpstorage.kinds.kvcache.result_rules import RESULT_RULES, ResultSubject
from mlpstorage.kinds.kvcache.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.kvcache.setup import setup_of
from mlpstorage.kinds.kvcache.slo import bases_ns, per_token_ns, violations

K1 = setup_of(RunOptions(profile="K1", capacity="2TiB", duration="1800"), 4 << 40)
V3 = setup_of(RunOptions(mode="mlperf-v3", option=2, capacity="1TiB"), 4 << 40)
PLAN = PlanSubject(
    setup=K1,
    trials=3,
    direct=True,
    raw=True,
    slo="interactive",
    memory_bytes=64 << 30,
    hosts=1,
    same_filesystem=False,
)
CLASS = ClassRecord(
    restore=Latencies.of(np.full(100, 5_000_000)),
    service=Latencies.of(np.full(100, 5_000_000)),
    restore_by_size=[Latencies() for _ in range(4)],
    slo_ppm=Latencies.of(np.full(100, 500_000)),
    within=100,
    within_double=100,
    unfinished=0,
    unfinished_late=0,
    unfinished_double=0,
)
RECORD = RankRecord(
    rank=0,
    host="h",
    begun_ns=0,
    window_ns=30_000_000_000,
    sync_ns=0,
    exhausted=False,
    first_done_ns=1,
    last_done_ns=2,
    read_bytes=1 << 30,
    written_bytes=1 << 28,
    reads=1000,
    writes=250,
    deletes=250,
    requests=100,
    hit_tokens=1000,
    input_tokens=2000,
    classes={"chat": CLASS},
    block_read=Latencies(),
    block_write=Latencies(),
    block_delete=Latencies(),
    write_age=Latencies(),
    read_wait=Latencies(),
    lag=Latencies.of(np.full(200, 100_000)),
    reads_waited=0,
    reads_early=0,
    reads_lost=0,
    reads_absent=0,
    writes_dropped=0,
    read_series=[100] * 30,
    write_series=[20] * 30,
    request_series=[3] * 30,
    cpu_user_seconds=1,
    cpu_system_seconds=1,
    moved_read_bytes=1 << 30,
    moved_written_bytes=1 << 28,
    kernel_rchar=1 << 30,
    kernel_read_bytes=1 << 30,
    kernel_wchar=1 << 28,
    kernel_write_bytes=1 << 28,
    verification=Verification(blocks=1000, sectors=1000),
    layout="files",
    direct=True,
    readers=16,
    writers=8,
)
RESULT = ResultSubject(setup=K1, scores=(), cpu_share=0.1, cached_share=0.0, hashes=("a", "a"))
WRONG = Verification(
    blocks=9,
    bad=1,
    findings=[Finding(what="stamp", file="/c/x.kv", offset=4096, block="x", detail="zeros")],
)
SLOW_POINT = RawPoint(
    direction="read",
    block_bytes=K1.shape.block_bytes,
    queue_depth=16,
    rate=1e9,
    cpu_per_gb=0.1,
    p50_ns=1,
    p99_ns=2,
    fio_rate=2e9,
    fio_cpu_per_gb=0.1,
    efficiency=0.5,
)


def merged(**changes: object) -> Merged:
    """The record of one rank, with some of its figures changed."""
    record = msgspec.structs.replace(RECORD, **changes)
    return Merged(
        all=record,
        ranks=1,
        read_rates=[1.0],
        write_rates=[1.0],
        slowest_rank=0,
        first_done_ns=1,
        last_done_ns=2,
    )


def test_a_good_plan_and_a_good_result_have_no_issue() -> None:
    """What follows the rules stays CLOSED, the published options included."""
    assert list(judge(PLAN_RULES, PLAN, phase=Phase.PLAN)) == []
    assert list(judge(PLAN_RULES, replace(PLAN, setup=V3), phase=Phase.PLAN)) == []
    good = replace(RESULT, scores=(merged(), merged()))
    assert list(judge(RESULT_RULES, good, phase=Phase.RESULT)) == []


@pytest.mark.parametrize(
    ("change", "setup", "rule", "category"),
    [
        ({}, {"profile": ""}, "K.1", Category.OPEN),
        ({"own_model": True}, {}, "K.1", Category.OPEN),
        ({}, {"mode": "restore"}, "K.2", Category.OPEN),
        ({}, {"users": 8}, "K.2", Category.OPEN),
        ({"own_workload": True}, {}, "K.2", Category.OPEN),
        ({"changed": ("classes",)}, {}, "K.2", Category.OPEN),
        ({"direct": False}, {}, "K.3", Category.OPEN),
        ({"trials": 2}, {}, "K.4", Category.OPEN),
        ({"memory_bytes": 2 << 40}, {}, "K.5", Category.OPEN),
        ({"hosts": 3}, {}, "K.5", Category.OPEN),
        ({}, {"duration_seconds": 60.0}, "K.6", Category.OPEN),
        ({}, {"duration_seconds": 29.0}, "K.6", Category.INVALID),
        ({}, {"gpu_bytes": 1 << 30}, "K.7", Category.OPEN),
        ({}, {"write_policy": "exclusive"}, "K.7", Category.OPEN),
        ({"raw": False}, {}, "K.8", Category.OPEN),
        ({"slo": "break-even"}, {}, "K.9", Category.OPEN),
        ({"same_filesystem": True}, {}, "6.4.2", Category.OPEN),
    ],
)
def test_plan_rules_find_what_breaks_them(
    change: dict[str, object], setup: dict[str, object], rule: str, category: Category
) -> None:
    """Each rule fires on the one change that breaks it, and no other does."""
    broken = replace(PLAN, setup=msgspec.structs.replace(K1, **setup), **change)
    (issue,) = judge(PLAN_RULES, broken, phase=Phase.PLAN)
    assert (issue.rule, issue.category) == (rule, category)
    assert issue.expected
    assert issue.actual


@pytest.mark.parametrize(
    ("setup", "trials", "parameter"),
    [
        ({"users": 10}, 3, "--num-users"),
        ({"duration_seconds": 60.0}, 3, "--duration"),
        ({"seed": 1}, 3, "--seed"),
        ({"cpu_bytes": 0}, 3, "--cpu-mem-gb"),
        ({}, 1, "--trials"),
    ],
)
def test_published_options_are_fixed(setup: dict[str, object], trials: int, parameter: str) -> None:
    """6.3.1.1 names every figure of an option that is not the published one."""
    changed = replace(PLAN, setup=msgspec.structs.replace(V3, **setup), trials=trials)
    (issue,) = judge(PLAN_RULES, changed, phase=Phase.PLAN)
    assert (issue.rule, issue.parameter) == ("6.3.1.1", parameter)


@pytest.mark.parametrize(
    ("record", "change", "rule", "category"),
    [
        ({"verification": WRONG}, {}, "K.20", Category.INVALID),
        ({}, {"foreign": ["evil.so"]}, "K.21", Category.INVALID),
        ({"kernel_rchar": 1 << 29}, {}, "K.22", Category.INVALID),
        ({"kernel_wchar": 1 << 29}, {}, "K.22", Category.INVALID),
        ({}, {"cached_share": 0.5}, "K.23", Category.INVALID),
        ({}, {"cpu_share": 0.9}, "K.24", Category.INVALID),
        ({"lag": Latencies.of(np.full(200, 20_000_000))}, {}, "K.24", Category.INVALID),
        ({"read_series": [0] * 10 + [100] * 20}, {}, "K.25", Category.INVALID),
        ({"reads_early": 30}, {}, "K.26", Category.INVALID),
        ({"reads_absent": 30}, {}, "K.26", Category.INVALID),
        ({}, {"hashes": ("a", "b")}, "K.28", Category.INVALID),
        ({"writes_dropped": 1}, {}, "K.29", Category.OPEN),
        ({"exhausted": True}, {}, "K.30", Category.INVALID),
        ({}, {"raw": [SLOW_POINT]}, "K.31", Category.INVALID),
    ],
)
def test_result_rules_find_what_breaks_them(
    record: dict[str, object], change: dict[str, object], rule: str, category: Category
) -> None:
    """Each rule fires on the one change that breaks it, and no other does."""
    broken = replace(RESULT, scores=(merged(**record),), **change)
    (issue,) = judge(RESULT_RULES, broken, phase=Phase.RESULT)
    assert (issue.rule, issue.category) == (rule, category)


def test_trials_that_differ_are_invalid() -> None:
    """K.27: a trial with a fifth more throughput is no repetition."""
    scores = (merged(), merged(read_bytes=RECORD.read_bytes * 6 // 5))
    (issue,) = judge(RESULT_RULES, replace(RESULT, scores=scores), phase=Phase.RESULT)
    assert issue.rule == "K.27"


def test_wrong_bytes_count_in_every_phase() -> None:
    """A bad block that a load point of the search read makes the run INVALID as well."""
    subject = replace(RESULT, scores=(merged(),), checked=(merged(), merged(verification=WRONG)))
    (issue,) = judge(RESULT_RULES, subject, phase=Phase.RESULT)
    assert issue.rule == "K.20"
    assert "/c/x.kv at byte 4096" in issue.what


def test_bytes_of_the_raw_table_are_judged_too() -> None:
    """A wrong block of a raw point is no less wrong, also where nothing else was measured."""
    bad = msgspec.structs.replace(SLOW_POINT, bad=3, fio_rate=None, efficiency=None)
    subject = replace(RESULT, raw=(bad,))
    found = [i for i in judge(RESULT_RULES, subject, phase=Phase.RESULT) if i.rule == "K.20"]
    assert [(issue.category, issue.actual) for issue in found] == [
        (Category.INVALID, "3 wrong blocks")
    ]


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, True),
        ({"within": 95, "within_double": 99}, True),
        ({"within": 94}, False),
        ({"within_double": 98}, False),
        ({"unfinished_late": 10}, False),
        ({"restore": Latencies(), "within": 0, "within_double": 0}, False),
    ],
)
def test_an_slo_is_met_by_nearly_all(change: dict[str, object], met: bool) -> None:
    """95 % within the limit and 99 % within twice it, those that are overdue included; or none."""
    kind = msgspec.structs.replace(CLASS, **change)
    record = msgspec.structs.replace(RECORD, classes={"chat": kind})
    assert (not violations(record)) is met


def test_stores_that_back_up_break_an_slo() -> None:
    """Dropped stores, and stores that wait for longer than half a minute, are no service."""
    assert violations(msgspec.structs.replace(RECORD, writes_dropped=1))
    old = Latencies.of(np.full(100, 31_000_000_000))
    assert violations(msgspec.structs.replace(RECORD, write_age=old))


def test_limits_grow_with_the_tokens() -> None:
    """Interactive users get 200 ms and 10 µs per token; break-even is the time of computing it."""
    assert bases_ns(K1, "interactive") == (200_000_000, 500_000_000, 0)
    assert bases_ns(K1, "none") == ()
    assert per_token_ns(K1, "interactive") == 10_000
    assert per_token_ns(K1, "break-even") == 40_000
