"""Judging training runs of other tools: the same rules, as far as their files say enough.

DLIO keeps the whole configuration of a run beside its summary, so that most of what a rule needs is
there. What is not, such as the bytes that the kernel saw, is named as not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.config import parse_yaml, scalar
from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.rules import Category, Issue
from mlpstorage.core.units import GIB
from mlpstorage.kinds.reporting import rules_edition, setup_hash, unrecorded
from mlpstorage.kinds.training.rules import (
    PLAN_RULES,
    RESULT_RULES,
    PlanSubject,
    ResultSubject,
    allowed_parameters,
    closed_ranges,
    dataset_size,
    fixed_parameters,
    utilisation,
)
from mlpstorage.kinds.training.sizing import size_dataset
from mlpstorage.kinds.training.workload import resolve_workload
from mlpstorage.store.files import read_text
from mlpstorage.store.published import config_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpstorage.core.rules import Rule
    from mlpstorage.kinds.training.workload import Workload
    from mlpstorage.report.model import Unjudged
    from mlpstorage.store.runs import StoredRun

# Where data and output lie, what a command does, and what tools set themselves: not parameters.
_APART = (
    "workflow.", "output.", "profiling.", "profiler", "storage.", "hydra.", "checkpoint.",
    "dataset.data_folder", "dataset.skip_listing", "dataset.listing_validation_interval",
    "dataset.num_files_generated", "dataset.total_disk_bytes", "workload",
)  # fmt: skip
# The figures of a workload that a configuration must repeat.
_FIXED = ("train.computation_time", "reader.batch_size", "dataset.num_samples_per_file")
_EXACT = 1e-6
_RULES: tuple[Rule[Any], ...] = (*PLAN_RULES, *RESULT_RULES)


@dataclass(frozen=True)
class DlioFigures:
    """What a summary of DLIO says that rules look at; `memory_gib` is of all hosts together."""

    au_percent: float | None
    accelerators: int | None
    hosts: int | None
    files: int | None
    samples_per_file: int | None
    memory_gib: float | None


@dataclass(frozen=True)
class Elsewhere:
    """What came of judging, and what names the run's setup."""

    issues: tuple[Issue, ...]
    unjudged: tuple[Unjudged, ...]
    setup: str


def judge_elsewhere(run: StoredRun, figures: DlioFigures) -> Elsewhere:
    """Judge a run of another tool as far as it is recorded."""
    config, edition = _configuration(run), rules_edition(run)
    overrides = {name: scalar(v) if isinstance(v, str) else v for name, v in _changed(run)}
    setup = setup_hash(overrides, figures.files, figures.accelerators, figures.hosts)
    try:
        workload = resolve_workload(run.model, run.accelerator).workload
    except MlpstorageError:
        why = f"{run.model or 'the model'} on {run.accelerator or 'its accelerator'} is not known"
        return Elsewhere((), unrecorded(_RULES, edition, (), why), setup)
    issues, judged = _judged(workload, figures, overrides, config)
    return Elsewhere(tuple(issues), unrecorded(_RULES, edition, judged), setup)


def _configuration(run: StoredRun) -> dict[str, Any]:
    """The leaves of the configuration that DLIO wrote, by dotted name; empty where it is gone."""
    path = config_file(run.directory, "config.yaml")
    if path is None:
        return dict(run.parameters)
    try:
        document = parse_yaml(read_text(path), str(path)).section("workload")
    except MlpstorageError:
        return {}
    return dict(document.leaves())


def _changed(run: StoredRun) -> Iterator[tuple[str, Any]]:
    """The parameters that the run was given, without what no rule counts as one."""
    for name, value in run.overrides.items():
        if not name.startswith(_APART):
            yield name, value


def _judged(
    workload: Workload,
    figures: DlioFigures,
    overrides: Mapping[str, Any],
    config: Mapping[str, Any],
) -> tuple[list[Issue], set[Any]]:
    """The issues, and the functions of the rules that could be judged."""
    issues = list(_fixed_figures(workload, config))
    judged: set[Any] = set()
    memory = figures.memory_gib
    if figures.files is not None and figures.accelerators is not None and memory is not None:
        plan = PlanSubject(
            workload=workload,
            overrides=overrides,
            files=figures.files,
            minimum=size_dataset(workload, figures.accelerators, round(memory * GIB)),
        )
        for check in (dataset_size, allowed_parameters, fixed_parameters, closed_ranges):
            issues += check(plan)
            judged.add(check)
    if figures.au_percent is not None:
        issues += utilisation(ResultSubject(workload, figures.au_percent, 0, 0, None))
        judged.add(utilisation)
    return issues, judged


def _fixed_figures(workload: Workload, config: Mapping[str, Any]) -> Iterator[Issue]:
    """3.6.3: what the configuration says of the workload is what was published."""
    published: dict[str, float] = {
        "train.computation_time": workload.train.computation_time,
        "reader.batch_size": workload.reader.batch_size,
        "dataset.num_samples_per_file": workload.dataset.num_samples_per_file,
    }
    for name in _FIXED:
        actual, expected = config.get(name), published[name]
        if isinstance(actual, int | float) and abs(actual - expected) > _EXACT * expected:
            yield Issue(
                "3.6.3",
                Category.INVALID,
                f"{name} is not that of the workload",
                parameter=name,
                expected=f"{expected:g}",
                actual=f"{actual:g}",
                fix="compare it with runs of the same figures only",
            )
