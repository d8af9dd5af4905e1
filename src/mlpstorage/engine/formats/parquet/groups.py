"""What a reader of some columns reads of each row group, and whether a file has those columns."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.footer import Footer
    from mlpstorage.engine.formats.parquet.leaves import LeafColumn
    from mlpstorage.engine.formats.parquet.schema import Column, Table

# More names than these are of no use in a message.
_MOST_NAMES = 12


@dataclass(frozen=True, eq=False)
class GroupReads:
    """The byte ranges of some columns, row group by row group; chunks that touch are one range.

    Files with equal footers share one.

    Args:
        group_first: The first row of each row group: int64 of shape (groups,).
        group_rows: The rows of each.
        first_range: Where each row group's ranges begin: int64 of shape (groups + 1,).
        begin: The offset of each range, ascending in a row group.
        length: Its size in bytes.
    """

    group_first: NDArray[np.int64]
    group_rows: NDArray[np.int64]
    first_range: NDArray[np.int64]
    begin: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, footer: Footer, columns: Sequence[str], path: Path | str) -> GroupReads:
        """The ranges of the columns of a table with these names.

        Raises:
            ConfigurationError: the file has no such column.
        """
        named = _by_name(footer)
        leaves = [
            index for name in dict.fromkeys(columns) for index in _leaves_of(named, name, path)
        ]
        begin, length = footer.begin[:, leaves], footer.length[:, leaves]
        order = np.argsort(begin, axis=1, kind="stable")
        begin = np.take_along_axis(begin, order, axis=1)
        length = np.take_along_axis(length, order, axis=1)
        opens = np.ones(begin.shape, np.bool_)
        opens[:, 1:] = begin[:, 1:] != begin[:, :-1] + length[:, :-1]
        first_range = np.zeros(len(begin) + 1, np.int64)
        np.cumsum(opens.sum(axis=1), out=first_range[1:])
        starts = np.flatnonzero(opens)
        joined = np.add.reduceat(length.ravel(), starts) if len(starts) else length.ravel()
        first = np.cumsum(footer.group_rows) - footer.group_rows
        return cls(first, footer.group_rows, first_range, begin[opens], joined)

    def ranges(self, group: int) -> list[tuple[int, int]]:
        """The bytes [begin, end) of each range of a row group, in the order of the file."""
        part = slice(self.first_range[group], self.first_range[group + 1])
        begin = self.begin[part]
        return list(zip(begin.tolist(), (begin + self.length[part]).tolist(), strict=True))

    def bytes(self, group: int) -> int:
        """How many bytes the ranges of a row group have together."""
        return int(self.length[self.first_range[group] : self.first_range[group + 1]].sum())

    @property
    def end(self) -> int:
        """Where the last range ends; a file that is not longer than this is cut off."""
        return int((self.begin + self.length).max(initial=0))


def check_schema(footer: Footer, table: Table, path: Path | str) -> None:
    """Refuse a file that does not hold what the table says that training reads.

    Raises:
        ConfigurationError: a column is missing or of another kind, or the file has no rows.
    """
    if not footer.num_rows:
        raise ConfigurationError(
            f"data file {path} has no rows",
            why="a row is a sample, and training reads samples",
            fix="remove it and run datagen again with the same arguments",
        )
    named = _by_name(footer)
    for column in table.read_columns:
        leaves = [footer.columns[index] for index in _leaves_of(named, column.name, path)]
        found = _kind(leaves)
        if found != _wanted(column):
            raise ConfigurationError(
                f"column {column.name} of data file {path} is {found}, not {_wanted(column)}",
                why="the workload's columns say what training reads",
                fix="make the workload's columns those of the file, or run datagen again",
            )


def _by_name(footer: Footer) -> dict[str, list[int]]:
    """The indexes of the leaves of each column of the table."""
    found: dict[str, list[int]] = {}
    for index, leaf in enumerate(footer.columns):
        found.setdefault(leaf.name, []).append(index)
    return found


def _leaves_of(leaves: dict[str, list[int]], name: str, path: Path | str) -> list[int]:
    """The indexes of the leaves of one column."""
    if name in leaves:
        return leaves[name]
    names = list(leaves)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    near = difflib.get_close_matches(name, names, n=1)
    raise ConfigurationError(
        f"data file {path} has no column {name!r}",
        why=f"it has {', '.join(names[:_MOST_NAMES])}{more}",
        fix=(f"did you mean {near[0]}? Else " if near else "")
        + "make the workload's columns those of the file, or run datagen again",
    )


def _kind(leaves: list[LeafColumn]) -> str:
    if len(leaves) > 1:
        return f"a group of {len(leaves)} columns"
    leaf = leaves[0]
    return ("a list of " if leaf.is_list else "") + (leaf.dtype or leaf.physical)


def _wanted(column: Column) -> str:
    return ("a list of " if column.is_list else "") + column.dtype
