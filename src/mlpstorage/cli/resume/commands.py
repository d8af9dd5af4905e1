"""The action of `mlpstorage resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mlpstorage.cli.recorded import call_again
from mlpstorage.config import user_path
from mlpstorage.core.errors import NotFoundError, UsageError
from mlpstorage.core.run import Status
from mlpstorage.store.codec import read_metadata
from mlpstorage.store.history import BROKEN, KILLED, HistoryEntry, find, scan
from mlpstorage.store.sets import scan_sets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlpstorage.cli.resume.options import ResumeOptions
    from mlpstorage.store.sets import SetEntry

_UNFINISHED = frozenset({KILLED, Status.FAILED.value, Status.INTERRUPTED.value})


def resume(options: ResumeOptions, _sources: Mapping[str, str]) -> int:
    """Go on with a set, or repeat a run whose command keeps what is there; its exit code.

    A set goes on with the runs that it lacks. The command of a data generation or a load goes on
    where it stopped; a measured run is measured whole, so it begins anew.
    """
    root = user_path(options.results_dir, "--results-dir").absolute()
    found = _wanted(root, options.id)
    name = found.run_id if isinstance(found, HistoryEntry) else found.set_id
    _check(name, found.status, found.reason)
    shown = {
        "json": options.json,
        "quiet": options.quiet,
        "verbose": options.verbose,
        "debug": options.debug,
        "results_dir": str(root),
    }
    if isinstance(found, HistoryEntry):
        return call_again(read_metadata(found.metadata), shown)
    record = msgspec.structs.replace(found.record.like_a_run(), run_id=found.set_id)
    return call_again(record, shown, resumed=found)


def _wanted(root: Path, word: str) -> HistoryEntry | SetEntry:
    """What the word names; without one, the latest that did not end. Of a run of a set, its set."""
    sets = {entry.set_id: entry for entry in scan_sets(root)}
    if word in sets:
        return sets[word]
    if word:
        entry = find(root, word)
        return sets.get(entry.set_id, entry)
    unfinished: list[HistoryEntry | SetEntry] = [
        entry for entry in sets.values() if entry.status in _UNFINISHED
    ]
    unfinished += [e for e in scan(root) if e.set_id not in sets and e.status in _UNFINISHED]
    if not unfinished:
        raise NotFoundError(
            f"nothing in {root} was interrupted",
            fix="name the set or run, or pass the --results-dir of the runs",
        )
    return max(unfinished, key=lambda entry: entry.start)


def _check(name: str, status: str, reason: str) -> None:
    if status in _UNFINISHED:
        return
    if status == Status.COMPLETE.value:
        raise UsageError(
            f"{name} is complete: there is nothing to resume",
            fix=f"run it again: mlpstorage history rerun --id {name}",
        )
    if status == Status.STARTED.value:
        raise UsageError(
            f"{name} is still running, or began on a host that cannot be asked from here",
            fix="end it first, or resume it on that host",
        )
    raise UsageError(
        f"{name} cannot be resumed: it is {status}",
        why=reason if status == BROKEN else "its record does not say how it ended",
        fix="start it by hand",
    )
