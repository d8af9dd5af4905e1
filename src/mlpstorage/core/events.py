"""Everything that happens in a run, as values that journal, display and result read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened; `TYPE` is its name in a journal."""

    TYPE: ClassVar[str] = "event"

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON-ready values, `type` first."""
        return {"type": self.TYPE, **asdict(self)}


@dataclass(frozen=True)
class Stage(Event):
    """A named step of the workflow began."""

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
class RankStarted(Event):
    """A rank lives: its host and process."""

    TYPE: ClassVar[str] = "rank_started"
    rank: int
    host: str
    pid: int


@dataclass(frozen=True)
class Progress(Event):
    """How far one rank is in one activity; `done` and `total` are counted in `unit`."""

    TYPE: ClassVar[str] = "progress"
    rank: int
    activity: str
    done: int
    total: int
    unit: str
    bytes: int


@dataclass(frozen=True)
class RankResult(Event):
    """What one rank measured; `data` is the kind's own record. It is also its completion record."""

    TYPE: ClassVar[str] = "rank_result"
    rank: int
    host: str
    data: dict[str, Any]


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
    cls.TYPE: cls for cls in (Stage, Note, RankStarted, Progress, RankResult, RankFailed)
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
