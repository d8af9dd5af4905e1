"""Runs that were made one after the other, where no record ties them together."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpstorage.kinds.reporting import Member

# A pause that ends a sitting; what the rules ask of pauses within one is judged by a rule.
_PAUSE_SECONDS = 3600.0


def by_sitting(members: Sequence[Member]) -> list[list[Member]]:
    """Divide runs, oldest first, where more than an hour passed between two of them."""
    found: list[list[Member]] = []
    for member in members:
        pause = pause_seconds(found[-1][-1], member) if found else None
        if pause is None or pause > _PAUSE_SECONDS:
            found.append([member])
        else:
            found[-1].append(member)
    return found


def pause_seconds(before: Member, after: Member) -> float | None:
    """The seconds from the end of a run to the start of another; None where nobody recorded them.

    A run that never ended counts from its start.
    """
    ended, began = before.run.end or before.run.start, after.run.start
    return (began - ended).total_seconds() if ended and began else None


def seconds_of(member: Member) -> float | None:
    """How long a run took."""
    run = member.run
    if run.runtime_seconds is not None:
        return run.runtime_seconds
    return (run.end - run.start).total_seconds() if run.start and run.end else None


def pauses(members: Sequence[Member]) -> Iterator[tuple[Member, Member, float]]:
    """Every two neighbours whose times are known, with the seconds between them."""
    for before, after in pairwise(members):
        pause = pause_seconds(before, after)
        if pause is not None:
            yield before, after, pause
