"""Everything that happens in a run, as values that journal, display and result read.

Fields and types are only ever added, with defaults, so an older journal can be read; `VERSION`
counts the additions, and stands in the first line of an event stream for other programs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

VERSION = 2


@dataclass(frozen=True)
class Event:
    """Something that happened; `TYPE` is its name in a journal."""

    TYPE: ClassVar[str] = "event"

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON-ready values, `type` first."""
        return {"type": self.TYPE, **asdict(self)}


@dataclass(frozen=True)
class Stage(Event):
    """A named step of the workflow began, and the one before it ended."""

    TYPE: ClassVar[str] = "stage"
    name: str
    number: int
    of: int


@dataclass(frozen=True)
class Note(Event):
    """Something the user should know; `level` is detail, info or warning."""

    TYPE: ClassVar[str] = "note"
    text: str
    level: str = "info"


@dataclass(frozen=True)
class RunStarted(Event):
    """A run has its directory; `turn` of `turns` runs that the command makes, from 1."""

    TYPE: ClassVar[str] = "run_started"
    run_id: str
    title: str
    directory: str
    ranks: int
    turn: int = 1
    turns: int = 1


@dataclass(frozen=True)
class RunEnded(Event):
    """How a run ended: its status, its verdict (empty if it is not judged), and its exit code."""

    TYPE: ClassVar[str] = "run_ended"
    status: str
    verdict: str
    exit_code: int
    what: str = ""


@dataclass(frozen=True)
class Interruption(Event):
    """The user wants the run to end; `level` 1 after the step, 2 now, 3 without waiting."""

    TYPE: ClassVar[str] = "interruption"
    signal: str
    level: int
    text: str


@dataclass(frozen=True)
class RankStarted(Event):
    """A rank lives: its host and process."""

    TYPE: ClassVar[str] = "rank_started"
    rank: int
    host: str
    pid: int


@dataclass(frozen=True)
class Progress(Event):
    """How far one rank is in one activity; `done` and `total` are counted in `unit`.

    A rank may speak for others: then the counts are the sum over them. `part` of `parts` is where
    the activity stands among those of its kind, such as epochs, from 1. `host` is filled in by the
    rank's runtime.
    """

    TYPE: ClassVar[str] = "progress"
    rank: int
    activity: str
    done: int
    total: int
    unit: str
    bytes: int
    part: int = 1
    parts: int = 1
    host: str = ""


@dataclass(frozen=True)
class Figure(Event):
    """What a rank has measured so far in the current activity, and what is needed.

    `combine` says how the ranks' values become one: mean, sum, max or min. `better` is higher or
    lower. `compares_hosts` marks the figure that tells a slow host from the others.
    """

    TYPE: ClassVar[str] = "figure"
    rank: int
    name: str
    value: float
    unit: str
    needed: float | None = None
    better: str = "higher"
    combine: str = "mean"
    compares_hosts: bool = False
    host: str = ""


@dataclass(frozen=True)
class RankResult(Event):
    """What one rank measured; `data` is the kind's own record. It is also its completion record.

    `stopped` says that the rank left out what was still to do, because the user wanted it.
    """

    TYPE: ClassVar[str] = "rank_result"
    rank: int
    host: str
    data: dict[str, Any]
    stopped: bool = False


@dataclass(frozen=True)
class RankFailed(Event):
    """A rank raised or died: the cause in one line, and its traceback where there is one."""

    TYPE: ClassVar[str] = "rank_failed"
    rank: int
    host: str
    what: str
    why: str = ""
    fix: str = ""
    traceback: str = ""
    exit_code: int = 6


_TYPES: dict[str, type[Event]] = {
    cls.TYPE: cls
    for cls in (
        Stage,
        Note,
        RunStarted,
        RunEnded,
        Interruption,
        RankStarted,
        Progress,
        Figure,
        RankResult,
        RankFailed,
    )
}


def event_from_dict(record: dict[str, Any]) -> Event:
    """The event that `Event.as_dict` wrote.

    >>> event_from_dict(Note("hello").as_dict())
    Note(text='hello', level='info')

    Raises:
        ValueError: the record is not an event's.
    """
    fields = dict(record)
    kind = _TYPES.get(str(fields.pop("type", "")))
    if kind is None:
        raise ValueError(f"not an event: {record!r}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"not a {kind.TYPE} event: {error}") from error
