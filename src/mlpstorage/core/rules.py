"""Rules as values: what a rule found, and the verdict that follows from the findings."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Category(enum.IntEnum):
    """What a run may be called, from best to worst; a verdict is the worst of its issues."""

    CLOSED = 1
    OPEN = 2
    INVALID = 3


class Phase(enum.Enum):
    """When a rule can be judged."""

    PLAN = "plan"
    RESULT = "result"
    SET = "set"
    TREE = "tree"


@dataclass(frozen=True)
class Issue:
    """One finding of one rule.

    `category` is the best category that a run with this finding can still have.
    """

    rule: str
    category: Category
    what: str
    parameter: str = ""
    expected: str = ""
    actual: str = ""
    fix: str = ""


SubjectT_contra = TypeVar("SubjectT_contra", contravariant=True)


# The rounds whose rules are known, oldest first; a rule is of all of them unless it says so.
EDITIONS = ("1.0", "2.0", "3.0")
BOTH_DIVISIONS = (Category.CLOSED, Category.OPEN)
CLOSED_ONLY = (Category.CLOSED,)
SINCE_SECOND, SINCE_THIRD = EDITIONS[1:], EDITIONS[2:]


@dataclass(frozen=True)
class Rule(Generic[SubjectT_contra]):
    """One numbered rule: a pure function from its subject (a plan or a result) to issues.

    `divisions` are those that the rule binds; what breaks a rule of CLOSED alone may still be OPEN.
    `editions` are the rounds whose rules hold it. `lacks` says what the rule needs and the subject
    does not record, as results of others may not; nothing when the rule can be judged.
    """

    id: str
    title: str
    phase: Phase
    check: Callable[[SubjectT_contra], Iterable[Issue]]
    divisions: tuple[Category, ...] = BOTH_DIVISIONS
    editions: tuple[str, ...] = EDITIONS
    lacks: Callable[[SubjectT_contra], str] | None = None


@dataclass(frozen=True)
class Verdict:
    """CLOSED, OPEN or INVALID, with the issues that say why."""

    category: Category
    issues: tuple[Issue, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready values."""
        issues = [{**asdict(issue), "category": issue.category.name} for issue in self.issues]
        return {"category": self.category.name, "issues": issues}


def judge(
    rules: Iterable[Rule[SubjectT_contra]],
    subject: SubjectT_contra,
    *,
    phase: Phase,
    edition: str = "",
) -> Iterator[Issue]:
    """Every issue that the rules of one phase find in the subject, in the order of the rules.

    An `edition` leaves out the rules that it does not have, and those that it cannot judge.
    """
    for rule in rules:
        if rule.phase is not phase or (edition and edition not in rule.editions):
            continue
        if rule.lacks is None or not rule.lacks(subject):
            yield from rule.check(subject)


def not_recorded(
    rules: Iterable[Rule[SubjectT_contra]], subject: SubjectT_contra, *, edition: str
) -> Iterator[tuple[Rule[SubjectT_contra], str]]:
    """The rules of an edition that cannot be judged, each with what the subject does not record."""
    for rule in rules:
        missing = rule.lacks(subject) if rule.lacks and edition in rule.editions else ""
        if missing:
            yield rule, missing


def verdict_of(issues: Iterable[Issue], *, asked: Category) -> Verdict:
    """The worst of what was asked for and what was found.

    >>> verdict_of([], asked=Category.CLOSED).category.name
    'CLOSED'
    >>> issue = Issue("3.3.2", Category.INVALID, "AU too low")
    >>> verdict_of([issue], asked=Category.OPEN).category.name
    'INVALID'
    """
    found = tuple(issues)
    return Verdict(max([asked, *(issue.category for issue in found)]), found)


INCOMPLETE = "run.incomplete"


def incomplete(expected: str, actual: str) -> Issue:
    """The finding of a run that the user ended before its work was done.

    >>> incomplete("5 epochs", "epoch 2/5").category.name
    'INVALID'
    """
    return Issue(
        INCOMPLETE,
        Category.INVALID,
        "the run was interrupted before its end",
        parameter="work done",
        expected=expected,
        actual=actual,
        fix="run it again, to its end",
    )
