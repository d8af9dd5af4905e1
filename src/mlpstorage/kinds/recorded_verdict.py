"""The verdict that a record holds, read with care: records of others may hold anything."""

from __future__ import annotations

from typing import Any

import msgspec

from mlpstorage.core.rules import Category, Issue, Verdict


class _Issue(msgspec.Struct, frozen=True):
    """An issue as a record holds it."""

    rule: str
    category: str
    what: str
    parameter: str = ""
    expected: str = ""
    actual: str = ""
    fix: str = ""


class _Verdict(msgspec.Struct, frozen=True):
    """A verdict as a record holds it."""

    category: str
    issues: tuple[_Issue, ...] = ()


def recorded_verdict(found: dict[str, Any] | str | None) -> Verdict | None:
    """The verdict of a record; None where there is none, or not one that this program knows.

    >>> recorded_verdict("open").category.name, recorded_verdict({"category": 5})
    ('OPEN', None)
    """
    document = {"category": found} if isinstance(found, str) else found
    try:
        verdict = msgspec.convert(document, _Verdict)
        issues = tuple(
            Issue(
                one.rule, Category[one.category.upper()], one.what, one.parameter, one.expected,
                one.actual, one.fix,
            )
            for one in verdict.issues
        )  # fmt: skip
        return Verdict(Category[verdict.category.upper()], issues)
    except (msgspec.ValidationError, KeyError):
        return None
