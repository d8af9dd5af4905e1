"""The actions of `mlpstorage history …`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.values import printable
from mlpstorage.config import user_path
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_seconds
from mlpstorage.kinds import KINDS
from mlpstorage.store.history import find, scan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpstorage.cli.history.options import ListOptions, RerunOptions, ShowOptions
    from mlpstorage.store.history import HistoryEntry


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
    head = ("id", "#", "status", "verdict", "runtime")
    table = Table(head, tuple(_row(entry) for entry in shown))
    section = Section(f"{len(entries)} runs in {options.results_dir}", table=table)
    return Answer((section,), {"runs": [_document(entry) for entry in shown]})


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    seconds = entry.runtime_seconds
    runtime = "-" if seconds is None else format_seconds(seconds)
    cells = (entry.run_id, str(entry.number), entry.status, entry.verdict or "-", runtime)
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
    """One run's record."""
    entry = _find(options)
    document = _document(entry)
    given = ((name, value) for name, value in document.items() if value is not None)
    rows = tuple(Row(name, printable(str(value))) for name, value in given)
    return Answer((Section(f"run {entry.number}", rows=rows),), document)


def rerun(options: RerunOptions, _sources: Mapping[str, str]) -> int:
    """Run the recorded command again, as a new run; its exit code."""
    from mlpstorage.cli.app import run

    return run(_benchmark_words(_find(options)))


def _benchmark_words(entry: HistoryEntry) -> Sequence[str]:
    """The words of a recorded command, after the program's name.

    Raises:
        ConfigurationError: the record is broken, or is not of a benchmark of this program.
    """
    if entry.reason:
        raise ConfigurationError(
            f"run {entry.run_id} has no readable record", why=entry.reason, fix="start it by hand"
        )
    try:
        program, *words = shlex.split(entry.executed_command)
    except ValueError:  # nothing, or a quote that is not closed
        program, words = "", []
    if Path(program).name != "mlpstorage" or words[:1] not in [[kind.name] for kind in KINDS]:
        raise ConfigurationError(
            f"run {entry.run_id} does not record a benchmark of mlpstorage",
            why=f"its command is {entry.executed_command!r}",
            fix="start it by hand",
        )
    return words
