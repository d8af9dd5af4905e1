"""The checkpointing rules: each a pure function of a subject, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering); `C.…` are our own. The same
functions judge the plan before a run and the result after it. Where the published texts leave a
choice, it is written beside the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.rules import CLOSED_ONLY, SINCE_SECOND, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes
from mlpstorage.kinds.evidence import MAX_CACHED_SHARE, from_memory, not_accounted, same_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpstorage.kinds.checkpointing.layout import Layout, Sizes
    from mlpstorage.kinds.checkpointing.workload import Workload

CLOSED_PARAMETERS = frozenset({"checkpoint.checkpoint_folder", "checkpoint.odirect"})
# They stand for flags, and rules of their own judge them.
JUDGED_PARAMETERS = frozenset(
    {
        "checkpoint.fsync",
        "checkpoint.mode",
        "checkpoint.num_checkpoints_write",
        "checkpoint.num_checkpoints_read",
    }
)
CHECKPOINTS = 10
MEMORY_FACTOR = 3
SUBSET_MODEL = "llama3-8b"
SUBSET_PROCESSES = 8
LEAST_PER_HOST = 4
MOST_GAP_SECONDS = 30.0


@dataclass(frozen=True)
class PlanSubject:
    """What can be judged before a run.

    `ranks_per_host` is how many processes each host gets; `host_memory_bytes` the larger of what
    the user says and what is measured; `gap_seconds` the time since another run wrote what this one
    only reads; None where it cannot be known.
    """

    workload: Workload
    layout: Layout
    sizes: Sizes
    overrides: Mapping[str, Any]
    ranks_per_host: tuple[int, ...]
    host_memory_bytes: int
    drop_caches: str
    accelerator_bytes: int | None = None
    gap_seconds: float | None = None
    own_workload: bool = False
    same_filesystem: bool | None = None


@dataclass(frozen=True)
class ResultSubject:
    """What can be judged after a run; shares are 0 to 1, None where they cannot be known."""

    cached_share: float | None
    filesystem: str
    mismatches: int
    first_mismatch: str
    bytes_moved: int
    bytes_expected: int
    verify: str


def memory_ratio(plan: PlanSubject) -> Iterator[Issue]:
    """4.3.1: a client writes more than three times its memory, or caches are dropped.

    One checkpoint counts, not all of them: it is what is read back. Caches are dropped by this
    program, before each read, unless --drop-caches off; direct reads do not use them.
    """
    checkpoint = plan.workload.checkpoint
    if not checkpoint.num_checkpoints_read or checkpoint.odirect or plan.drop_caches != "off":
        return
    share = max(plan.ranks_per_host) / plan.layout.processes
    on_host = share * plan.sizes.total_bytes
    if on_host < MEMORY_FACTOR * plan.host_memory_bytes:
        yield Issue(
            "4.3.1",
            Category.INVALID,
            "a checkpoint could be read from the clients' memory, and caches are not dropped",
            parameter="--drop-caches",
            expected=f"a checkpoint of {format_bytes(MEMORY_FACTOR * plan.host_memory_bytes)} "
            "per client, or caches dropped",
            actual=f"{format_bytes(on_host)} per client",
            fix="leave --drop-caches off out",
        )


def durable(plan: PlanSubject) -> Iterator[Issue]:
    """4.3.2: every file is made durable by fsync.

    checkpoint.fsync is true, as packaged: each file is on the device before it gets its name, and
    the clock runs until then. false is INVALID in both divisions: writing would end in the memory
    of the clients.
    """
    if not plan.workload.checkpoint.fsync:
        yield Issue(
            "4.3.2",
            Category.INVALID,
            "a checkpoint that is not durable is none",
            parameter="checkpoint.fsync",
            expected="true",
            actual="false",
            fix="leave checkpoint.fsync out of --params",
        )


def known_model(plan: PlanSubject) -> Iterator[Issue]:
    """4.3.3: the model is one of the four, as it was published.

    They are llama3-8b, llama3-70b, llama3-405b and llama3-1t. A --workload-file, or any model.… in
    --params, is INVALID: it compares with runs of the same model only. Without --closed such a run
    is carried out all the same.
    """
    changed = sorted(name for name in plan.overrides if name.startswith("model."))
    if plan.own_workload or changed:
        yield Issue(
            "4.3.3",
            Category.INVALID,
            "the model is none of the four of the benchmark",
            parameter="--workload-file" if plan.own_workload else changed[0],
            expected="llama3-8b, llama3-70b, llama3-405b or llama3-1t as published",
            actual=plan.workload.model.name if plan.own_workload else "changed",
            fix="compare it with runs of the same model only",
        )


def accelerator_memory(plan: PlanSubject) -> Iterator[Issue]:
    """4.3.4: the accelerators that are emulated could hold the checkpoint together.

    Processes × the memory of one accelerator (80 GB for a100 and h100, 180 GB for b200, 288 GB for
    mi355) are at least the bytes of the checkpoint, model and optimiser together. Less is INVALID:
    no such cluster could have had this state to save. It is judged only where --accelerator-type
    names one.
    """
    if plan.accelerator_bytes is None:
        return
    held = plan.accelerator_bytes * plan.layout.processes
    if held < plan.sizes.total_bytes:
        yield Issue(
            "4.3.4",
            Category.INVALID,
            "the accelerators could not hold this model",
            parameter="--accelerator-type",
            expected=f">= {format_bytes(plan.sizes.total_bytes)} over all accelerators",
            actual=format_bytes(held),
            fix="start more processes, or choose an accelerator with more memory",
        )


def declared_subset(plan: PlanSubject) -> Iterator[Issue]:
    """4.3.5: a subset is of the smallest model, and has eight processes.

    As in v3.0; v2.0 let every model run with eight.
    """
    if plan.workload.checkpoint.mode != "subset":
        return
    name, processes = plan.workload.model.name, plan.layout.processes
    if (name, processes) != (SUBSET_MODEL, SUBSET_PROCESSES):
        yield Issue(
            "4.3.5",
            Category.INVALID,
            "only a part of the checkpoint is written",
            parameter="--checkpoint-subset",
            expected=f"{SUBSET_MODEL} with {SUBSET_PROCESSES} processes",
            actual=f"{name} with {processes}",
            fix="leave --checkpoint-subset out, and start all processes",
        )


def different_filesystems(plan: PlanSubject) -> Iterator[Issue]:
    """4.4.2: results are not written to the filesystem that is measured.

    The published text does not say what OPEN allows; here such a run is at best OPEN.
    """
    return same_place(
        "4.4.2",
        "checkpoints and results are",
        "that of the checkpoint folder",
        same=plan.same_filesystem,
    )


def process_count(plan: PlanSubject) -> Iterator[Issue]:
    """4.6.1: CLOSED has an exact number of processes, OPEN a multiple of a step.

    CLOSED: 8 processes for llama3-8b, 64 for llama3-70b, 512 for llama3-405b, 1024 for llama3-1t.
    OPEN: multiples of 8, 8, 256 and 512; any other number is INVALID. The published text has
    multiples of tensor × pipeline parallelism, which for llama3-8b would be 1; the published code
    has 8, as here. A subset is judged by 4.3.5.
    """
    asked, running = plan.workload.processes, plan.layout.processes
    if asked is None or plan.workload.checkpoint.mode == "subset" or running == asked.closed:
        return
    whole = running % asked.step == 0
    yield Issue(
        "4.6.1",
        Category.OPEN if whole else Category.INVALID,
        "not the number of processes of CLOSED" if whole else "not a number of processes of OPEN",
        parameter="--num-processes",
        expected=str(asked.closed) if whole else f"{asked.closed}, or a multiple of {asked.step}",
        actual=str(running),
        fix=f"start {asked.closed} processes",
    )


def processes_per_host(plan: PlanSubject) -> Iterator[Issue]:
    """4.6.2: each host has at least four accelerators.

    One text says more than four, the table says four at least; published results have four.
    """
    least = min(plan.ranks_per_host)
    if least < LEAST_PER_HOST:
        yield Issue(
            "4.6.2",
            Category.OPEN,
            "a host has too few processes for CLOSED",
            parameter="--hosts",
            expected=f">= {LEAST_PER_HOST} processes on every host",
            actual=str(least),
            fix="use fewer hosts, or more processes",
        )


def allowed_parameters(plan: PlanSubject) -> Iterator[Issue]:
    """4.6.3: CLOSED lets nothing be changed but where the checkpoints are.

    The published text knows no direct I/O: here it is free, both ways, for a filesystem without it
    could not take part, and without it the client's processor may be what is measured. How else
    the client moves the bytes (threads, blocks, pause, shift) is free in OPEN: it changes neither
    the files nor their bytes.
    """
    for name, value in plan.overrides.items():
        ruled = name in CLOSED_PARAMETERS | JUDGED_PARAMETERS or name.startswith("model.")
        if not ruled:
            yield Issue(
                "4.6.3",
                Category.OPEN,
                f"{name} may not be changed in CLOSED",
                parameter=name,
                expected="the workload's value",
                actual=str(value),
                fix=f"leave {name} out of --params",
            )


def phase_gap(plan: PlanSubject) -> Iterator[Issue]:
    """4.7.1: a run that only reads begins within 30 s after the run that wrote has ended.

    The time is from the end of the last checkpoint, as recorded in the checkpoint folder, to the
    planning of this run. More than 30 s is INVALID, and so is less than 0 s: then the clocks of two
    hosts disagree. A run that writes and reads has no such gap.
    """
    gap = plan.gap_seconds
    if gap is not None and not 0 <= gap <= MOST_GAP_SECONDS:
        yield Issue(
            "4.7.1",
            Category.INVALID,
            "too long after the checkpoints were written" if gap > 0 else "the clocks disagree",
            parameter="--num-checkpoints-write",
            expected=f"0 to {MOST_GAP_SECONDS:.0f} s after the last checkpoint",
            actual=f"{gap:.0f} s",
            fix="write and read in one run, or start the second at once",
        )


def checkpoint_count(plan: PlanSubject) -> Iterator[Issue]:
    """C.1: ten checkpoints are written and ten are read, in one run or in one of each.

    The rules' text asks for it without a number of its own.
    """
    checkpoint = plan.workload.checkpoint
    for name, count, other in (
        ("write", checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read),
        ("read", checkpoint.num_checkpoints_read, checkpoint.num_checkpoints_write),
    ):
        if count == CHECKPOINTS or (count == 0 and other == CHECKPOINTS):
            continue
        yield Issue(
            "C.1",
            Category.INVALID,
            "not the number of checkpoints of the benchmark",
            parameter=f"--num-checkpoints-{name}",
            expected=str(CHECKPOINTS),
            actual=str(count),
            fix=f"leave --num-checkpoints-{name} out",
        )


def verified(result: ResultSubject) -> Iterator[Issue]:
    """C.2: what was read is what was written.

    --verify stamps, the default, compares the stamp of every 4 KiB sector that is read with the one
    that was written; full also compares checksums of the bytes. One difference is INVALID, and
    reading then has no figures. --verify off is at best OPEN. The rule is ours.
    """
    if result.mismatches:
        yield Issue(
            "C.2",
            Category.INVALID,
            f"data were corrupted: {result.first_mismatch}",
            parameter="blocks that differ",
            expected="0",
            actual=str(result.mismatches),
            fix="find out what changed the file; the storage, or something that wrote to it",
        )
    elif result.verify == "off":
        yield Issue(
            "C.2",
            Category.OPEN,
            "what was read was not verified",
            parameter="--verify",
            expected="stamps or full",
            actual="off",
            fix="leave --verify off out",
        )


def cold_reads(result: ResultSubject) -> Iterator[Issue]:
    """C.3: the bytes came from storage, not from the clients' page cache.

    The cached share is 1 less read_bytes ÷ rchar of /proc/self/io, over all ranks and all
    checkpoints read. More than 5 % is INVALID: memory would have been measured. It is not judged
    where the kernel does not count the reads of a filesystem by process. The rule is ours.
    """
    return from_memory(
        "C.3",
        "the checkpoints",
        result.cached_share,
        result.filesystem,
        most=MAX_CACHED_SHARE,
        fix="leave --drop-caches off out, or use checkpoint.odirect=true",
    )


def bytes_accounted(result: ResultSubject) -> Iterator[Issue]:
    """C.4: the kernel saw the ranks move what the plan says, within one percent.

    wchar while writing and rchar while reading, of /proc/self/io, are summed over all ranks and
    compared with the bytes of the checkpoints. A difference of more than 1 %, and more than 1 MiB,
    is INVALID: the figures would be those of other work. The rule is ours.
    """
    return not_accounted(
        "C.4",
        "the bytes moved are not the bytes of the checkpoints",
        result.bytes_moved,
        result.bytes_expected,
        counter="rchar and wchar of the ranks",
        fix="report this: the engine moved something else than it planned",
    )


PLAN_RULES: tuple[Rule[PlanSubject], ...] = (
    Rule("4.3.1", "Checkpoint against memory", Phase.PLAN, memory_ratio, editions=SINCE_SECOND),
    Rule("4.3.2", "fsync of every file", Phase.PLAN, durable, editions=SINCE_SECOND),
    Rule("4.3.3", "One of the four models", Phase.PLAN, known_model, editions=SINCE_SECOND),
    Rule(
        "4.3.4", "Memory of the accelerators", Phase.PLAN, accelerator_memory, editions=SINCE_SECOND
    ),
    Rule("4.3.5", "Subset of a checkpoint", Phase.PLAN, declared_subset, editions=SINCE_SECOND),
    Rule(
        "4.4.2",
        "Results on another filesystem",
        Phase.PLAN,
        different_filesystems,
        divisions=CLOSED_ONLY,
        editions=SINCE_SECOND,
    ),
    Rule("4.6.1", "Number of processes", Phase.PLAN, process_count, editions=SINCE_SECOND),
    Rule(
        "4.6.2",
        "Processes per host",
        Phase.PLAN,
        processes_per_host,
        divisions=CLOSED_ONLY,
        editions=SINCE_SECOND,
    ),
    Rule(
        "4.6.3",
        "Parameters of the divisions",
        Phase.PLAN,
        allowed_parameters,
        divisions=CLOSED_ONLY,
        editions=SINCE_SECOND,
    ),
    Rule("4.7.1", "Gap between writing and reading", Phase.PLAN, phase_gap, editions=SINCE_SECOND),
    Rule("C.1", "Number of checkpoints", Phase.PLAN, checkpoint_count, editions=SINCE_SECOND),
)
RESULT_RULES: tuple[Rule[ResultSubject], ...] = (
    Rule("C.2", "Verified data", Phase.RESULT, verified, editions=SINCE_SECOND),
    Rule("C.3", "Cold reads", Phase.RESULT, cold_reads, editions=SINCE_SECOND),
    Rule("C.4", "Bytes accounted for", Phase.RESULT, bytes_accounted, editions=SINCE_SECOND),
)
