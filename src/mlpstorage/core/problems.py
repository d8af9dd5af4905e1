"""What preflight finds: values that are listed together, then refused together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.errors import MlpstorageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Problem:
    """One thing that would make the run fail, on which host, and what mends it."""

    what: str
    why: str = ""
    fix: str = ""
    exit_code: int = 5
    host: str = ""

    @classmethod
    def of(cls, error: MlpstorageError) -> Problem:
        """An error as one problem among others."""
        return cls(error.what, error.why, error.fix, error.exit_code)


class ProblemsError(MlpstorageError):
    """All problems of a preflight at once; the exit code is the first one's."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.what, why=first.why, fix=first.fix)
        self.problems = tuple(problems)
        self.exit_code = first.exit_code

    def __str__(self) -> str:
        """Every problem in the form of an error."""
        return "\n".join(
            str(MlpstorageError(_with_host(p), why=p.why, fix=p.fix)) for p in self.problems
        )


def _with_host(problem: Problem) -> str:
    return f"{problem.host}: {problem.what}" if problem.host else problem.what
