"""What a command is about to do or has found, before anything is rendered or stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.rules import Category, Issue
    from mlpstorage.core.section import Section


@dataclass(frozen=True)
class Answer:
    """The result of a command that measures nothing: sections for people, a document for JSON."""

    sections: tuple[Section, ...]
    document: dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """What a run is, for its directory, its record and its history.

    `segments` are the directories between the results root and the run's time stamp.
    """

    kind: str
    command: str
    model: str
    segments: tuple[str, ...]
    ranks: int
    accelerator: str = ""
    edition: str = ""
    engine: str = "native"


@dataclass(frozen=True)
class Plan:
    """A run before it starts: what it will do, and what its rules say so far.

    `asked` is the division the user wants, None for a run that is not judged; `stops` are the
    issues that end the run here.
    `parameters` is the whole workload; `overrides` and `sources` are by dotted name. `place` is the
    directory on the storage under test, if this host sees one.
    """

    identity: Identity
    asked: Category | None
    issues: tuple[Issue, ...]
    stops: tuple[Issue, ...]
    sections: tuple[Section, ...]
    parameters: dict[str, Any]
    overrides: dict[str, Any]
    sources: dict[str, str]
    place: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a run: figures for files, issues for the verdict, sections for people.

    `summary` is the document of summary.json; `rank_outputs` and `rank_epochs` hold one each rank.
    """

    summary: dict[str, Any]
    issues: tuple[Issue, ...]
    sections: tuple[Section, ...]
    rank_outputs: tuple[dict[str, Any], ...] = field(default=())
    rank_epochs: tuple[dict[str, Any], ...] = field(default=())
