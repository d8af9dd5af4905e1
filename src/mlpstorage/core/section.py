"""What a report shows, without saying how: the terminal, JSON and HTML all render these."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line: a label, its value for people, and a remark."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Columns under headings; the first is left-aligned, the others right-aligned."""

    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A titled part of a report: rows, then a table, then lines of text such as commands."""

    title: str
    rows: tuple[Row, ...] = ()
    table: Table | None = None
    lines: tuple[str, ...] = field(default=())
