from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.result_rules import RESULT_RULES, PointSubject, ResultSubject
from mlpstorage.kinds.vectordb.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.vectordb.workload import resolve_workload

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.workload import Workload

GIB = 1 << 30


def scale(name: str = "closed-1m", *params: str) -> Workload:
    """A scale with parameters laid over it."""
    return resolve_workload(name, params=params).workload


PLAN = PlanSubject(
    workload=scale(),
    backend=backend_named("zvec"),
    index="DISKANN",
    overridden=(),
    steady_seconds=60,
    raw_bytes=6 * GIB,
    memory_bytes=64 * GIB,
    capped=True,
    same_filesystem=False,
)
POINT = PointSubject(
    clients=8,
    queries=50_000,
    failed=0,
    overdue=0,
    seconds=60.0,
    least_seconds=60.0,
    bytes_per_query=130_000,
    cpu_share=0.3,
    p99_ms=5.0,
    agreement=0.0,
    recall=0.95,
    recall_queries=400,
)
RESULT = ResultSubject(
    workload=scale(),
    recall=0.96,
    recall_p5=0.8,
    recall_queries=10_000,
    points=(POINT,),
    scored=0,
    query_reuse=0.5,
    index_bytes=8 * GIB,
    cap_bytes=GIB,
    exceeds_memory=False,
    source="the engine's own counters",
    recall_deviation=0.08,
)


def test_a_run_by_all_rules_is_closed() -> None:
    """No rule finds anything in a plan and a result that keep them all."""
    assert not list(judge(PLAN_RULES, PLAN, phase=Phase.PLAN))
    assert not list(judge(RESULT_RULES, RESULT, phase=Phase.RESULT))


@pytest.mark.parametrize(
    ("changes", "rule", "category"),
    [
        ({"workload": scale("tiny")}, "5.1.1", "OPEN"),
        ({"overridden": ("dataset.seed",)}, "5.1.1", "OPEN"),
        ({"own_workload": True}, "5.1.1", "OPEN"),
        ({"real_data": True}, "5.1.1", "OPEN"),
        ({"backend": backend_named("ivf-probe"), "index": "IVF_FLAT"}, "5.6.2", "OPEN"),
        (
            {"backend": replace(backend_named("zvec"), metrics=("l2",))},
            "5.6.3",
            "INVALID",
        ),
        ({"steady_seconds": 59.0}, "5.3.3", "OPEN"),
        ({"workload": scale("closed-1m", "search.k=100")}, "5.6.4", "OPEN"),
        ({"workload": scale("closed-1m", "search.target_recall=0.9")}, "5.6.4", "OPEN"),
        ({"batch": 2}, "5.6.4", "OPEN"),
        ({"same_filesystem": True}, "5.4.2", "OPEN"),
        ({"cache_state": "warm"}, "V.1", "OPEN"),
        ({"capped": False}, "V.2", "OPEN"),
    ],
)
def test_what_a_plan_rule_finds(changes: dict[str, Any], rule: str, category: str) -> None:
    """Each rule of a plan finds its own fault, and no other rule does."""
    found = list(judge(PLAN_RULES, replace(PLAN, **changes), phase=Phase.PLAN))
    assert [(issue.rule, issue.category.name) for issue in found] == [(rule, category)]
    assert found[0].expected
    assert found[0].fix


def test_free_parameters_stay_closed() -> None:
    """Clients, effort and parameters of the index are free in CLOSED."""
    free = replace(PLAN, overridden=("search.concurrency", "index.max_degree", "query.list_size"))
    assert not list(judge(PLAN_RULES, free, phase=Phase.PLAN))


def test_large_data_need_no_cap() -> None:
    """Five times the memory of the hosts is as good as a cap."""
    large = replace(PLAN, capped=False, raw_bytes=320 * GIB)
    assert not list(judge(PLAN_RULES, large, phase=Phase.PLAN))


@pytest.mark.parametrize(
    ("changes", "point", "rule", "category"),
    [
        ({"recall": 0.94}, {}, "5.3.2", "INVALID"),
        ({"recall": 0.0}, {}, "5.3.2", "INVALID"),
        ({"recall": float("nan")}, {}, "5.3.2", "INVALID"),
        ({"recall_p5": 0.4}, {}, "5.3.2", "OPEN"),
        ({"workload": scale("closed-1m", "search.target_recall=0.9"), "recall": 0.91},
         {}, "5.3.2", "OPEN"),
        ({"workload": scale("closed-1m", "search.target_recall=0.5"), "recall": 0.6},
         {}, "5.3.2", "INVALID"),
        ({"workload": scale("closed-1m", "search.target_recall=0.99"), "recall": 0.98},
         {"recall": 0.98}, "5.3.2", "OPEN"),
        ({"recall_queries": 9_999}, {}, "5.3.5", "OPEN"),
        ({"query_reuse": 1.2}, {}, "5.3.3", "OPEN"),
        ({}, {"queries": 9_000}, "5.3.3", "OPEN"),
        ({}, {"queries": 0}, "5.3.3", "INVALID"),
        ({"cap_bytes": 3 * GIB}, {}, "V.2", "OPEN"),
        ({}, {"failed": 1}, "V.3", "OPEN"),
        ({}, {"failed": 100}, "V.3", "INVALID"),
        ({}, {"least_seconds": 59.0}, "V.4", "INVALID"),
        ({"timed": False}, {"least_seconds": 59.0}, "V.4", "OPEN"),
        ({}, {"recall": 0.90}, "V.9", "INVALID"),
        ({}, {"bytes_per_query": 4095.0}, "V.5", "OPEN"),
        ({"counted": False}, {}, "V.5", "OPEN"),
        ({}, {"agreement": 0.03}, "V.6", "INVALID"),
        ({}, {"cpu_share": 0.85}, "V.7", "OPEN"),
        ({"scored": None}, {}, "V.8", "OPEN"),
    ],
)  # fmt: skip
def test_what_a_result_rule_finds(
    changes: dict[str, Any], point: dict[str, Any], rule: str, category: str
) -> None:
    """Each rule of a result finds its own fault, and no other rule does."""
    subject = replace(RESULT, points=(replace(POINT, **point),), **changes)
    found = list(judge(RESULT_RULES, subject, phase=Phase.RESULT))
    assert [(issue.rule, issue.category.name) for issue in found] == [(rule, category)]
    assert found[0].what


def test_fewer_known_queries_do_for_very_many_vectors() -> None:
    """At a hundred million vectors, exact neighbours of 1,000 queries are enough."""
    many = replace(RESULT, workload=scale("closed-100m"), recall_queries=1000)
    assert not list(judge(RESULT_RULES, many, phase=Phase.RESULT))


def test_a_run_from_memory_is_called_so() -> None:
    """Queries that read nothing make the run OPEN at best, by the name of the finding."""
    subject = replace(RESULT, points=(replace(POINT, bytes_per_query=0.0),))
    (issue,) = judge(RESULT_RULES, subject, phase=Phase.RESULT)
    assert issue.what.startswith("memory_resident")
    assert issue.category is Category.OPEN


def test_rules_have_numbers_and_titles() -> None:
    """Every rule has an id and a title, and the function's docstring begins with the id."""
    for rule in (*PLAN_RULES, *RESULT_RULES):
        assert rule.title
        assert (rule.check.__doc__ or "").startswith(f"{rule.id}: ")
