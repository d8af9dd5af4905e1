"""Every checkpointing rule, on a case that passes and one that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.kinds.checkpointing.layout import sizes_of
from mlpstorage.kinds.checkpointing.rules import (
    PLAN_RULES,
    RESULT_RULES,
    PlanSubject,
    ResultSubject,
)
from mlpstorage.kinds.checkpointing.workload import layout_of, resolve_workload

GIB = 1 << 30


def _plan(model: str = "llama3-8b", processes: int = 8, *params: str) -> PlanSubject:
    resolved = resolve_workload(model, params)
    layout = layout_of(resolved.workload, processes)
    return PlanSubject(
        workload=resolved.workload,
        layout=layout,
        sizes=sizes_of(layout),
        overrides=resolved.overrides,
        ranks_per_host=(4, 4) if processes == 8 else (processes,),
        host_memory_bytes=16 * GIB,
        drop_caches="auto",
        accelerator_bytes=180 * 10**9,
        same_filesystem=False,
    )


PLAN = _plan()
RESULT = ResultSubject(
    cached_share=0.0,
    filesystem="xfs",
    mismatches=0,
    first_mismatch="",
    bytes_moved=10**9,
    bytes_expected=10**9,
    verify="stamps",
)
BUFFERED = {"drop_caches": "off", "workload": _plan(
    "llama3-8b", 8, "checkpoint.odirect=false").workload}  # fmt: skip


def _found(plan: PlanSubject) -> dict[str, Category]:
    return {issue.rule: issue.category for issue in judge(PLAN_RULES, plan, phase=Phase.PLAN)}


def test_what_follows_the_rules_has_no_issue() -> None:
    """Ten writes and reads of eight processes on two hosts stay CLOSED, as does their result."""
    assert _found(PLAN) == {}
    assert list(judge(RESULT_RULES, RESULT, phase=Phase.RESULT)) == []


@pytest.mark.parametrize(
    "params",
    [
        ("checkpoint.checkpoint_folder=/x",),
        ("checkpoint.odirect=false",),
        ("checkpoint.num_checkpoints_read=0",),
        ("checkpoint.num_checkpoints_write=0",),
        ("checkpoint.mode=subset",),
    ],
)
def test_what_closed_leaves_free(params: tuple[str, ...]) -> None:
    """The folder, direct I/O, writing or reading alone, and the subset of the smallest model."""
    assert _found(_plan("llama3-8b", 8, *params)) == {}


@pytest.mark.parametrize(
    ("plan", "rule", "category"),
    [
        (replace(PLAN, host_memory_bytes=32 * GIB, **BUFFERED), "4.3.1", Category.INVALID),
        (_plan("llama3-8b", 8, "checkpoint.fsync=false"), "4.3.2", Category.INVALID),
        (_plan("llama3-8b", 8, "model.num_layers=2"), "4.3.3", Category.INVALID),
        (replace(PLAN, own_workload=True), "4.3.3", Category.INVALID),
        (replace(PLAN, accelerator_bytes=10**10), "4.3.4", Category.INVALID),
        (_plan("llama3-70b", 8, "checkpoint.mode=subset"), "4.3.5", Category.INVALID),
        (replace(PLAN, same_filesystem=True), "4.4.2", Category.OPEN),
        (_plan("llama3-8b", 16), "4.6.1", Category.OPEN),
        (_plan("llama3-8b", 12), "4.6.1", Category.INVALID),
        (replace(PLAN, ranks_per_host=(5, 3)), "4.6.2", Category.OPEN),
        (_plan("llama3-8b", 8, "checkpoint.write_threads=8"), "4.6.3", Category.OPEN),
        (_plan("llama3-8b", 8, "checkpoint.time_between_checkpoints=0"), "4.6.3", Category.OPEN),
        (replace(PLAN, gap_seconds=31.0), "4.7.1", Category.INVALID),
        (replace(PLAN, gap_seconds=-5.0), "4.7.1", Category.INVALID),
        (_plan("llama3-8b", 8, "checkpoint.num_checkpoints_write=9"), "C.1", Category.INVALID),
        (_plan("llama3-8b", 8, "checkpoint.num_checkpoints_read=1"), "C.1", Category.INVALID),
    ],
)
def test_plan_rules_find_what_breaks_them(plan: PlanSubject, rule: str, category: Category) -> None:
    """Each plan rule turns exactly its own violation into its category."""
    assert _found(plan) == {rule: category}


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, host_memory_bytes=17 * GIB, **BUFFERED),
        replace(PLAN, host_memory_bytes=32 * GIB, **{**BUFFERED, "drop_caches": "files"}),
        replace(PLAN, host_memory_bytes=32 * GIB, drop_caches="off"),
        replace(PLAN, accelerator_bytes=None),
        replace(PLAN, gap_seconds=29.0),
        _plan("llama3-405b", 512),
    ],
)
def test_plan_rules_at_their_edge(plan: PlanSubject) -> None:
    """Just enough data, dropped caches, direct reads, a short gap: no issue."""
    assert _found(plan) == {}


@pytest.mark.parametrize(
    ("change", "rule", "category"),
    [
        (
            {"mismatches": 1, "first_mismatch": "/x at offset 4096 holds zeros"},
            "C.2",
            Category.INVALID,
        ),
        ({"verify": "off"}, "C.2", Category.OPEN),
        ({"cached_share": 0.06}, "C.3", Category.INVALID),
        ({"cached_share": 1.0, "filesystem": "tmpfs"}, "C.3", Category.INVALID),
        ({"bytes_moved": 980_000_000}, "C.4", Category.INVALID),
    ],
)
def test_result_rules_find_what_breaks_them(
    change: dict[str, object], rule: str, category: Category
) -> None:
    """Each result rule turns exactly its own violation into its category."""
    subject = replace(RESULT, **change)  # type: ignore[arg-type]  # fields by name
    issues = list(judge(RESULT_RULES, subject, phase=Phase.RESULT))
    assert [(issue.rule, issue.category) for issue in issues] == [(rule, category)]
    if rule == "C.2" and category is Category.INVALID:
        assert "/x at offset 4096" in issues[0].what


def test_every_rule_has_a_number_and_a_title() -> None:
    """Nobody has to look into the code to know what a rule is about."""
    for rule in (*PLAN_RULES, *RESULT_RULES):
        assert rule.title
        assert rule.check.__doc__ is not None
        assert rule.check.__doc__.startswith(rule.id)


def test_unknown_is_not_held_against_a_run() -> None:
    """A share that cannot be known is no issue."""
    subject = replace(RESULT, cached_share=None, filesystem="fuse")
    assert list(judge(RESULT_RULES, subject, phase=Phase.RESULT)) == []
