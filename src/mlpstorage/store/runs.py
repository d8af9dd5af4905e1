"""Runs as their directories tell of them, whoever wrote them: ours, DLIO's, published trees.

What they measured is in their summaries, which the benchmark kinds read: here is what a run is
called, where it stands, and how it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.store.codec import utc_moment, utc_text
from mlpstorage.store.heads import read_head
from mlpstorage.store.history import BROKEN, status_of
from mlpstorage.store.layout import METADATA_SUFFIX, stamp_moment
from mlpstorage.store.places import place_of
from mlpstorage.store.published import describe
from mlpstorage.store.trees import find_run_directories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from mlpstorage.store.codec import Metadata
    from mlpstorage.store.places import Place

OURS = "mlpstorage"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class StoredRun:
    """One run.

    `origin` is "mlpstorage", "DLIO", or the round whose layout the tree has ("v1.0"). `start` and
    `end` are UTC, None where nobody recorded them; `status` is as in the history. Nested values
    are those of the file, not yet anyone's type.
    """

    origin: str
    directory: Path
    place: Place
    kind: str
    command: str
    model: str
    run_id: str
    status: str
    accelerator: str = ""
    reason: str = ""
    start: datetime | None = None
    end: datetime | None = None
    runtime_seconds: float | None = None
    ranks: int | None = None
    edition: str = ""
    engine: str = ""
    division: str = ""
    set_id: str = ""
    role: str = ""
    seed: int | None = None
    code: str = ""
    parameters: dict[str, Any] = field(default_factory=dict, repr=False)
    overrides: dict[str, Any] = field(default_factory=dict, repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sources: dict[str, str] = field(default_factory=dict, repr=False)
    verification: dict[str, Any] | str | None = field(default=None, repr=False)
    executed_command: str = ""
    warnings: tuple[str, ...] = ()
    metadata: Path | None = None
    summary: Path | None = None

    @property
    def start_text(self) -> str:
        """The start as every file has it, empty where it is not known."""
        return utc_text(self.start) if self.start else ""

    @property
    def end_text(self) -> str:
        """The end as every file has it, empty where it is not known."""
        return utc_text(self.end) if self.end else ""


@dataclass(frozen=True)
class Found:
    """All runs of a tree, oldest first in each place, and what could not be looked at."""

    runs: tuple[StoredRun, ...]
    problems: tuple[str, ...]


def read_runs(root: Path) -> Found:
    """Every run below a directory; a run that cannot be read is there, with status broken."""
    problems: list[str] = []
    runs = [
        run
        for directory in find_run_directories(root, problems)
        for run in _runs_of(root, directory)
    ]
    return Found(tuple(runs), tuple(problems))


def _runs_of(root: Path, found: tuple[Path, tuple[str, ...]]) -> Iterator[StoredRun]:
    """The runs of one directory: one of each record in it, or one without any record."""
    directory, names = found
    place = place_of(root, directory)
    records = [name for name in names if name.endswith(METADATA_SUFFIX)]
    summary = directory / SUMMARY if SUMMARY in names else None
    if not records:
        yield from _unrecorded(directory, names, place, summary)
    for name in records:
        yield _recorded(directory / name, place, summary)


def _recorded(path: Path, place: Place, summary: Path | None) -> StoredRun:
    try:
        head = read_head(path)
    except MlpstorageError as error:
        return StoredRun(
            origin=OURS,
            directory=path.parent,
            place=place,
            kind=place.kind or path.name.removesuffix(METADATA_SUFFIX).rpartition("_20")[0],
            command=place.command,
            model=place.model,
            run_id=path.name.removesuffix(METADATA_SUFFIX),
            status=BROKEN,
            reason=error.what,
            start=_local(path.parent.name),
            metadata=path,
            summary=summary,
        )
    return _from_head(head, path, place, summary)


def _from_head(head: Metadata, path: Path, place: Place, summary: Path | None) -> StoredRun:
    error = head.error.what if head.error else ""
    return StoredRun(
        origin=OURS if head.mlpstorage_version else (place.round or "v2.0"),
        directory=path.parent,
        place=place,
        kind=head.benchmark_type or place.kind,
        command=head.command or place.command,
        model=head.model or place.model,
        run_id=head.run_id,
        status=status_of(head),
        accelerator=head.accelerator or "",
        reason=error,
        start=_moment(head.start_time) or _local(path.parent.name),
        end=_moment(head.end_time),
        runtime_seconds=head.runtime,
        ranks=head.num_processes,
        edition=head.edition,
        engine=head.engine,
        division=head.division or place.division,
        set_id=head.set_id,
        role=head.set_role,
        seed=head.seed,
        code=head.code_identity,
        parameters=head.parameters,
        overrides=head.override_parameters,
        options=head.args,
        sources=head.sources,
        verification=head.verification,
        executed_command=head.executed_command,
        warnings=head.warnings,
        metadata=path,
        summary=summary,
    )


def _unrecorded(
    directory: Path, names: tuple[str, ...], place: Place, summary: Path | None
) -> Iterator[StoredRun]:
    """A run of another tool that wrote no metadata, described by what it did write."""
    told = describe(directory, names, place)
    if told is None:
        return
    yield StoredRun(
        origin=told.origin,
        directory=directory,
        place=place,
        kind=told.kind,
        command=told.command,
        model=told.model,
        run_id=told.run_id,
        status=told.status,
        accelerator=told.accelerator,
        reason=told.reason,
        start=_moment(told.start) or _local(directory.name),
        end=_moment(told.end),
        ranks=told.ranks,
        division=place.division,
        overrides=dict(told.overrides),
        executed_command=" ".join(told.words),
        summary=summary,
    )


def _moment(text: str) -> datetime | None:
    try:
        return utc_moment(text) if text else None
    except ValueError:
        return None


def _local(name: str) -> datetime | None:
    stamp = stamp_moment(name)
    return stamp.astimezone() if stamp else None
