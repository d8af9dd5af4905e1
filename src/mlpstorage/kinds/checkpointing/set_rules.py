"""The rules of a set of checkpointing runs: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering); `C.…` are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.rules import SINCE_SECOND, Category, Issue, Phase, Rule
from mlpstorage.kinds.checkpointing.rules import CHECKPOINTS, MOST_GAP_SECONDS
from mlpstorage.kinds.sittings import pauses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import SetSubject

MOST_RUNS = 2


def number_of_runs(subject: SetSubject) -> Iterator[Issue]:
    """2.1.23: checkpoints are written and read in one run, or written in one and read in another.

    The second round's text has each setup "executed five times", and its layout one or two runs:
    here one or two, in every round.
    """
    if not 1 <= len(subject.measured) <= MOST_RUNS:
        yield Issue(
            "2.1.23",
            Category.INVALID,
            "not the number of runs of a set",
            parameter="runs",
            expected=f"1 or {MOST_RUNS} that ended",
            actual=str(len(subject.measured)),
            fix="write and read in one run, or in one run each",
        )


def gap_between_phases(subject: SetSubject) -> Iterator[Issue]:
    """4.7.1: a run that only reads begins within 30 s after the run that wrote has ended.

    The pause between the two runs is from the recorded end of one to the recorded start of the
    next. More than 30 s, or less than 0 s (clocks that disagree), is INVALID. The run that only
    reads judges it too, by the record in the checkpoint folder.
    """
    for before, after, pause in pauses(subject.measured):
        if not 0 <= pause <= MOST_GAP_SECONDS:
            yield Issue(
                "4.7.1",
                Category.INVALID,
                "too long between writing and reading" if pause > 0 else "the clocks disagree",
                parameter=f"{before.run.run_id} to {after.run.run_id}",
                expected=f"0 to {MOST_GAP_SECONDS:.0f} s",
                actual=f"{pause:.0f} s",
                fix="write and read in one run, or start the second at once",
            )


def _no_times(subject: SetSubject) -> str:
    known = [member for member in subject.measured if member.run.start and member.run.end]
    return "" if len(known) == len(subject.measured) else "starts and ends of runs"


def all_checkpoints(subject: SetSubject) -> Iterator[Issue]:
    """C.5: the runs of a set write ten checkpoints and read ten, together.

    The rules' text asks for it without a number of its own; C.1 judges each run.
    """
    for name, count in (
        ("written", sum(member.facts.writes or 0 for member in subject.measured)),
        ("read", sum(member.facts.reads or 0 for member in subject.measured)),
    ):
        if count != CHECKPOINTS:
            yield Issue(
                "C.5",
                Category.INVALID,
                f"not the number of checkpoints {name}",
                parameter=f"checkpoints {name}",
                expected=str(CHECKPOINTS),
                actual=str(count),
                fix="write ten and read ten, in one run or in one of each",
            )


def _no_counts(subject: SetSubject) -> str:
    known = all(m.facts.writes is not None for m in subject.measured)
    return "" if known else "how many checkpoints were written and read"


def one_setup(subject: SetSubject) -> Iterator[Issue]:
    """2.1.9: the runs of a set have the same model, parameters, ranks and hosts.

    Compared are all parameters but how many checkpoints are written and read, the ranks and the
    hosts, as each measured run has recorded them. A run that writes and one that reads are one
    result, so anything else that differs is INVALID.
    """
    found = {(m.facts.setup, m.run.ranks, m.facts.hosts) for m in subject.measured}
    if len(found) > 1:
        yield Issue(
            "2.1.9",
            Category.INVALID,
            "the runs of the set differ in their parameters, ranks or hosts",
            parameter="parameters",
            expected="the same in every run",
            actual=f"{len(found)} different ones",
            fix="keep runs of other setups in sets of their own",
        )


SET_RULES: tuple[Rule[SetSubject], ...] = (
    Rule("2.1.9", "One setup", Phase.SET, one_setup, editions=SINCE_SECOND),
    Rule("2.1.23", "Number of runs", Phase.SET, number_of_runs, editions=SINCE_SECOND),
    Rule(
        "4.7.1",
        "Gap between the runs",
        Phase.SET,
        gap_between_phases,
        editions=SINCE_SECOND,
        lacks=_no_times,
    ),
    Rule(
        "C.5",
        "Checkpoints of the set",
        Phase.SET,
        all_checkpoints,
        editions=SINCE_SECOND,
        lacks=_no_counts,
    ),
)
