"""Judging checkpointing runs of other tools: the same rules, as far as their files say enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.kinds.checkpointing.layout import sizes_of
from mlpstorage.kinds.checkpointing.rules import (
    PLAN_RULES,
    RESULT_RULES,
    PlanSubject,
    known_model,
    process_count,
    processes_per_host,
)
from mlpstorage.kinds.checkpointing.workload import layout_of, packaged_models, resolve_workload
from mlpstorage.kinds.reporting import rules_edition, unrecorded

if TYPE_CHECKING:
    from mlpstorage.core.rules import Issue
    from mlpstorage.report.model import Unjudged
    from mlpstorage.store.runs import StoredRun


def judge_elsewhere(
    run: StoredRun, processes: int | None, hosts: int | None
) -> tuple[tuple[Issue, ...], tuple[Unjudged, ...]]:
    """The issues of a run of another tool, and the rules that its files say too little for."""
    issues: list[Issue] = []
    judged: set[Any] = set()
    subject = _subject(run.model, processes, hosts) if processes and hosts else None
    if subject is not None:
        for check in (known_model, process_count, processes_per_host):
            issues += check(subject)
            judged.add(check)
    return tuple(issues), unrecorded((*PLAN_RULES, *RESULT_RULES), rules_edition(run), judged)


def _subject(model: str, processes: int, hosts: int) -> PlanSubject | None:
    """The run as far as its summary describes it; None for a model or a cut that is not known."""
    plain = model.lower().replace("_", "-")
    name = next((n for n in packaged_models() if n in {plain, f"llama3-{plain}"}), "")
    try:
        workload = resolve_workload(name).workload
        layout = layout_of(workload, processes)
    except MlpstorageError:
        return None
    per_host = processes // hosts
    return PlanSubject(
        workload=workload,
        layout=layout,
        sizes=sizes_of(layout),
        overrides={},
        ranks_per_host=(per_host,) * hosts,
        host_memory_bytes=0,
        drop_caches="",
    )
