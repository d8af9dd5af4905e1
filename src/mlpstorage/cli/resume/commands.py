"""The action of `mlpstorage resume`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.cli.recorded import call_again
from mlpstorage.cli.values import printable
from mlpstorage.config import user_path
from mlpstorage.core.errors import NotFoundError, UsageError
from mlpstorage.core.events import Progress
from mlpstorage.core.run import Status
from mlpstorage.report.show import complain
from mlpstorage.store.codec import read_metadata
from mlpstorage.store.history import BROKEN, LEFT, HistoryEntry, find, scan
from mlpstorage.store.journal import read_journal
from mlpstorage.store.layout import RunDirectory
from mlpstorage.store.sets import scan_sets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpstorage.cli.resume.options import ResumeOptions
    from mlpstorage.store.sets import SetEntry

_UNFINISHED = frozenset({*LEFT, Status.FAILED.value})
# Options by which a command first removes what is there.
_REPLACING = ("force", "rebuild")


def resume(options: ResumeOptions, _sources: Mapping[str, str]) -> int:
    """Go on with a set, or repeat a run whose command keeps what is there; its exit code.

    A set goes on with the runs that it lacks. The command of a data generation or a load goes on
    where it stopped, also when it was to replace what was there (--force, --rebuild) and has begun
    to; a measured run is measured whole, so it begins anew.
    """
    root = user_path(options.results_dir, "--results-dir").absolute()
    found = _wanted(root, options.id)
    name = _name(found)
    _check(name, found.status, found.reason)
    if not options.id and not options.quiet:
        complain(printable(f"resuming {name}, which was {found.status}"))
    shown: dict[str, object] = {
        "json": options.json,
        "quiet": options.quiet,
        "verbose": options.verbose,
        "debug": options.debug,
        "results_dir": str(root),
    }
    if _has_replaced(found, root):
        shown.update(dict.fromkeys(_REPLACING, False))
    if isinstance(found, HistoryEntry):
        return call_again(read_metadata(found.metadata), shown)
    record = msgspec.structs.replace(found.record.like_a_run(), run_id=found.set_id)
    return call_again(record, shown, resumed=found)


def _has_replaced(found: HistoryEntry | SetEntry, root: Path) -> bool:
    """Whether the ranks were at work when the user ended it, so that the old is gone already."""
    if found.status not in LEFT:
        return False
    runs = (
        [found]
        if isinstance(found, HistoryEntry)
        else [entry for entry in scan(root) if entry.set_id == found.set_id]
    )
    return any(_has_worked(run) for run in runs)


def _has_worked(run: HistoryEntry) -> bool:
    journal = RunDirectory(run.directory, run.kind, run.command).events
    if not journal.is_file():
        return False
    return any(isinstance(entry.event, Progress) for entry in read_journal(journal))


def _wanted(root: Path, word: str) -> HistoryEntry | SetEntry:
    """What the word names; without one, the latest that was left. Of a run of a set, its set.

    What failed would most likely fail again, so it is resumed only by its name.
    """
    sets = {entry.set_id: entry for entry in scan_sets(root)}
    if word in sets:
        return sets[word]
    if word:
        entry = find(root, word)
        return sets.get(entry.set_id, entry)
    every: list[HistoryEntry | SetEntry] = [*sets.values()]
    every += [entry for entry in scan(root) if entry.set_id not in sets]
    left = [entry for entry in every if entry.status in LEFT]
    if not left:
        raise _nothing_left(root, [one for one in every if one.status == Status.FAILED.value])
    return max(left, key=lambda entry: entry.start)


def _nothing_left(root: Path, failed: Sequence[HistoryEntry | SetEntry]) -> NotFoundError:
    """The error that nothing was interrupted; what failed is named, for it may be meant."""
    what = f"nothing in {root} was interrupted"
    if not failed:
        fix = "name the set or run, or pass the --results-dir of the runs"
        return NotFoundError(what, fix=fix)
    last = max(failed, key=lambda entry: entry.start)
    why = f"the latest that failed is {printable(_name(last))}, which may only fail again"
    name = shlex.quote(printable(_name(last)))
    fix = f"mend what it failed by (mlpstorage history show), then: mlpstorage resume {name}"
    return NotFoundError(what, why=why, fix=fix)


def _name(found: HistoryEntry | SetEntry) -> str:
    return found.run_id if isinstance(found, HistoryEntry) else found.set_id


def _check(name: str, status: str, reason: str) -> None:
    if status in _UNFINISHED:
        return
    if status == Status.COMPLETE.value:
        raise UsageError(
            f"{name} is complete: there is nothing to resume",
            fix=f"run it again: mlpstorage history rerun {name}",
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
