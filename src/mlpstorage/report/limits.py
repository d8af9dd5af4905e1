"""What limited runs, in words: of one run, or of all runs of a set together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.report.model import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The phases of summaries, as they are called here; others keep their names.
_PHASES = {"save": "writing", "load": "reading"}
_MOST_PHASES = 8


@dataclass(frozen=True)
class SharedLimit:
    """What limited `runs` of the `of` runs that tell of a phase; `explanation` is of the first."""

    limit: Limit
    runs: int
    of: int

    @property
    def text(self) -> str:
        """The limit, and of how many runs it is where these differ.

        >>> SharedLimit(Limit("mixed"), 2, 2).text, SharedLimit(Limit("mixed"), 2, 5).text
        ('mixed', 'mixed in 2 of 5')
        """
        share = "" if self.runs == self.of else f" in {self.runs} of {self.of}"
        return f"{self.limit.verdict}{share}"

    def as_dict(self) -> dict[str, Any]:
        """The limit as JSON-ready values."""
        return {
            "phase": self.limit.phase or None,
            "verdict": self.limit.verdict,
            "explanation": self.limit.explanation or None,
            "runs": self.runs,
            "of": self.of,
        }


def limits_of(found: Any) -> tuple[Limit, ...]:  # noqa: ANN401 (a value of a summary)
    """What the `bottleneck` of a summary says, for each phase; nothing where it says nothing.

    >>> limits_of({"verdict": "mixed", "explanation": "AU 40 %"})
    (Limit(verdict='mixed', explanation='AU 40 %', phase=''),)
    >>> limits_of({"save": {"verdict": "storage-bound"}, "load": 7})
    (Limit(verdict='storage-bound', explanation='', phase='writing'),)
    >>> limits_of({"verdict": ["mixed"]}), limits_of("mixed"), limits_of(None)
    ((), (), ())
    """
    if not isinstance(found, dict):
        return ()
    if "verdict" in found:
        return tuple(_limit("", found))
    phases = [(str(name), told) for name, told in found.items()][:_MOST_PHASES]
    return tuple(one for name, told in phases for one in _limit(_PHASES.get(name, name), told))


def _limit(phase: str, told: Any) -> Iterable[Limit]:  # noqa: ANN401 (as above)
    verdict = told.get("verdict") if isinstance(told, dict) else None
    if isinstance(verdict, str) and verdict:
        why = told.get("explanation")
        yield Limit(verdict, why if isinstance(why, str) else "", phase)


def together(runs: Iterable[Sequence[Limit]]) -> tuple[SharedLimit, ...]:
    """What limited runs, phase by phase, the most frequent first."""
    found: dict[str, dict[str, list[Limit]]] = {}
    for limits in runs:
        for limit in limits:
            found.setdefault(limit.phase, {}).setdefault(limit.verdict, []).append(limit)
    return tuple(
        SharedLimit(alike[0], len(alike), sum(map(len, verdicts.values())))
        for verdicts in found.values()
        for alike in sorted(verdicts.values(), key=len, reverse=True)
    )


def words(limits: Sequence[SharedLimit]) -> str:
    """What limited a run or a set, in a line; empty where it is not known.

    >>> one, two = Limit("storage-bound", phase="writing"), Limit("mixed", phase="reading")
    >>> words(together([(one, two)]))
    'writing: storage-bound, reading: mixed'
    >>> words(together([(Limit("mixed"),), (Limit("storage-bound"),), (Limit("mixed"),)]))
    'mixed in 2 of 3, storage-bound in 1 of 3'
    """
    phases: dict[str, list[str]] = {}
    for one in limits:
        phases.setdefault(one.limit.phase, []).append(one.text)
    return ", ".join(
        f"{phase}: {', '.join(texts)}" if phase else ", ".join(texts)
        for phase, texts in phases.items()
    )
