"""The actions of `mlpstorage history …`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.cli.recorded import call_again, words_of
from mlpstorage.cli.values import printable
from mlpstorage.config import user_path
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds
from mlpstorage.kinds.recollection import figure_document, recall
from mlpstorage.kinds.recorded_verdict import recorded_verdict
from mlpstorage.kinds.repetition import part_name
from mlpstorage.kinds.set_conclusion import (
    SetEnding,
    conclude_set,
    measures_of,
    verdict_of_set,
    view_of,
)
from mlpstorage.report.sets import document_of as set_document
from mlpstorage.report.sets import finding_text
from mlpstorage.report.table import counted
from mlpstorage.store.codec import ErrorRecord, Metadata, read_metadata
from mlpstorage.store.history import BROKEN, find, scan
from mlpstorage.store.sets import find_set, scan_sets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from mlpstorage.cli.history.options import ListOptions, RerunOptions, ShowOptions
    from mlpstorage.kinds.recollection import Recollection
    from mlpstorage.store.history import HistoryEntry
    from mlpstorage.store.sets import SetEntry

    _Roles = Mapping[str, tuple[str, ...]]


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
    roles = _roles(sets.values())
    begun = {entry.set_id for entry in shown}
    named = [one for one in sets.values() if one.set_id in begun or not options.limit]
    head = ("id", "#", "part", "status", "verdict", "runtime")
    table = Table(head, tuple(_rows(shown, named, roles)))
    title = f"{counted(len(entries), 'run')} in {options.results_dir}"
    if sets:
        title += f", {counted(len(sets), 'set')}"
    section = Section(title, table=table)
    return Answer(
        (section,),
        {
            "runs": [_document(entry, roles) for entry in shown],
            "sets": [_set_document(one, entries) for one in named],
        },
    )


def _roles(sets: Iterable[SetEntry]) -> _Roles:
    """The roles of every set's runs, in their order."""
    return {one.set_id: tuple(member.role for member in one.record.members) for one in sets}


def _rows(
    entries: Sequence[HistoryEntry], sets: Sequence[SetEntry], roles: _Roles
) -> Iterator[tuple[str, ...]]:
    """A line of each run, and before the first of a set (or where it would be) one of the set."""
    waiting = sorted(sets, key=lambda one: one.start)
    for entry in entries:
        while waiting and waiting[0].start <= entry.start:
            yield _set_row(waiting.pop(0))
        yield _row(entry, roles)
    yield from map(_set_row, waiting)


def _set_row(one: SetEntry) -> tuple[str, ...]:
    seconds, size = one.record.runtime, len(one.record.members)
    cells = (one.set_id, "", f"set of {size}", one.status, one.verdict or "-", _took(seconds))
    return tuple(printable(cell) for cell in cells)


def _took(seconds: float | None) -> str:
    return "-" if seconds is None else format_seconds(seconds)


def _part(entry: HistoryEntry, roles: _Roles) -> str:
    """What a run is in its set, called as the set calls it."""
    if not entry.set_id:
        return ""
    known = roles.get(entry.set_id, ())
    if entry.place is not None and 0 < entry.place <= len(known):
        return part_name(known, entry.place)
    return f"{entry.role}, run {entry.place} of {entry.size}"  # the set's record is gone


def _row(entry: HistoryEntry, roles: _Roles) -> tuple[str, ...]:
    cells = (
        entry.run_id,
        str(entry.number),
        _part(entry, roles),
        entry.status,
        entry.verdict or "-",
        _took(entry.runtime_seconds),
    )
    return tuple(printable(cell) for cell in cells)


def _document(entry: HistoryEntry, roles: _Roles) -> dict[str, Any]:
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
        "part": _part(entry, roles) or None,
        "role": entry.role or None,
        "place": entry.place,
        "size": entry.size,
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
    """One run or set: what came of it, why, and how to go on."""
    root = user_path(options.results_dir, "--results-dir").absolute()
    sets = scan_sets(root)
    one = next((one for one in sets if options.id and one.set_id == options.id), None)
    if one is not None:
        return _show_set(one, scan(root), root)
    entry, roles = _find(options), _roles(sets)
    known = _recalled(entry, root)
    document = {**_document(entry, roles), **known.as_dict()}
    sections = (_run_section(entry, roles), *known.sections())
    return Answer(tuple(map(_printable, sections)), document)


def _recalled(entry: HistoryEntry, root: Path) -> Recollection:
    if entry.status == BROKEN:
        known = Metadata(
            benchmark_type=entry.kind, run_id=entry.run_id, error=ErrorRecord(entry.reason, "", "")
        )
    else:
        known = read_metadata(entry.metadata)
    return recall(known, entry.directory, root, entry.status)


def _run_section(entry: HistoryEntry, roles: _Roles) -> Section:
    accelerator = f" on {entry.accelerator}" if entry.accelerator else ""
    rows = [
        Row("id", entry.run_id),
        Row("what", f"{entry.kind} {entry.command}: {entry.model}{accelerator}"),
    ]
    if entry.set_id:
        rows.append(Row("part", _part(entry, roles), f"of {entry.set_id}"))
    rows += _times(entry.status, entry.start, entry.runtime_seconds)
    rows.append(Row("command", entry.executed_command))
    return Section(f"run {entry.number}", rows=tuple(rows))


def _times(status: str, start: datetime, seconds: float | None) -> Iterator[Row]:
    yield Row("status", status)
    yield Row("started", start.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if seconds is not None:
        yield Row("took", format_seconds(seconds))


def _printable(section: Section) -> Section:
    """The section without control characters: names in results may come from anybody."""
    rows = tuple(Row(*map(printable, (r.label, r.value, r.note))) for r in section.rows)
    return replace(section, rows=rows, lines=tuple(map(printable, section.lines)))


def _show_set(one: SetEntry, entries: Sequence[HistoryEntry], root: Path) -> Answer:
    record, roles = one.record, _roles([one])
    members = [entry for entry in entries if entry.set_id == one.set_id]
    body = tuple(_row(entry, roles) for entry in members)
    table = Table(("run", "#", "part", "status", "verdict", "runtime"), body)
    missing = len(record.members) - len({m.place for m in members if m.status == "complete"})
    again = f"mlpstorage resume {one.set_id} --results-dir {shlex.quote(str(root))}"
    left = f"{counted(missing, 'run')} {'is' if missing == 1 else 'are'} missing"
    rows = [Row("id", one.set_id), *_times(one.status, one.start, record.runtime)]
    if one.reason:
        rows.append(Row("reason", one.reason))
    if record.error is not None:
        rows.append(Row("reason", record.error.what, record.error.why))
    rows += [Row("directory", str(one.directory)), Row("command", record.executed_command)]
    document = _set_document(one, entries)
    view = None if one.reason else view_of(record, one.directory, root)
    found = recorded_verdict(record.verification)
    sections = [
        Section(f"set of {counted(len(record.members), 'run')}", rows=tuple(rows)),
        Section("its runs", table=table, lines=(left,) if missing else ()),
    ]
    if view is not None:
        ending = SetEnding(view, record, one.directory, root, found, again if missing else "")
        verdict = found if missing else verdict_of_set(view)
        reasons = tuple(map(finding_text, verdict.issues)) if verdict else ()
        sections += [Section("reasons", lines=reasons)] if reasons else []
        sections.append(conclude_set(ending))
        more = set_document(view)
        document |= {
            "reasons": verdict.as_dict()["issues"] if verdict else [],
            "figures": [figure_document(figure) for figure in measures_of(view)],
            "limited_by": more["limited_by"],
            "bottleneck": more["bottleneck"],
            "next": [again] if missing else [],
        }
    return Answer(tuple(map(_printable, sections)), document)


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
