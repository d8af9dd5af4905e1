"""The rules that judge a KV-cache run before it: each a pure function, named by its number.

`6.…` are those of the MLPerf Storage rules (v3.0 numbering), for its own options; `K.…` are ours.
Those that judge the result are in `result_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.rules import CLOSED_ONLY, SINCE_THIRD, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.evidence import same_place
from mlpstorage.kinds.kvcache.mlperf_v3 import v3_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.kvcache.setup import Setup

LEAST_TRIALS = 3
LEAST_SECONDS = 30
CLOSED_SECONDS = 1800
HOST_BYTES = 10**12
MEMORY_FACTOR = 2


@dataclass(frozen=True)
class PlanSubject:
    """What can be judged before a run.

    `own_workload` and `own_model` say that figures come from files of the user; `memory_bytes` is
    that of all clients together, `hosts` their number; `changed` names options of the workload
    that are not the standard ones.
    """

    setup: Setup
    trials: int
    direct: bool
    raw: bool
    slo: str
    memory_bytes: int
    hosts: int
    changed: tuple[str, ...] = ()
    own_workload: bool = False
    own_model: bool = False
    same_filesystem: bool | None = None


def published_profile(plan: PlanSubject) -> Iterator[Issue]:
    """K.1: a result compares with others only if the blocks are those of a profile.

    K1 is llama3.1-8b in blocks of 256 tokens, K2 llama3.1-70b-instruct in 256, split over 8, K3
    deepseek-v3 in 64. Blocks that equal one of them count as that profile, even if --profile does
    not name it; a --model-file never does. Otherwise the run is at best OPEN. Published options
    have blocks of their own and are not judged. The rule is ours.
    """
    if plan.setup.v3_option or (plan.setup.profile and not plan.own_model):
        return
    yield Issue(
        "K.1",
        Category.OPEN,
        "model and blocks are not those of a profile",
        parameter="--profile",
        expected="K1, K2 or K3",
        actual=f"{plan.setup.model.model}, {plan.setup.shape.block_tokens} tokens per block",
        fix="choose a --profile",
    )


def standard_users(plan: PlanSubject) -> Iterator[Issue]:
    """K.2: the users are those of the standard workload, or of a published option.

    That is --mode serve, the packaged workload `standard`, and a search for the most users instead
    of --num-users. Options that change what users ask are left at their defaults: --kv-dtype,
    --classes, --disable-multi-turn, --disable-prefix-caching, --enable-rag, --generation-mode,
    --key-space, --model-file. Otherwise the run is at best OPEN. The rule is ours.
    """
    setup = plan.setup
    if setup.v3_option:
        return
    if setup.mode != "serve":
        what, actual = "only serve is a CLOSED benchmark", f"--mode {setup.mode}"
    elif plan.own_workload or setup.workload.workload != "standard":
        what, actual = "the users are not those of the standard workload", setup.workload.workload
    elif plan.changed:
        what, actual = "options change what users ask", ", ".join(plan.changed)
    elif setup.users:
        what, actual = "the number of users is given, not searched for", f"{setup.users} users"
    else:
        return
    yield Issue(
        "K.2",
        Category.OPEN,
        what,
        parameter="--workload",
        expected="serve, standard, and a search for the most users",
        actual=actual,
        fix="leave the options out that change the workload",
    )


def direct_io(plan: PlanSubject) -> Iterator[Issue]:
    """K.3: blocks pass the page cache by.

    Blocks are read and written with O_DIRECT; --buffered is at best OPEN. What the page cache of
    the clients delivers or holds back is not the work of storage. The rule is ours.
    """
    if not plan.direct:
        yield Issue(
            "K.3",
            Category.OPEN,
            "blocks go through the page cache",
            parameter="--buffered",
            expected="direct I/O",
            actual="buffered I/O",
            fix="leave --buffered out",
        )


def enough_trials(plan: PlanSubject) -> Iterator[Issue]:
    """K.4: a score is the median of at least three trials.

    --trials is 3 or more; fewer are at best OPEN. The score is the trial with the median
    throughput, so that one lucky or disturbed trial does not decide. Published options have their
    own number, by 6.3.1.1. The rule is ours.
    """
    if plan.trials < LEAST_TRIALS and not plan.setup.v3_option:
        yield Issue(
            "K.4",
            Category.OPEN,
            "too few trials",
            parameter="--trials",
            expected=f">= {LEAST_TRIALS}",
            actual=str(plan.trials),
            fix=f"give --trials {LEAST_TRIALS}",
        )


def resident_set(plan: PlanSubject) -> Iterator[Issue]:
    """K.5: the cache is larger than what clients and storage could hold in memory.

    --capacity, in bytes over all ranks, is at least 2 × the memory of all client hosts together
    (declared or measured, whichever is more), and at least 1 TB (10¹² bytes) per client host, for
    the memory of a storage system is not seen from here. A smaller cache is at best OPEN. Published
    options are not judged. The rule is ours.
    """
    if plan.setup.v3_option:
        return
    least = max(MEMORY_FACTOR * plan.memory_bytes, HOST_BYTES * plan.hosts)
    if plan.setup.capacity_bytes < least:
        yield Issue(
            "K.5",
            Category.OPEN,
            "the cache is too small to be sure that storage serves it",
            parameter="--capacity",
            expected=f">= {format_bytes(least)}",
            actual=format_bytes(plan.setup.capacity_bytes),
            fix=f"give a --capacity of {format_bytes(least)} or more",
        )


def long_enough(plan: PlanSubject) -> Iterator[Issue]:
    """K.6: less than half a minute says nothing; CLOSED asks for load points of two minutes.

    --duration is the time of the whole measurement, of search and trials. Less than 30 s is
    INVALID, less than 1800 s is at best OPEN: a load point of the search is a fifteenth of it,
    120 s. Published options, and a trace that is replayed to its end, are not judged. The rule is
    ours.
    """
    setup = plan.setup
    seconds = setup.duration_seconds
    if setup.v3_option or (setup.mode == "replay" and not seconds):
        return
    if seconds < LEAST_SECONDS:
        category, least = Category.INVALID, LEAST_SECONDS
    elif seconds < CLOSED_SECONDS:
        category, least = Category.OPEN, CLOSED_SECONDS
    else:
        return
    yield Issue(
        "K.6",
        category,
        "the measurement is too short",
        parameter="--duration",
        expected=f">= {format_seconds(least)}",
        actual=format_seconds(seconds),
        fix=f"give --duration {least}",
    )


def storage_only(plan: PlanSubject) -> Iterator[Issue]:
    """K.7: no tier in front of storage, written through: storage is what is measured.

    --gpu-mem-gb and --cpu-mem-gb are 0, and --write-policy is inclusive: each block is read from
    storage and stored at once. Anything else is at best OPEN. Published options have tiers of their
    own and are not judged. The rule is ours.
    """
    setup = plan.setup
    if setup.v3_option:
        return
    if setup.gpu_bytes or setup.cpu_bytes or setup.write_policy != "inclusive":
        yield Issue(
            "K.7",
            Category.OPEN,
            "tiers in front of storage take a part of its work",
            parameter="--gpu-mem-gb, --cpu-mem-gb, --write-policy",
            expected="0, 0, inclusive",
            actual=f"{format_bytes(setup.gpu_bytes)}, {format_bytes(setup.cpu_bytes)}, "
            f"{setup.write_policy}",
            fix="leave these options out",
        )


def raw_table(plan: PlanSubject) -> Iterator[Issue]:
    """K.8: the speeds of plain reads and writes stand beside the score.

    Without --raw the run is at best OPEN. It measures reads and writes of the profile's block size,
    one at a time and --threads at a time, in turns with fio where that is installed: K.31 compares
    them. The rule is ours.
    """
    if not plan.raw:
        yield Issue(
            "K.8",
            Category.OPEN,
            "the table of raw speeds is missing",
            parameter="--raw",
            expected="measured",
            actual="left out",
            fix="give --raw",
        )


def declared_slo(plan: PlanSubject) -> Iterator[Issue]:
    """K.9: users are counted by one SLO.

    In --mode serve that is --slo interactive: a restore may take 200 ms (chats) or 500 ms (agents)
    and 10 µs per token; 95 % of a class keep it, 99 % keep twice as much, and no store waits for
    more than 30 s. With another SLO the run is at best OPEN. The rule is ours.
    """
    if plan.setup.mode == "serve" and plan.slo != "interactive":
        yield Issue(
            "K.9",
            Category.OPEN,
            "users are counted by another SLO",
            parameter="--slo",
            expected="interactive",
            actual=plan.slo,
            fix="give --slo interactive",
        )


def different_filesystems(plan: PlanSubject) -> Iterator[Issue]:
    """6.4.2: results are not written to the filesystem that is measured.

    --cache-dir and --results-dir are compared by the device of their filesystems. On the same one
    the run is at best OPEN: what is logged would be measured, too. The published text does not say
    what OPEN allows.
    """
    return same_place(
        "6.4.2", "cache and results are", "the cache directory's", same=plan.same_filesystem
    )


def fixed_workload(plan: PlanSubject) -> Iterator[Issue]:
    """6.3.1.1: the workload of a published option is fixed.

    Users per client, 300 s, seed 42, no GPU memory, memory per client and 3 trials are as
    published: option 1 has 200 users and 0 GiB, option 2 has 100 and 4 GiB, option 3 has 70 and
    0 GiB. Anything else is at best OPEN.
    """
    setup = plan.setup
    if not setup.v3_option:
        return
    profile = v3_profile()
    option = profile.options[setup.v3_option]
    wanted: dict[str, tuple[float, float]] = {
        "--num-users": (option.users, setup.users),
        "--duration": (profile.duration, setup.duration_seconds),
        "--seed": (profile.seed, setup.seed),
        "--gpu-mem-gb": (0, setup.gpu_bytes / (1 << 30)),
        "--cpu-mem-gb": (option.cpu_gb, setup.cpu_bytes / (1 << 30)),
        "--trials": (profile.trials, plan.trials),
    }
    for name, (expected, actual) in wanted.items():
        if expected != actual:
            yield Issue(
                "6.3.1.1",
                Category.OPEN,
                f"option {setup.v3_option} is fixed",
                parameter=name,
                expected=f"{expected:g}",
                actual=f"{actual:g}",
                fix=f"leave {name} out",
            )


PLAN_RULES: tuple[Rule[PlanSubject], ...] = (
    Rule(
        "6.3.1.1",
        "Fixed workload of the published options",
        Phase.PLAN,
        fixed_workload,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "6.4.2",
        "Results on another filesystem",
        Phase.PLAN,
        different_filesystems,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "K.1", "Profile", Phase.PLAN, published_profile, divisions=CLOSED_ONLY, editions=SINCE_THIRD
    ),
    Rule(
        "K.2",
        "Standard users",
        Phase.PLAN,
        standard_users,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("K.3", "Direct I/O", Phase.PLAN, direct_io, divisions=CLOSED_ONLY, editions=SINCE_THIRD),
    Rule("K.4", "Trials", Phase.PLAN, enough_trials, divisions=CLOSED_ONLY, editions=SINCE_THIRD),
    Rule(
        "K.5", "Resident set", Phase.PLAN, resident_set, divisions=CLOSED_ONLY, editions=SINCE_THIRD
    ),
    Rule("K.6", "Duration", Phase.PLAN, long_enough, editions=SINCE_THIRD),
    Rule(
        "K.7",
        "Storage tier alone",
        Phase.PLAN,
        storage_only,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("K.8", "Raw speeds", Phase.PLAN, raw_table, divisions=CLOSED_ONLY, editions=SINCE_THIRD),
    Rule("K.9", "SLO", Phase.PLAN, declared_slo, divisions=CLOSED_ONLY, editions=SINCE_THIRD),
)
