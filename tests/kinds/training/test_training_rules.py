"""Every training rule, on a case that passes and one that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.kinds.training.rules import (
    PLAN_RULES,
    RESULT_RULES,
    PlanSubject,
    ResultSubject,
)
from mlpstorage.kinds.training.sizing import size_dataset
from mlpstorage.kinds.training.workload import resolve_workload

UNET3D = resolve_workload("unet3d", "h100").workload
RESNET50 = resolve_workload("resnet50", "h100").workload
PREVIEW = resolve_workload("retinanet", "h100").workload
PLAN = PlanSubject(
    workload=UNET3D,
    overrides={},
    files=3500,
    minimum=size_dataset(UNET3D, 1, 1 << 30),
    same_filesystem=False,
)
RESULT = ResultSubject(
    workload=UNET3D,
    au_percent=92.0,
    bytes_read=1_000_000_000,
    bytes_expected=1_000_000_000,
    cached_share=0.0,
    filesystem="xfs",
)


def test_a_good_plan_and_a_good_result_have_no_issue() -> None:
    """What follows the rules stays CLOSED."""
    assert list(judge(PLAN_RULES, PLAN, phase=Phase.PLAN)) == []
    assert list(judge(RESULT_RULES, RESULT, phase=Phase.RESULT)) == []


@pytest.mark.parametrize(
    ("change", "rule", "category"),
    [
        ({"files": 3499}, "3.1.2", Category.INVALID),
        ({"files": 35, "trial": True}, "3.1.2", Category.INVALID),
        ({"same_filesystem": True}, "3.4.2", Category.OPEN),
        ({"overrides": {"dataset.format": "npz"}}, "3.6.2", Category.OPEN),
        ({"overrides": {"train.epochs": 1}}, "3.6.3", Category.INVALID),
        ({"overrides": {"reader.prefetch_size": 3}}, "3.6.2", Category.OPEN),
        ({"own_workload": True}, "T.1", Category.OPEN),
        ({"workload": PREVIEW}, "T.4", Category.OPEN),
    ],
)
def test_plan_rules_find_what_breaks_them(
    change: dict[str, object], rule: str, category: Category
) -> None:
    """Each plan rule names itself and the best category that is left."""
    issues = list(judge(PLAN_RULES, replace(PLAN, **change), phase=Phase.PLAN))  # type: ignore[arg-type]
    assert [(issue.rule, issue.category) for issue in issues] == [(rule, category)]
    assert issues[0].expected
    assert issues[0].actual


@pytest.mark.parametrize(
    "overrides",
    [
        {"dataset.num_files_train": 5000},
        {"dataset.num_subfolders_train": 2},
        {"reader.read_threads": 16},
        {"reader.computation_threads": 4},
        {"reader.transfer_size": 1 << 22},
        {"reader.prefetch_size": 2},
        {"reader.odirect": True},
    ],
)
def test_closed_leaves_its_parameters_free(overrides: dict[str, object]) -> None:
    """The parameters that CLOSED allows raise no issue."""
    assert list(judge(PLAN_RULES, replace(PLAN, overrides=overrides), phase=Phase.PLAN)) == []


@pytest.mark.parametrize("model", ["retinanet", "dlrm", "flux"])
@pytest.mark.parametrize("accelerator", ["b200", "mi355"])
def test_published_figures_stay_closed(model: str, accelerator: str) -> None:
    """Only the accelerators with preview figures leave CLOSED; the published ones do not."""
    plan = replace(PLAN, workload=resolve_workload(model, accelerator).workload)
    assert list(judge(PLAN_RULES, plan, phase=Phase.PLAN)) == []


@pytest.mark.parametrize("model", ["retinanet", "dlrm", "flux"])
@pytest.mark.parametrize("accelerator", ["h100", "a100"])
def test_preview_figures_are_open(model: str, accelerator: str) -> None:
    """A run with figures that were announced, not published, is OPEN and says which they are."""
    plan = replace(PLAN, workload=resolve_workload(model, accelerator).workload)
    (issue,) = judge(PLAN_RULES, plan, phase=Phase.PLAN)
    assert (issue.rule, issue.category) == ("T.4", Category.OPEN)
    assert issue.actual == "edition 3.0-preview"


@pytest.mark.parametrize(
    ("override", "category"),
    [
        ({"dataset.format": "npz"}, Category.OPEN),
        ({"dataset.num_samples_per_file": 1000}, Category.OPEN),
        ({"reader.decode": "full"}, Category.OPEN),
        ({"dataset.parquet.row_group_size": 1000}, Category.INVALID),
        ({"dataset.parquet.compression": "zstd"}, Category.INVALID),
        ({"train.computation_time": 1.0}, Category.INVALID),
    ],
)
def test_what_may_be_changed_of_a_table(override: dict[str, object], category: Category) -> None:
    """Its format and samples per file are free in OPEN; its layout is free nowhere."""
    workload = resolve_workload("dlrm", "b200").workload
    plan = replace(PLAN, workload=workload, overrides=override)
    (issue,) = judge(PLAN_RULES, plan, phase=Phase.PLAN)
    assert issue.category is category


def test_direct_reading_is_closed_for_unet3d_only() -> None:
    """O_DIRECT on another model leaves CLOSED."""
    direct = resolve_workload("resnet50", "h100", ["reader.odirect=true"])
    plan = PlanSubject(
        workload=direct.workload,
        overrides=direct.overrides,
        files=160,
        minimum=size_dataset(RESNET50, 1, 1 << 30),
    )
    (issue,) = judge(PLAN_RULES, plan, phase=Phase.PLAN)
    assert (issue.rule, issue.parameter) == ("3.6.2", "reader.odirect")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"au_percent": 89.99}, "3.3.2"),
        ({"au_percent": float("nan")}, "3.3.2"),
        ({"bytes_read": 980_000_000}, "T.2"),
        ({"bytes_read": 1_020_000_000}, "T.2"),
        ({"cached_share": 0.06}, "T.3"),
    ],
)
def test_result_rules_find_what_breaks_them(change: dict[str, object], rule: str) -> None:
    """Each result rule makes a broken result INVALID."""
    issues = list(judge(RESULT_RULES, replace(RESULT, **change), phase=Phase.RESULT))  # type: ignore[arg-type]
    assert [(issue.rule, issue.category) for issue in issues] == [(rule, Category.INVALID)]


def test_unknown_cache_share_is_no_finding() -> None:
    """Where the kernel does not count device reads, nothing is claimed."""
    assert not list(judge(RESULT_RULES, replace(RESULT, cached_share=None), phase=Phase.RESULT))
