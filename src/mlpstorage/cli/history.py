"""`mlpstorage history`: list, show and rerun what the results tree records."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import EXIT_OK, ConfigurationError
from mlpstorage.core.options import opt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import App

    from mlpstorage.store.history import HistoryEntry


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of `history list`."""

    results_dir: str = opt("results", "Root of all results.", short="-rd")
    limit: int = opt(0, "Show only the last so many.", short="-n")
    json: bool = opt(False, "Print as JSON.")


@dataclass(frozen=True, kw_only=True)
class OneOptions:
    """Options of `history show` and `history rerun`."""

    results_dir: str = opt("results", "Root of all results.", short="-rd")
    id: str = opt("", "Number or id of the run; the last one by default.", short="-i")
    json: bool = opt(False, "Print as JSON.")


def app(make: Callable[[str, str, Sequence[str]], App], argv: Sequence[str]) -> App:
    """The command node."""
    from mlpstorage.cli.binding import command_of

    node = make("history", "What was run: list it, show it, run it again.", argv)
    node.command(command_of(ListOptions, list_runs, "List every run, oldest first."), name="list")
    node.command(command_of(OneOptions, show, "Show one run's record."), name="show")
    node.command(command_of(OneOptions, rerun, "Run the same command again."), name="rerun")
    return node


def list_runs(options: ListOptions) -> int:
    """Print the runs as a table, or as JSON."""
    from mlpstorage.core.section import Section, Table
    from mlpstorage.report.show import publish
    from mlpstorage.store.history import scan

    entries = scan(Path(options.results_dir).expanduser())
    entries = entries[-options.limit :] if options.limit else entries
    rows = tuple(_row(entry) for entry in entries)
    head = ("id", "#", "status", "verdict", "runtime")
    section = Section(f"{len(entries)} runs in {options.results_dir}", table=Table(head, rows))
    publish((section,), {"runs": [_document(entry) for entry in entries]}, as_json=options.json)
    return EXIT_OK


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    from mlpstorage.core.units import format_seconds

    runtime = format_seconds(entry.runtime_seconds) if entry.runtime_seconds is not None else "-"
    return (entry.run_id, str(entry.number), entry.status, entry.verdict or "-", runtime)


def _document(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "run_id": entry.run_id,
        "kind": entry.kind,
        "command": entry.command,
        "model": entry.model,
        "status": entry.status,
        "verdict": entry.verdict,
        "runtime_seconds": entry.runtime_seconds,
        "executed_command": entry.executed_command,
        "directory": str(entry.directory),
    }


def _find(options: OneOptions) -> HistoryEntry:
    from mlpstorage.core.errors import NotFoundError
    from mlpstorage.store.history import find, scan

    root = Path(options.results_dir).expanduser()
    if options.id:
        return find(root, options.id)
    entries = scan(root)
    if not entries:
        raise NotFoundError(f"no runs in {root}", fix="pass the --results-dir of the runs")
    return entries[-1]


def show(options: OneOptions) -> int:
    """Print one run's record."""
    from mlpstorage.core.section import Row, Section
    from mlpstorage.report.show import publish

    entry = _find(options)
    document = _document(entry)
    rows = tuple(Row(name, str(value)) for name, value in document.items() if value is not None)
    reason = (entry.reason,) if entry.reason else ()
    section = Section(f"run {entry.number}", rows=rows, lines=reason)
    publish((section,), document, as_json=options.json)
    return EXIT_OK


def rerun(options: OneOptions) -> int:
    """Run the recorded command again, as a new run."""
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
