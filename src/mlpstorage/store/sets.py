"""Sets of runs that count together: their records beside those of the runs, and their history.

A set's record is written before its first run, and replaced as runs begin and end, so that an
interrupted set can be resumed. Which runs it has is also in the runs' own metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import ConfigurationError, MlpstorageError
from mlpstorage.core.run import RunId, Status  # noqa: TC001 (msgspec needs Status)
from mlpstorage.store.codec import ErrorRecord, Metadata, write_json  # noqa: TC001 (as above)
from mlpstorage.store.files import children, is_file, read_as
from mlpstorage.store.history import BROKEN, run_directories, start_moment, status_of
from mlpstorage.store.layout import SET_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

SCHEMA_VERSION = 1


class SetMember(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a set, planned or begun; `run_id` is that of the latest attempt, or empty.

    `directory` is relative to the results directory.
    """

    role: str
    seed: int = 0
    run_id: str = ""
    directory: str = ""


class SetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A set, complete enough to resume it; the fields are the keys of the file.

    `args` and `sources` are the options and where they came from; `runtime` is in seconds, without
    the time between an interrupt and its resumption; times are UTC.
    """

    set_id: str = ""
    benchmark_type: str = ""
    model: str | None = None
    command: str = ""
    accelerator: str | None = None
    division: str = ""
    status: Status | None = None
    exit_code: int | None = None
    error: ErrorRecord | None = None
    verification: dict[str, Any] | str | None = None
    members: tuple[SetMember, ...] = ()
    executed_command: str = ""
    args: dict[str, Any] = {}
    sources: dict[str, str] = {}
    working_directory: str = ""
    start_time: str = ""
    end_time: str = ""
    runtime: float | None = None
    mlpstorage_version: str = ""
    schema_version: int = SCHEMA_VERSION
    launcher_pid: int | None = None
    launcher_host: str = ""
    launcher_boot_id: str = ""
    launcher_start_ticks: int | None = None

    def like_a_run(self) -> Metadata:
        """The part that sets and runs have in common, as a run's metadata has it."""
        shared = set(self.__struct_fields__) & set(Metadata.__struct_fields__) - {"schema_version"}
        return Metadata(**{name: getattr(self, name) for name in shared})


@dataclass(frozen=True)
class SetEntry:
    """One set of the history; `status` and `reason` are as in a `HistoryEntry`."""

    set_id: str
    status: str
    verdict: str | None
    start: datetime
    record: SetRecord
    path: Path
    reason: str = ""

    @property
    def directory(self) -> Path:
        """The set's directory."""
        return self.path.parent


def write_set(path: Path, record: SetRecord) -> None:
    """Replace the record of a set in one step.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be written.
    """
    write_json(path, record)


def read_set(path: Path) -> SetRecord:
    """The record of a set.

    Raises:
        AccessError, NotFoundError, ConfigurationError: it cannot be read, is broken, or is newer
            than this program.
    """
    record = read_as(path, SetRecord)
    if record.schema_version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: written by a newer mlpstorage (schema {record.schema_version}, "
            f"known {SCHEMA_VERSION})",
            fix="pip install --upgrade mlpstorage",
        )
    return record


def scan_sets(results_dir: Path) -> list[SetEntry]:
    """Every set under a results directory, oldest first; none when there is no such directory."""
    found = [
        _entry(path)
        for directory in run_directories(results_dir.absolute())
        for path in set_records(directory)
    ]
    return sorted(found, key=lambda entry: (entry.start, str(entry.path)))


def find_set(results_dir: Path, set_id: str) -> SetEntry | None:
    """The set of that id, None if there is none."""
    if not set_id:
        return None
    return next((one for one in scan_sets(results_dir) if one.set_id == set_id), None)


def set_records(directory: Path) -> Iterator[Path]:
    """The records of sets in a directory itself."""
    for file in children(directory):
        if file.name.endswith(SET_SUFFIX) and is_file(file):
            yield Path(file.path)


def _entry(path: Path) -> SetEntry:
    try:
        record = read_set(path)
    except MlpstorageError as error:
        kind = path.name.removesuffix(SET_SUFFIX).removesuffix(f"_{path.parent.name}")
        name = str(RunId(kind, "set", "", path.parent.name))
        known = SetRecord(set_id=name, benchmark_type=kind)
        return SetEntry(name, BROKEN, None, start_moment("", path), known, path, error.what)
    alike = record.like_a_run()
    start = start_moment(record.start_time, path)
    return SetEntry(record.set_id, status_of(alike), alike.category, start, record, path)
