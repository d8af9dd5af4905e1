"""Where a run's files are; no other module spells these names.

    <results-dir>/training/<model>/<command>/<YYYYmmdd_HHMMSS>/
    <results-dir>/checkpointing/<model>/<YYYYmmdd_HHMMSS>/
    <results-dir>/kv_cache/<command>/<YYYYmmdd_HHMMSS>/

The record of a set of runs stands beside them, in a directory `set` instead of the command's.
The segments come from the caller; this module adds the time stamp and what lies inside.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlpstorage.core.errors import AccessError, ConfigurationError, UsageError
from mlpstorage.store.codec import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

METADATA_SUFFIX = "_metadata.json"
SET_SUFFIX = "_set.json"
SET = "set"
STAMP = "%Y%m%d_%H%M%S"
_STAMP_SHAPE = re.compile(r"(?:19|20)[0-9]{6}_[0-9]{6}")
# A leading dot would hide the run from the history (and ".." would leave the tree).
_COMPONENT = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
_MOST_BUMPS = 3600
_IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR})


def stamp_moment(name: str) -> datetime | None:
    """The local time (naive) that a run directory's name tells, or None when it is not a stamp.

    >>> stamp_moment("20260110_093000"), stamp_moment("20261399_093000")
    (datetime.datetime(2026, 1, 10, 9, 30), None)
    """
    if not _STAMP_SHAPE.fullmatch(name):
        return None
    try:
        return datetime.strptime(name, STAMP)  # noqa: DTZ007 - a stamp is local time by definition
    except ValueError:
        return None


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run: `path` ends in its time stamp."""

    path: Path
    kind: str
    command: str

    @classmethod
    def create(
        cls, results_dir: Path, segments: Sequence[str], when: datetime, *, command: str
    ) -> RunDirectory:
        """Make a directory that no other run has; a taken second is passed over for the next.

        Args:
            results_dir: The root of the tree; made when it is missing.
            segments: The directories between root and stamp; the first is the benchmark's kind.
            when: The local time of the start.
            command: The command's name, for the names of log files.

        Raises:
            UsageError: a segment or the command cannot name a directory.
            AccessError: the directory cannot be created or written.
            ConfigurationError: a file stands in the way, or the file system is full.
        """
        for component in (*segments, command):
            _check_component(component)
        parent = results_dir.absolute().joinpath(*segments)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            return cls(_make_stamped(parent, when), segments[0], command)
        except OSError as error:
            raise _cannot_create(parent, error) from error

    @property
    def timestamp(self) -> str:
        """The local time stamp that ends the path, after any bump."""
        return self.path.name

    @property
    def stdout_log(self) -> Path:
        """What the launched command wrote to standard output."""
        return self.path / f"{self.kind}_{self.command}.stdout.log"

    @property
    def stderr_log(self) -> Path:
        """What the launched command wrote to standard error."""
        return self.path / f"{self.kind}_{self.command}.stderr.log"

    @property
    def metadata(self) -> Path:
        """The run's record."""
        return self.path / f"{self.kind}_{self.timestamp}{METADATA_SUFFIX}"

    @property
    def set_record(self) -> Path:
        """The record of a set of runs, where the directory is one's."""
        return self.path / f"{self.kind}_{self.timestamp}{SET_SUFFIX}"

    @property
    def timeseries(self) -> Path:
        """The hosts' samples during the run."""
        return self.path / f"{self.kind}_{self.timestamp}_timeseries.json"

    @property
    def timeseries_lines(self) -> Path:
        """The same samples as they came, one line each; a killed run has these."""
        return self.path / f"{self.kind}_{self.timestamp}_timeseries.jsonl"

    @property
    def summary(self) -> Path:
        """The run's figures."""
        return self.path / "summary.json"

    @property
    def cluster_info(self) -> Path:
        """The hosts' records."""
        return self.path / f"{self.kind}_cluster_info.json"

    @property
    def events(self) -> Path:
        """The journal."""
        return self.path / "events.jsonl"

    @property
    def ranks(self) -> Path:
        """The directory of the ranks' logs."""
        return self.path / "ranks"

    def output(self, rank: int) -> Path:
        """One rank's measurements."""
        return self.path / f"{rank}_output.json"

    def per_epoch_stats(self, rank: int) -> Path:
        """One rank's measurements by epoch."""
        return self.path / f"{rank}_per_epoch_stats.json"


def set_segments(segments: Sequence[str], command: str) -> tuple[str, ...]:
    """Where the record of a set of runs is, from where its runs are.

    >>> set_segments(("training", "unet3d", "run"), "run")
    ('training', 'unet3d', 'set')
    >>> set_segments(("checkpointing", "llama3-8b"), "run")
    ('checkpointing', 'llama3-8b', 'set')
    """
    above = segments[:-1] if segments[-1] == command else segments
    return (*above, SET)


def _check_component(name: str) -> None:
    if _COMPONENT.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot name a directory of the results",
            why="names there consist of letters, digits, dots, dashes and underscores",
            fix="use a name of these characters that does not begin with a dot",
        )


def _make_stamped(parent: Path, when: datetime) -> Path:
    for bump in range(_MOST_BUMPS):
        path = parent / (when + timedelta(seconds=bump)).strftime(STAMP)
        try:
            path.mkdir()  # fails if it exists: the one test-and-set that every file system has
        except FileExistsError:
            continue
        return path
    raise ConfigurationError(
        f"every second of the next {_MOST_BUMPS} is taken in {parent}",
        fix="move old runs away, or check the clock",
    )


def _cannot_create(path: Path, error: OSError) -> AccessError | ConfigurationError:
    if error.errno in _IN_THE_WAY:
        blocking = next((p for p in (path, *path.parents) if p.exists() or p.is_symlink()), path)
        return ConfigurationError(
            f"cannot create {path}: {blocking} is not a directory",
            why="every run keeps its results in a directory of its own",
            fix=f"move {blocking} away, or choose another --results-dir",
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        full = refusal(f"cannot create {path}", error)
        return ConfigurationError(full.what, fix=full.fix)
    return AccessError(
        f"cannot create {path} ({(error.strerror or str(error)).lower()})",
        why="every run keeps its results in a directory of its own",
        fix="make the results directory writable for this user, or choose another --results-dir",
    )
