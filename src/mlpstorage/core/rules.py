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


@dataclass(frozen=True)
class Rule(Generic[SubjectT_contra]):
    """One numbered rule: a pure function from its subject (a plan or a result) to issues."""

    id: str
    title: str
    phase: Phase
    check: Callable[[SubjectT_contra], Iterable[Issue]]


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
    rules: Iterable[Rule[SubjectT_contra]], subject: SubjectT_contra, *, phase: Phase
) -> Iterator[Issue]:
    """Every issue that the rules of one phase find in the subject, in the order of the rules."""
    for rule in rules:
        if rule.phase is phase:
            yield from rule.check(subject)


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
