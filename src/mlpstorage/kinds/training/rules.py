"""The training rules: each a pure function of a subject, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering); `T.…` are our own, about evidence.
The same functions judge the plan before a run and the result after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.rules import CLOSED_ONLY, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes
from mlpstorage.kinds.evidence import MAX_CACHED_SHARE, from_memory, not_accounted, same_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpstorage.kinds.training.sizing import Sizing
    from mlpstorage.kinds.training.workload import Workload

# What each division lets a submitter change; the tool's own values never stand here.
CLOSED_PARAMETERS = frozenset(
    {
        "dataset.num_files_train",
        "dataset.num_subfolders_train",
        "reader.read_threads",
        "reader.computation_threads",
        "reader.transfer_size",
        "reader.prefetch_size",
        "reader.odirect",
    }
)
OPEN_PARAMETERS = CLOSED_PARAMETERS | {
    "dataset.format",
    "dataset.num_samples_per_file",
    "reader.data_loader",
    "reader.decode",
}
MAX_CLOSED_PREFETCH = 2
# How the edition of figures ends that were announced, not published.
PREVIEW = "-preview"


@dataclass(frozen=True)
class PlanSubject:
    """What can be judged before a run; `minimum` is worked out from the larger known memory."""

    workload: Workload
    overrides: Mapping[str, Any]
    files: int
    minimum: Sizing
    trial: bool = False
    own_workload: bool = False
    same_filesystem: bool | None = None


@dataclass(frozen=True)
class ResultSubject:
    """What can be judged after a run; shares are 0 to 1, None where they cannot be known."""

    workload: Workload
    au_percent: float
    bytes_read: int
    bytes_expected: int
    cached_share: float | None
    filesystem: str = ""


def dataset_size(plan: PlanSubject) -> Iterator[Issue]:
    """3.1.2: the data set is at least as large as the sizing formula asks.

    Samples ≥ 500 steps × samples of a step × accelerators, and ≥ 5 × the memory of all client hosts
    ÷ bytes of a sample; the larger bound decides. `training datasize` works it out.
    """
    if plan.files >= plan.minimum.files:
        return
    reason = "a trial is smaller than any valid run" if plan.trial else "the data set is too small"
    yield Issue(
        "3.1.2",
        Category.INVALID,
        f"{reason} (the bound by {plan.minimum.binds} decides)",
        parameter="dataset.num_files_train",
        expected=f">= {plan.minimum.files} files (about {format_bytes(plan.minimum.bytes)})",
        actual=f"{plan.files} files",
        fix="generate what `training datasize` asks for",
    )


def different_filesystems(plan: PlanSubject) -> Iterator[Issue]:
    """3.4.2: results are not written to the filesystem that is measured.

    The published text does not say what OPEN allows; here such a run is at best OPEN.
    """
    return same_place(
        "3.4.2", "data and results are", "the data directory's", same=plan.same_filesystem
    )


def allowed_parameters(plan: PlanSubject) -> Iterator[Issue]:
    """3.6.2: CLOSED changes only the parameters that it leaves free.

    OPEN may also change dataset.format, dataset.num_samples_per_file, reader.data_loader and
    reader.decode.
    """
    for name in sorted(OPEN_PARAMETERS - CLOSED_PARAMETERS):
        if name in plan.overrides:
            yield _changed("3.6.2", Category.OPEN, name, plan, "CLOSED")


def fixed_parameters(plan: PlanSubject) -> Iterator[Issue]:
    """3.6.3: what makes the workload is changed in no division.

    A run that changes it says something of the storage all the same: --allow-invalid-params.
    """
    for name in plan.overrides:
        if name not in OPEN_PARAMETERS:
            yield _changed("3.6.3", Category.INVALID, name, plan, "any division")


def _changed(rule: str, category: Category, name: str, plan: PlanSubject, where: str) -> Issue:
    return Issue(
        rule,
        category,
        f"{name} may not be changed in {where}",
        parameter=name,
        expected="the workload's value",
        actual=str(plan.overrides[name]),
        fix=f"leave {name} out of --params",
    )


def closed_ranges(plan: PlanSubject) -> Iterator[Issue]:
    """3.6.2: parameters that CLOSED leaves free only within a range or for one model.

    reader.prefetch_size is 2 batches at most, and reader.odirect=true is for unet3d only. What goes
    beyond is at best OPEN. The published text calls direct I/O of another model INVALID; the milder
    verdict is our choice.
    """
    prefetch = plan.overrides.get("reader.prefetch_size")
    if prefetch is not None and prefetch > MAX_CLOSED_PREFETCH:
        yield Issue(
            "3.6.2",
            Category.OPEN,
            "prefetch is deeper than CLOSED allows",
            parameter="reader.prefetch_size",
            expected=f"0 to {MAX_CLOSED_PREFETCH}",
            actual=str(prefetch),
            fix="set reader.prefetch_size to 2 or less",
        )
    if plan.workload.reader.odirect and plan.workload.model != "unet3d":
        yield Issue(
            "3.6.2",
            Category.OPEN,
            "direct I/O is free in CLOSED for unet3d only",
            parameter="reader.odirect",
            expected="false",
            actual="true",
            fix="leave reader.odirect out of --params",
        )


def published_workload(plan: PlanSubject) -> Iterator[Issue]:
    """T.1: a user's own workload file is comparable with itself only.

    Samples, batch, compute time and AU floor of a --workload-file are the user's own: no other
    result stands for the same work. Such a run is at best OPEN. The rule is ours.
    """
    if plan.own_workload:
        yield Issue(
            "T.1",
            Category.OPEN,
            "the figures come from your own workload file",
            parameter="--workload-file",
            expected="a packaged workload",
            actual=plan.workload.model,
            fix="leave --workload-file out and choose a packaged --model",
        )


def final_figures(plan: PlanSubject) -> Iterator[Issue]:
    """T.4: a preview edition's figures are not those of any published benchmark.

    An edition whose name ends in -preview (`training configview` shows it) has figures that were
    announced and may still change. A run with such a model and accelerator is at best OPEN. The
    rule is ours.
    """
    edition = plan.workload.edition
    if edition.endswith(PREVIEW):
        yield Issue(
            "T.4",
            Category.OPEN,
            f"the figures of {plan.workload.model} on {plan.workload.accelerator} are a preview",
            parameter="--accelerator-type",
            expected="figures of a published edition",
            actual=f"edition {edition}",
            fix="choose an accelerator whose figures are published: see training configview",
        )


def utilisation(result: ResultSubject) -> Iterator[Issue]:
    """3.3.2: accelerator utilisation reaches the workload's floor.

    AU = computing ÷ (computing + waiting) over the steps but the first, mean over ranks and epochs;
    floors are 70 to 90 % (docs/training.md). What to do: fewer accelerators, or faster storage.
    """
    floor = 100 * result.workload.metric.au
    # A comparison that is false for nan: a run too short to have a metric window is INVALID.
    if not result.au_percent >= floor:
        yield Issue(
            "3.3.2",
            Category.INVALID,
            "accelerator utilisation is below the floor",
            parameter="AU",
            expected=f">= {floor:.0f} %",
            actual=f"{result.au_percent:.2f} %",
            fix="emulate fewer accelerators, or use faster storage",
        )


def bytes_accounted(result: ResultSubject) -> Iterator[Issue]:
    """T.2: the kernel saw the ranks read what the plan says, within one percent.

    rchar of /proc/self/io, summed over ranks and epochs, is compared with the bytes of the samples
    that were to be read. A difference of more than 1 %, and more than 1 MiB, is INVALID: the
    figures would be those of other work. The rule is ours.
    """
    return not_accounted(
        "T.2",
        "the bytes read are not the bytes of the samples",
        result.bytes_read,
        result.bytes_expected,
        counter="rchar of the ranks",
        fix="report this: the engine read something else than it planned",
    )


def cold_reads(result: ResultSubject) -> Iterator[Issue]:
    """T.3: the bytes came from storage, not from the clients' page cache.

    The cached share is 1 less Σ min(read_bytes, rchar) ÷ Σ rchar, of /proc/self/io of every rank in
    every epoch. More than 5 % is INVALID: memory would have been measured. It is not judged where
    the kernel does not count the reads of a filesystem by process. The rule is ours.
    """
    return from_memory(
        "T.3",
        "the data",
        result.cached_share,
        result.filesystem,
        most=MAX_CACHED_SHARE,
        fix="use a larger data set, --drop-caches auto, or reader.odirect=true",
    )


PLAN_RULES: tuple[Rule[PlanSubject], ...] = (
    Rule("3.1.2", "Size of the data set", Phase.PLAN, dataset_size),
    Rule(
        "3.4.2",
        "Results on another filesystem",
        Phase.PLAN,
        different_filesystems,
        divisions=CLOSED_ONLY,
    ),
    Rule("3.6.2", "Parameters of the divisions", Phase.PLAN, allowed_parameters),
    Rule("3.6.3", "Parameters of no division", Phase.PLAN, fixed_parameters),
    Rule("3.6.2", "Ranges of CLOSED parameters", Phase.PLAN, closed_ranges, divisions=CLOSED_ONLY),
    Rule("T.1", "Published workload", Phase.PLAN, published_workload, divisions=CLOSED_ONLY),
    Rule("T.4", "Preview figures", Phase.PLAN, final_figures, divisions=CLOSED_ONLY),
)
RESULT_RULES: tuple[Rule[ResultSubject], ...] = (
    Rule("3.3.2", "Accelerator utilisation", Phase.RESULT, utilisation),
    Rule("T.2", "Bytes accounted for", Phase.RESULT, bytes_accounted),
    Rule("T.3", "Cold reads", Phase.RESULT, cold_reads),
)
