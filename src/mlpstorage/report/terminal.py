"""Sections as plain text for a terminal, a log or a mail."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.core.section import Section, Table


# Narrower than this, a note no longer stands beside its value.
_LEAST_NOTE = 20


def render(sections: Iterable[Section], width: int | None = None) -> str:
    """The text of all sections, an empty line between them; no trailing newline.

    With a width, long notes and lines go on below their beginning; a table keeps its lines, and so
    does what cannot be broken, such as a path.
    """
    return "\n\n".join("\n".join(_lines(section, width)) for section in sections)


def _lines(section: Section, width: int | None) -> Iterator[str]:
    yield section.title
    label = max((len(row.label) for row in section.rows), default=0)
    values = max((len(row.value) for row in section.rows if row.note), default=0)
    for row in section.rows:
        head = f"  {row.label.ljust(label)}  "
        beside = len(head) + values + 2
        if row.note and width is not None and width - beside < _LEAST_NOTE:
            yield from _wrapped(head, row.value, width)
            yield from _wrapped(" " * (len(head) + 2), row.note, width)
        elif row.note:
            yield from _wrapped(f"{head}{row.value.ljust(values)}  ", row.note, width)
        else:
            yield from _wrapped(head, row.value, width)
    if section.table:
        yield from _table(section.table)
    for line in section.lines:
        yield from _wrapped("  ", line, width, hanging=2)


def _wrapped(head: str, text: str, width: int | None, hanging: int = 0) -> Iterator[str]:
    """The text behind its head, and what has no room there under it."""
    if width is None or len(head) + len(text) <= width:
        yield f"{head}{text}".rstrip()
        return
    yield from textwrap.wrap(
        text,
        max(width, len(head) + hanging + 1),
        initial_indent=head,
        subsequent_indent=" " * (len(head) + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(table: Table) -> Iterator[str]:
    rows = (table.head, *table.body)
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    for row in rows:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join((first, *rest)).rstrip()
