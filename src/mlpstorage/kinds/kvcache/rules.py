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
    """K.1: a result compares with others only if the blocks are those of a profile."""
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
    """K.2: the users are those of the standard workload, or of a published option."""
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
    """K.3: blocks pass the page cache by."""
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
    """K.4: a score is the median of at least three trials."""
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
    """K.5: the cache is larger than what clients and storage could hold in memory."""
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
    """K.6: less than half a minute says nothing; CLOSED asks for load points of two minutes."""
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
    """K.7: no tier in front of storage, written through: storage is what is measured."""
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
    """K.8: the speeds of plain reads and writes stand beside the score."""
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
    """K.9: users are counted by one SLO."""
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
    """6.4.2: results are not written to the filesystem that is measured."""
    return same_place(
        "6.4.2", "cache and results are", "the cache directory's", same=plan.same_filesystem
    )


def fixed_workload(plan: PlanSubject) -> Iterator[Issue]:
    """6.3.1.1: the workload of a published option is fixed."""
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
