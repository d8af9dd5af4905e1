"""The history of runs: the results tree itself, read anew each time, so that it cannot disagree."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import MlpstorageError, NotFoundError, UsageError, did_you_mean
from mlpstorage.core.run import RunId, Status
from mlpstorage.store.codec import Metadata, refusal, utc_moment
from mlpstorage.store.heads import read_head
from mlpstorage.store.launcher import Launcher, is_alive
from mlpstorage.store.layout import METADATA_SUFFIX, stamp_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

KILLED = "killed"
BROKEN = "broken"
# Ended by a user or a signal: one can go on with it. A failed run can only be tried again.
LEFT = frozenset({KILLED, Status.INTERRUPTED.value})
UNKNOWN = "unknown"  # another tool's record that does not say how the run ended
_DEEPEST = 4  # a stamp has at most four directories above it: <kind>/<engine>/<index>/<command>
_PREFIX_DEPTH, _PREFIX = 2, "results"  # <mode>/<organisation>/results/<system>/ of a submission
_HINTS = 5


@dataclass(frozen=True)
class HistoryEntry:
    """One run of the history.

    `status` is a `Status` value, or "killed" (started, and its launcher is gone), "broken" (the
    metadata file cannot be read: `reason` says why) or "unknown". `number` counts from 1 in the
    order of the starts, so it changes when older runs are removed; the run id does not. A run of a
    set plays a `role` there, and is the `place`-th of `size`.
    """

    number: int
    run_id: str
    kind: str
    command: str
    model: str
    accelerator: str
    status: str
    verdict: str | None
    start: datetime
    runtime_seconds: float | None
    executed_command: str
    metadata: Path
    reason: str = ""
    set_id: str = ""
    role: str = ""
    place: int | None = None
    size: int | None = None

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.metadata.parent


def scan(results_dir: Path) -> list[HistoryEntry]:
    """Every run under a results directory, oldest first; none when there is no such directory.

    Symbolic links, hidden directories, and directories that this user may not list are passed over.

    Raises:
        AccessError, ConfigurationError: the results directory itself cannot be listed.
    """
    try:
        os.scandir(results_dir).close()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refusal(f"cannot list the results directory {results_dir}", error) from error
    directories = run_directories(results_dir.absolute())
    entries = [_entry(path) for directory in directories for path in _records(directory)]
    entries.sort(key=lambda entry: (entry.start, str(entry.metadata)))
    return [replace(entry, number=number) for number, entry in enumerate(entries, start=1)]


def find(results_dir: Path, number_or_id: str) -> HistoryEntry:
    """The run of that number (as `scan` counts) or that run id.

    Raises:
        NotFoundError: there is none; the fix names the nearest.
        UsageError: several runs bear the id.
        AccessError, ConfigurationError: the results directory cannot be listed.
    """
    wanted = number_or_id.strip()
    entries = scan(results_dir)
    if not entries:
        raise NotFoundError(
            f"no runs in {results_dir}", fix="name the directory of your results with --results-dir"
        )
    found = [entry for entry in entries if wanted in (str(entry.number), entry.run_id)]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} runs are named {wanted}",
            fix=f"use one of the numbers {', '.join(str(entry.number) for entry in found)}",
        )
    if not found:
        ids = [entry.run_id for entry in entries]
        near = difflib.get_close_matches(wanted, ids, n=_HINTS) or ids[-_HINTS:]
        raise NotFoundError(
            f"no run {wanted!r} in {results_dir} (it has 1 to {len(entries)})",
            fix=f"{did_you_mean(wanted, near)}; mlpstorage history list shows all",
        )
    return found[0]


def run_directories(directory: Path, depth: int = 0) -> Iterator[Path]:
    """All directories of runs and sets below; bounded, for data may lie in the tree."""
    for child in _children(directory):
        if not child.is_dir(follow_symlinks=False):
            continue
        if stamp_moment(child.name) is not None:
            yield Path(child.path)
        elif depth == _PREFIX_DEPTH and child.name == _PREFIX:
            for system in _children(Path(child.path)):
                if system.is_dir(follow_symlinks=False):
                    yield from run_directories(Path(system.path))
        elif depth < _DEEPEST:
            yield from run_directories(Path(child.path), depth + 1)


def _records(run_directory: Path) -> Iterator[Path]:
    for file in _children(run_directory):
        if file.name.endswith(METADATA_SUFFIX) and file.is_file(follow_symlinks=False):
            yield Path(file.path)


def _children(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as children:
            return [child for child in children if not child.name.startswith(".")]
    except (PermissionError, FileNotFoundError):  # lost+found; a run removed while we look
        return []


def _entry(path: Path) -> HistoryEntry:
    try:
        metadata = read_head(path)
    except MlpstorageError as error:
        kind = path.name.removesuffix(METADATA_SUFFIX).removesuffix(f"_{path.parent.name}")
        name = RunId(kind, "", "", path.parent.name)
        known = Metadata(benchmark_type=kind, run_id=str(name))
        return _entry_of(known, path, BROKEN, error.what)
    return _entry_of(metadata, path, status_of(metadata))


def _entry_of(metadata: Metadata, path: Path, status: str, reason: str = "") -> HistoryEntry:
    return HistoryEntry(
        number=0,
        run_id=metadata.run_id,
        kind=metadata.benchmark_type,
        command=metadata.command,
        model=metadata.model or "",
        accelerator=metadata.accelerator or "",
        status=status,
        verdict=metadata.category,
        start=_start(metadata, path),
        runtime_seconds=metadata.runtime,
        executed_command=metadata.executed_command,
        metadata=path,
        reason=reason,
        set_id=metadata.set_id,
        role=metadata.set_role,
        place=metadata.set_place,
        size=metadata.set_size,
    )


def _start(metadata: Metadata, path: Path) -> datetime:
    return start_moment(metadata.start_time, path)


def start_moment(recorded: str, path: Path) -> datetime:
    """When a run began (aware): as recorded, or else as the directory of its record is named."""
    try:
        return utc_moment(recorded)
    except ValueError:
        stamp = stamp_moment(path.parent.name)
        if stamp is None:
            raise
        return stamp.astimezone()


def status_of(metadata: Metadata) -> str:
    """How far the run got: as recorded, or "killed" or "unknown" (see `HistoryEntry`)."""
    if metadata.status is None:
        return UNKNOWN
    if metadata.status is Status.STARTED and is_alive(_launcher(metadata)) is False:
        return KILLED
    return metadata.status.value


def _launcher(metadata: Metadata) -> Launcher:
    return Launcher(
        pid=metadata.launcher_pid or 0,
        host=metadata.launcher_host,
        boot_id=metadata.launcher_boot_id,
        start_ticks=metadata.launcher_start_ticks or 0,
    )
