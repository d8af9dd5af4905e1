"""The rules of KV-cache runs as they are reported: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering), for its own options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.rules import SINCE_THIRD, Category, Issue, Phase, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import Member, SetSubject

TRIALS = 3


def _options(subject: SetSubject) -> list[Member]:
    """The runs of published options."""
    return [member for member in subject.measured if member.facts.figures.get("option")]


def no_autoscaling(subject: SetSubject) -> Iterator[Issue]:
    """6.3.2.1: the users of a published option are fixed: nothing scales them.

    A run of --mode mlperf-v3 that recorded --enable-autoscaling makes the set INVALID, in both
    divisions: with another number of users it would be another workload. Runs in other modes are
    not judged: a search for the most users is what serve does.
    """
    for member in _options(subject):
        if member.facts.figures.get("autoscaling") is True:
            yield Issue(
                "6.3.2.1",
                Category.INVALID,
                "the number of users was scaled",
                parameter="--enable-autoscaling",
                expected="left out",
                actual="given",
                fix="leave --enable-autoscaling out",
            )


def ranks_divide(subject: SetSubject) -> Iterator[Issue]:
    """6.3.3.1: a client is one rank, and every host has as many of them.

    Each client has the full number of users, so that the load grows with the ranks.
    """
    for member in _options(subject):
        ranks, hosts = member.run.ranks, member.facts.hosts
        if ranks and hosts and ranks % hosts:
            yield Issue(
                "6.3.3.1",
                Category.INVALID,
                "the clients do not divide by the hosts",
                parameter="--num-processes",
                expected=f"a multiple of {hosts}",
                actual=str(ranks),
                fix="start as many processes on every host",
            )


def all_counted(subject: SetSubject) -> Iterator[Issue]:
    """6.3.4.1: a score is of three trials, and of every rank in each.

    The published text averages what is there; here a trial or rank that is missing is no score.
    """
    for member in _options(subject):
        trials, ranks = member.facts.figures.get("trials"), member.facts.figures.get("ranks")
        if trials != TRIALS or (member.run.ranks and ranks != member.run.ranks):
            yield Issue(
                "6.3.4.1",
                Category.INVALID,
                "the score is not of all trials and ranks",
                parameter="trials and ranks",
                expected=f"{TRIALS} trials of {member.run.ranks} ranks",
                actual=f"{trials} trials of {ranks} ranks",
                fix=f"give --trials {TRIALS}, and see the ranks' logs",
            )


SET_RULES: tuple[Rule[SetSubject], ...] = (
    Rule("6.3.2.1", "No autoscaling", Phase.SET, no_autoscaling, editions=SINCE_THIRD),
    Rule("6.3.3.1", "Clients and hosts", Phase.SET, ranks_divide, editions=SINCE_THIRD),
    Rule("6.3.4.1", "Trials and ranks of a score", Phase.SET, all_counted, editions=SINCE_THIRD),
)
