"""What a check has found: a value, listed together with all others."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlpstorage.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_NAMED = 8


class Severity(enum.Enum):
    """Whether the run would fail, or only be in doubt."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, on which host, why it matters, and what mends it.

    `host` is empty where the finding is about no host in particular.
    """

    check: str
    what: str
    why: str = ""
    fix: str = ""
    host: str = ""
    severity: Severity = Severity.ERROR
    exit_code: int = 5

    @property
    def text(self) -> str:
        """The finding in one line, with its host and its fix."""
        host = f"{self.host}: " if self.host else ""
        fix = f" (fix: {self.fix})" if self.fix else ""
        return f"{host}{self.what}{fix}"

    def as_problem(self) -> Problem:
        """The form in which a benchmark refuses to start."""
        return Problem(self.what, self.why, self.fix, self.exit_code, self.host)

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready values."""
        return {
            "check": self.check,
            "severity": self.severity.value,
            "host": self.host,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with those that differ by the host only made one; errors before warnings.

    >>> a, b = Finding("x", "no disk", host="h1"), Finding("x", "no disk", host="h2")
    >>> [f.host for f in merged([a, b])]
    ['h1, h2']
    """
    hosts: dict[Finding, list[str]] = {}
    for finding in findings:
        hosts.setdefault(replace(finding, host=""), []).append(finding.host)
    joined = [replace(finding, host=_named(names)) for finding, names in hosts.items()]
    return sorted(joined, key=lambda finding: finding.severity is Severity.WARNING)


def _named(hosts: list[str]) -> str:
    names = list(dict.fromkeys(filter(None, hosts)))
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMED - 1])} and {len(names) - _MOST_NAMED + 1} others"
