"""The actions of `mlpstorage history …`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds
from mlpstorage.store.history import find, scan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.history.options import ListOptions, RerunOptions, ShowOptions
    from mlpstorage.store.history import HistoryEntry


def list(options: ListOptions, _sources: Mapping[str, str]) -> Answer:  # noqa: A001 (the command's name)
    """Every run, oldest first, as a table."""
    if options.limit < 0:
        raise UsageError(f"--limit is {options.limit}", fix="give a positive number, or 0 for all")
    entries = scan(Path(options.results_dir).expanduser())
    shown = entries[-options.limit :] if options.limit else entries
    head = ("id", "#", "status", "verdict", "runtime")
    table = Table(head, tuple(_row(entry) for entry in shown))
    section = Section(f"{len(entries)} runs in {options.results_dir}", table=table)
    return Answer((section,), {"runs": [_document(entry) for entry in shown]})


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    seconds = entry.runtime_seconds
    runtime = "-" if seconds is None else format_seconds(seconds)
    return (entry.run_id, str(entry.number), entry.status, entry.verdict or "-", runtime)


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
    }


def _find(options: ShowOptions) -> HistoryEntry:
    root = Path(options.results_dir).expanduser()
    if options.id:
        return find(root, options.id)
    entries = scan(root)
    if not entries:
        raise NotFoundError(f"no runs in {root}", fix="pass the --results-dir of the runs")
    return entries[-1]


def show(options: ShowOptions, _sources: Mapping[str, str]) -> Answer:
    """One run's record."""
    entry = _find(options)
    document = _document(entry)
    rows = tuple(Row(name, str(value)) for name, value in document.items() if value is not None)
    return Answer((Section(f"run {entry.number}", rows=rows),), document)


def rerun(options: RerunOptions, _sources: Mapping[str, str]) -> int:
    """Run the recorded command again, as a new run; its exit code."""
    from mlpstorage.cli.app import run

    entry = _find(options)
    words = shlex.split(entry.executed_command)
    if not words or Path(words[0]).name != "mlpstorage":
        raise ConfigurationError(
            f"run {entry.run_id} does not record a command of mlpstorage",
            why=f"it says {entry.executed_command!r}",
            fix="start it by hand",
        )
    return run(words[1:])
