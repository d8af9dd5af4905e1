"""The rules of a set of training runs: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering); `T.…` are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.rules import SINCE_SECOND, Category, Issue, Phase, Rule
from mlpstorage.core.stats import mean
from mlpstorage.core.units import format_seconds
from mlpstorage.kinds.sittings import pauses, seconds_of
from mlpstorage.report.model import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import Member, SetSubject
    from mlpstorage.kinds.run_details import HostRecord
    from mlpstorage.store.runs import StoredRun

MEASURED = 5
MOST_DEVIATION = 0.05
MOST_UNLIKE = 0.10
_FIRST = "1.0"
_THROUGHPUT = "train_throughput_samples_per_second"


def number_of_runs(subject: SetSubject) -> Iterator[Issue]:
    """2.1.17: a set has a warm-up, which is dropped, and five measured runs.

    The texts contradict each other: "5 runs" in the first rounds, "exactly 6" directories later,
    "5x per accelerator type" in an answer. Here: five runs in the first round, since then six of
    which the first is the warm-up; runs of other accelerators are a set of their own.
    """
    warm = sum(member.role is Role.WARM_UP for member in subject.members)
    wanted = (0 if subject.edition == _FIRST else 1, MEASURED)
    actual = (min(warm, 1), len(subject.measured))
    if actual != wanted:
        before = "a warm-up and " if wanted[0] else ""
        yield Issue(
            "2.1.17",
            Category.INVALID,
            "not the number of runs of a set",
            parameter="runs",
            expected=f"{before}{MEASURED} measured runs that ended",
            actual=f"{'a warm-up and ' if warm else ''}{len(subject.measured)}",
            fix=f"run it with --loops {MEASURED}",
        )


def _ended(subject: SetSubject) -> list[Member]:
    """The warm-up and the measured runs."""
    counted = {member.run.directory for member in subject.measured}
    return [m for m in subject.members if m.role is Role.WARM_UP or m.run.directory in counted]


def gaps(subject: SetSubject) -> Iterator[Issue]:
    """2.1.18: the pause between neighbours is shorter than a run.

    The text says "one run's duration" and not whose: here the longest of the set. A run that failed
    between two others fills the pause; one before the first or after the last is no part of it.
    """
    kept = _ended(subject)
    places = [n for n, member in enumerate(subject.members) if any(member is k for k in kept)]
    ended = subject.members[min(places) : max(places) + 1] if places else ()
    longest = max((seconds_of(member) or 0.0 for member in ended), default=0.0)
    for before, after, pause in pauses(ended):
        if pause >= longest or pause < 0:
            yield Issue(
                "2.1.18",
                Category.INVALID,
                "too long a pause" if pause > 0 else "runs overlap, or the clocks disagree",
                parameter=f"{before.run.run_id} to {after.run.run_id}",
                expected=f"less than {format_seconds(longest)}, the longest run",
                actual=format_seconds(pause) if pause > 0 else f"{pause:.0f} s",
                fix="make the runs of a set one after the other",
            )
            return


def _no_times(subject: SetSubject) -> str:
    known = [member for member in subject.members if member.run.start and member.run.end]
    return "" if len(known) > 1 or len(subject.members) < MEASURED else "starts and ends of runs"


def one_setup(subject: SetSubject) -> Iterator[Issue]:
    """2.1.9: all runs of a set have the same parameters, and as many ranks on as many hosts.

    Compared are all parameters but the seed, the ranks and the hosts, as each measured run has
    recorded them; the warm-up is left out. A mean over different work would say nothing: INVALID.
    """
    found = {(m.facts.setup, m.run.ranks, m.facts.hosts) for m in subject.measured}
    if len(found) > 1:
        yield Issue(
            "2.1.9",
            Category.INVALID,
            "the runs of the set differ in their parameters, ranks or hosts",
            parameter="parameters",
            expected="the same in every run, but for the seed",
            actual=f"{len(found)} different ones",
            fix="keep runs of other setups in sets of their own",
        )


def _no_setup(subject: SetSubject) -> str:
    return "" if all(m.facts.setup for m in subject.measured) else "the parameters of the runs"


def seeds_change(subject: SetSubject) -> Iterator[Issue]:
    """T.5: every run of a set reads in an order of its own.

    The text asks for it ("the random seed changes per run") without a number of its own.
    """
    seeds = [seed for member in _ended(subject) if (seed := _seed(member.run)) is not None]
    if len(set(seeds)) < len(seeds):
        yield Issue(
            "T.5",
            Category.INVALID,
            "runs of the set have the same seed",
            parameter="train.seed",
            expected="another seed in every run",
            actual=", ".join(map(str, seeds)),
            fix="leave train.seed out and run it with --loops",
        )


def _seed(run: StoredRun) -> int | None:
    if run.seed is not None:
        return run.seed
    train = run.parameters.get("train")
    found = train.get("seed") if isinstance(train, dict) else None
    return found if isinstance(found, int) else None


def _no_seeds(subject: SetSubject) -> str:
    known = any(_seed(member.run) is not None for member in subject.members)
    return "" if known else "the seeds of the runs"


def replicable(subject: SetSubject) -> Iterator[Issue]:
    """T.6: the throughput of every measured run is within five percent of their mean.

    The text asks for "5 % replicability within 5 tries" of a result; here of each run of the set.
    """
    values = [v for m in subject.measured if (v := m.facts.value(_THROUGHPUT)) is not None]
    centre = mean(values)
    worst = max((abs(value - centre) / centre for value in values if centre), default=0.0)
    if worst > MOST_DEVIATION:
        yield Issue(
            "T.6",
            Category.INVALID,
            "the runs of the set differ too much",
            parameter="throughput",
            expected=f"within {100 * MOST_DEVIATION:.0f} % of the mean",
            actual=f"{100 * worst:.1f} %",
            fix="make sure that nothing else uses the storage, and run the set again",
        )


def equal_accelerators(subject: SetSubject) -> Iterator[Issue]:
    """3.3.6: every host emulates as many accelerators as the others.

    In each measured run the number of ranks is a multiple of the number of hosts; otherwise the set
    is INVALID. The two totals are compared, not what each host had.
    """
    for member in subject.measured:
        ranks, hosts = member.run.ranks, member.facts.hosts
        if ranks and hosts and ranks % hosts:
            yield Issue(
                "3.3.6",
                Category.INVALID,
                "the hosts do not emulate equal numbers of accelerators",
                parameter="--num-accelerators",
                expected=f"a multiple of {hosts} hosts",
                actual=str(ranks),
                fix=f"emulate a multiple of {hosts} accelerators",
            )
            return


def similar_nodes(subject: SetSubject) -> Iterator[Issue]:
    """3.3.7: the client hosts are alike: a remark where memory, cores or systems differ.

    Memory counts as alike within ten percent.
    """
    for member in subject.measured:
        nodes: tuple[HostRecord, ...] = member.facts.figures.get("nodes", ())
        memory = [node.memory_bytes for node in nodes if node.memory_bytes]
        differing = [
            name
            for name, values in (
                ("cores", {node.cores for node in nodes}),
                ("operating system", {node.operating_system for node in nodes}),
                ("kernel", {node.kernel for node in nodes}),
            )
            if len(values) > 1
        ]
        if memory and max(memory) > (1 + MOST_UNLIKE) * min(memory):
            differing.insert(0, "memory")
        if differing:
            yield Issue(
                "3.3.7",
                Category.CLOSED,
                f"the client hosts differ in {', '.join(differing)}",
                parameter="--hosts",
                expected="hosts that are alike",
                actual=f"{len(nodes)} hosts of different kinds",
                fix="use hosts that are alike, or say in the system's description why not",
            )
            return


def _no_nodes(subject: SetSubject) -> str:
    known = all(m.facts.hosts == 1 or m.facts.figures.get("nodes") for m in subject.measured)
    return "" if known else "the client hosts"


def _no_hosts(subject: SetSubject) -> str:
    known = [m for m in subject.measured if m.run.ranks and m.facts.hosts]
    return "" if len(known) == len(subject.measured) else "the ranks and hosts of every run"


SET_RULES: tuple[Rule[SetSubject], ...] = (
    Rule("2.1.9", "One setup", Phase.SET, one_setup, lacks=_no_setup),
    Rule("2.1.17", "Number of runs", Phase.SET, number_of_runs),
    Rule("2.1.18", "Pauses between runs", Phase.SET, gaps, lacks=_no_times),
    Rule("3.3.6", "Equal accelerators", Phase.SET, equal_accelerators, lacks=_no_hosts),
    Rule("3.3.7", "Similar nodes", Phase.SET, similar_nodes, lacks=_no_nodes),
    Rule("T.5", "Seeds change", Phase.SET, seeds_change, editions=SINCE_SECOND, lacks=_no_seeds),
    Rule("T.6", "Replicability", Phase.SET, replicable),
)
