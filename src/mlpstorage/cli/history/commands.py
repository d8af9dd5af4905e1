"""The actions of `mlpstorage history …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.cli.recorded import call_again, words_of
from mlpstorage.cli.values import printable
from mlpstorage.config import user_path
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds
from mlpstorage.store.codec import read_metadata
from mlpstorage.store.history import find, scan
from mlpstorage.store.sets import find_set, scan_sets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlpstorage.cli.history.options import ListOptions, RerunOptions, ShowOptions
    from mlpstorage.store.history import HistoryEntry
    from mlpstorage.store.sets import SetEntry


def list(options: ListOptions, sources: Mapping[str, str]) -> Answer:  # noqa: A001 (the command's name)
    """Every run, oldest first, as a table."""
    if options.limit < 0:
        raise UsageError(f"--limit is {options.limit}", fix="give a positive number, or 0 for all")
    root = user_path(options.results_dir, "--results-dir")
    if "results_dir" in sources and not root.exists():
        raise NotFoundError(
            f"there is no directory {options.results_dir}", fix="pass the --results-dir of the runs"
        )
    entries = scan(root)
    shown = entries[-options.limit :] if options.limit else entries
    sets = {one.set_id: one for one in scan_sets(root)}
    begun = {entry.set_id for entry in shown}
    named = [one for one in sets.values() if one.set_id in begun or not options.limit]
    head = ("id", "#", "part", "status", "verdict", "runtime")
    table = Table(head, tuple(_rows(shown, named)))
    title = f"{len(entries)} runs in {options.results_dir}"
    if sets:
        title += f", {len(sets)} set{'s' if len(sets) > 1 else ''}"
    section = Section(title, table=table)
    return Answer(
        (section,),
        {
            "runs": [_document(entry) for entry in shown],
            "sets": [_set_document(one, entries) for one in named],
        },
    )


def _rows(entries: Sequence[HistoryEntry], sets: Sequence[SetEntry]) -> Iterator[tuple[str, ...]]:
    """A line of each run, and before the first of a set (or where it would be) one of the set."""
    waiting = sorted(sets, key=lambda one: one.start)
    for entry in entries:
        while waiting and waiting[0].start <= entry.start:
            yield _set_row(waiting.pop(0))
        yield _row(entry)
    yield from map(_set_row, waiting)


def _set_row(one: SetEntry) -> tuple[str, ...]:
    seconds, size = one.record.runtime, len(one.record.members)
    cells = (one.set_id, "", f"set of {size}", one.status, one.verdict or "-", _took(seconds))
    return tuple(printable(cell) for cell in cells)


def _took(seconds: float | None) -> str:
    return "-" if seconds is None else format_seconds(seconds)


def _part(entry: HistoryEntry) -> str:
    return f"{entry.role} {entry.place}/{entry.size}" if entry.set_id else ""


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    cells = (
        entry.run_id,
        str(entry.number),
        _part(entry),
        entry.status,
        entry.verdict or "-",
        _took(entry.runtime_seconds),
    )
    return tuple(printable(cell) for cell in cells)


def _document(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "run_id": entry.run_id,
        "kind": entry.kind,
        "command": entry.command,
        "model": entry.model,
        "accelerator": entry.accelerator,
        "status": entry.status,
        "verdict": entry.verdict,
        "runtime_seconds": entry.runtime_seconds,
        "executed_command": entry.executed_command,
        "directory": str(entry.directory),
        "reason": entry.reason or None,
        "set_id": entry.set_id or None,
        "part": _part(entry) or None,
    }


def _set_document(one: SetEntry, entries: Sequence[HistoryEntry]) -> dict[str, Any]:
    """A set with all attempts of its runs, also those that were made again."""
    record = one.record
    return {
        "set_id": one.set_id,
        "kind": record.benchmark_type,
        "model": record.model,
        "accelerator": record.accelerator,
        "status": one.status,
        "verdict": one.verdict,
        "runtime_seconds": record.runtime,
        "executed_command": record.executed_command,
        "directory": str(one.directory),
        "reason": one.reason or None,
        "roles": [member.role for member in record.members],
        "members": [entry.run_id for entry in entries if entry.set_id == one.set_id],
    }


def _find(options: ShowOptions) -> HistoryEntry:
    root = user_path(options.results_dir, "--results-dir")
    if options.id:
        return find(root, options.id)
    entries = scan(root)
    if not entries:
        raise NotFoundError(f"no runs in {root}", fix="pass the --results-dir of the runs")
    return entries[-1]


def show(options: ShowOptions, _sources: Mapping[str, str]) -> Answer:
    """One run's record, or a set's with its members."""
    root = user_path(options.results_dir, "--results-dir")
    one = find_set(root, options.id)
    if one is not None:
        return _show_set(one, scan(root))
    entry = _find(options)
    document = _document(entry)
    return Answer((Section(f"run {entry.number}", rows=_given(document)),), document)


def _given(document: Mapping[str, Any]) -> tuple[Row, ...]:
    given = ((name, value) for name, value in document.items() if value is not None)
    return tuple(Row(name, printable(str(value))) for name, value in given)


def _show_set(one: SetEntry, entries: Sequence[HistoryEntry]) -> Answer:
    document = _set_document(one, entries)
    members = [entry for entry in entries if entry.set_id == one.set_id]
    rows = {name: value for name, value in document.items() if name not in {"roles", "members"}}
    table = Table(("run", "#", "part", "status", "verdict", "runtime"), tuple(map(_row, members)))
    missing = len(one.record.members) - len({m.place for m in members if m.status == "complete"})
    lines = (f"{missing} runs are missing: mlpstorage resume {one.set_id}",) if missing else ()
    sections = (
        Section(f"set of {len(one.record.members)} runs", rows=_given(rows)),
        Section("its runs", table=table, lines=lines),
    )
    return Answer(sections, document)


def rerun(options: RerunOptions, _sources: Mapping[str, str]) -> int:
    """Run the recorded command again, with the recorded options, as a new run; its exit code."""
    root = user_path(options.results_dir, "--results-dir")
    one = find_set(root, options.id)
    if one is not None:
        _check_readable(one.set_id, one.reason)
        record = msgspec.structs.replace(one.record.like_a_run(), run_id=one.set_id)
        return call_again(record, {})
    entry = _find(options)
    _check_readable(entry.run_id, entry.reason)
    words = words_of(entry.run_id, entry.executed_command)
    metadata = read_metadata(entry.metadata)
    if not metadata.args or not metadata.mlpstorage_version:
        from mlpstorage.cli.app import run

        return run(words)
    return call_again(metadata, {})


def _check_readable(name: str, reason: str) -> None:
    if reason:
        raise ConfigurationError(
            f"run {name} has no readable record", why=reason, fix="start it by hand"
        )
