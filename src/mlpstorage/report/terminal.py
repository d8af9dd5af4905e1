"""Sections as plain text for a terminal, a log or a mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.core.section import Section, Table


def render(sections: Iterable[Section]) -> str:
    """The text of all sections, an empty line between them; no trailing newline."""
    return "\n\n".join("\n".join(_lines(section)) for section in sections)


def _lines(section: Section) -> Iterator[str]:
    yield section.title
    width = max((len(row.label) for row in section.rows), default=0)
    values = max((len(row.value) for row in section.rows if row.note), default=0)
    for row in section.rows:
        note = f"  {row.note}" if row.note else ""
        value = row.value.ljust(values) if row.note else row.value
        yield f"  {row.label.ljust(width)}  {value}{note}".rstrip()
    if section.table:
        yield from _table(section.table)
    for line in section.lines:
        yield f"  {line}".rstrip()


def _table(table: Table) -> Iterator[str]:
    rows = (table.head, *table.body)
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    for row in rows:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join((first, *rest)).rstrip()
