"""The footer of a file, written: schema, row groups, and where each column chunk stands.

It is written a row group at a time: of 768 row groups of 200 columns it has 7 MiB. Its size is
known beforehand by arithmetic alone. Source: apache/parquet-format parquet.thrift, FileMetaData.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats.parquet.codecs import CODEC_NUMBERS
from mlpstorage.engine.formats.parquet.pages import (
    PLAIN,
    RLE,
    RLE_DICTIONARY,
    chunk_bytes,
    has_dictionary,
)
from mlpstorage.engine.formats.parquet.thrift import (
    BINARY,
    BYTE,
    FALSE,
    I32,
    I64,
    LIST,
    STOP,
    STRUCT,
    TRUE,
    fields,
    integer,
    integer_bytes,
    list_header,
    progression_bytes,
    sequence,
    struct,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.pages import Chunk
    from mlpstorage.engine.formats.parquet.schema import Column, Table

MAGIC = b"PAR1"
# The length of the footer and the magic number again.
TAIL_BYTES = 8
# Readers parse it for the quirks of known writers; it changes only when the bytes of files do.
_CREATED_BY = "mlpstorage version 1"
_FORMAT_VERSION = 1
# Readers take the footer's length as an i32.
_MOST_FOOTER_BYTES = (1 << 31) - 1
_REQUIRED, _REPEATED = 0, 2
_INT32, _INT64, _FLOAT, _DOUBLE, _BYTE_ARRAY, _FIXED = 1, 2, 4, 5, 6, 7
_PHYSICAL = {
    "float16": _FIXED, "float32": _FLOAT, "float64": _DOUBLE, "int8": _INT32, "uint8": _INT32,
    "int32": _INT32, "int64": _INT64, "binary": _BYTE_ARRAY,
}  # fmt: skip
_CONVERTED_LIST = 3
_CONVERTED = {"int8": 15, "uint8": 11}


def _logical(number: int, content: bytes = bytes([STOP])) -> bytes:
    """A value of the union LogicalType."""
    return struct([(number, STRUCT, content)])


_LOGICAL_LIST = _logical(3)
_LOGICAL = {
    "int8": _logical(10, struct([(1, BYTE, b"\x08"), (2, TRUE, b"")])),
    "uint8": _logical(10, struct([(1, BYTE, b"\x08"), (2, FALSE, b"")])),
    "float16": _logical(15),
}


class Groups(NamedTuple):
    """Row groups of equal size that follow one another.

    Args:
        first_row: How many rows stand before them.
        times: How many there are.
        rows: The rows of each.
    """

    first_row: int
    times: int
    rows: int


def groups_of(table: Table, rows: int) -> tuple[Groups, ...]:
    """The row groups of a file: the full ones, then a shorter one for the rest."""
    full, rest = divmod(rows, table.row_group_rows)
    found = (
        Groups(0, full, table.row_group_rows),
        Groups(full * table.row_group_rows, 1, rest),
    )
    return tuple(groups for groups in found if groups.times and groups.rows)


def file_head(table: Table, rows: int, group_count: int) -> bytes:
    """The start of the footer, up to the first row group."""
    return fields([
        (1, I32, integer(_FORMAT_VERSION)),
        (2, LIST, _schema(table)),
        (3, I64, integer(rows)),
        (4, LIST, list_header(STRUCT, group_count)),
    ])  # fmt: skip


def file_end() -> bytes:
    """The end of the footer, after the last row group."""
    return fields([(6, BINARY, text(_CREATED_BY))], after=4) + bytes([STOP])


class GroupWriter:
    """The footer's entries of row groups with the same chunks, whose places alone differ."""

    def __init__(self, table: Table, chunks: Sequence[Chunk], rows: int) -> None:
        self._chunks: list[tuple[bytes, int, int]] = []
        at = 0
        for column, chunk in zip(table.columns, chunks, strict=True):
            fixed = _chunk_head(column, table, chunk.values) + fields(
                [(6, I64, integer(chunk.plain_size)), (7, I64, integer(chunk.size))], after=5
            )
            self._chunks.append((fixed, at, chunk.data_at))
            at += chunk.size
        self.group_bytes = at
        plain = sum(chunk.plain_size for chunk in chunks)
        self._head = fields([(1, LIST, list_header(STRUCT, len(chunks)))])
        self._plain_and_rows = fields([(2, I64, integer(plain)), (3, I64, integer(rows))], after=1)
        self._size = fields([(6, I64, integer(at))], after=5) + bytes([STOP])

    def entry(self, begin: int) -> bytes:
        """The entry of the row group that begins at an offset of the file."""
        out = [self._head]
        for fixed, at, data_at in self._chunks:
            start = begin + at
            # Field 9 after 7, then 11 after 9, and the ends of ColumnMetaData and ColumnChunk.
            out += (fixed, b"\x26", integer(start + data_at))
            if data_at:
                out += (b"\x26", integer(start))
            out.append(b"\0\0")
        out.append(self._plain_and_rows)
        out += (fields([(5, I64, integer(begin))], after=3), self._size)
        return b"".join(out)


def file_bytes(table: Table, rows: int, blob_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The exact sizes of files of `rows` rows, by the lengths of their binary values."""
    groups = groups_of(table, rows)
    begin: NDArray[np.int64] = np.full(blob_bytes.shape, len(MAGIC), np.int64)
    footer: NDArray[np.int64] = np.full_like(
        begin, len(file_head(table, rows, sum(kind.times for kind in groups))) + len(file_end())
    )
    for kind in groups:
        group, entries = _group_bytes(table, kind, begin, blob_bytes)
        begin = begin + kind.times * group
        footer += entries
    _require_footer(int(footer.max(initial=0)))
    return begin + footer + TAIL_BYTES


def _group_bytes(
    table: Table, kind: Groups, begin: NDArray[np.int64], blob_bytes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The size of each of some equal row groups, and of all their entries in the footer."""
    sizes = [
        chunk_bytes(
            column, kind.rows, table.compression,
            blob_bytes if table.is_blob else np.asarray(column.size, np.int64),
        )
        for column in table.columns
    ]  # fmt: skip
    group = sum((chunk.size for chunk in sizes), np.int64(0) * begin)
    plain = sum((chunk.plain_size for chunk in sizes), np.int64(0) * begin)
    # Field headers of a byte each, the number of rows, the list's header and the end.
    fixed = 1 + len(list_header(STRUCT, len(sizes))) + 4 + len(integer(kind.rows)) + 1
    entries = kind.times * (fixed + integer_bytes(plain) + integer_bytes(group))
    entries += progression_bytes(begin, group, kind.times)
    at = begin
    for column, chunk in zip(table.columns, sizes, strict=True):
        values = kind.rows * (column.size if column.is_list else 1)
        fixed = len(_chunk_head(column, table, values)) + 3 + 2
        entries += kind.times * (
            fixed + integer_bytes(chunk.plain_size) + integer_bytes(chunk.size)
        )
        entries += progression_bytes(at + chunk.data_at, group, kind.times)
        if chunk.data_at:
            entries += kind.times + progression_bytes(at, group, kind.times)
        at = at + chunk.size
    return group, entries


def _require_footer(size: int) -> None:
    if size > _MOST_FOOTER_BYTES:
        raise ConfigurationError(
            f"a parquet footer of {size} bytes",
            why=f"it holds at most {_MOST_FOOTER_BYTES}, and every row group adds to it",
            fix="raise the rows of a row group, or lower the samples per file",
        )


def _chunk_head(column: Column, table: Table, values: int) -> bytes:
    """A ColumnChunk up to the sizes: what does not depend on its place."""
    encodings = [PLAIN, RLE, RLE_DICTIONARY] if has_dictionary(column) else [PLAIN, RLE]
    path = [column.name, "list", "element"] if column.is_list else [column.name]
    return fields([(2, I64, integer(0))]) + fields([(3, STRUCT, fields([
        (1, I32, integer(_PHYSICAL[column.dtype])),
        (2, LIST, sequence(I32, [integer(encoding) for encoding in encodings])),
        (3, LIST, sequence(BINARY, [text(name) for name in path])),
        (4, I32, integer(CODEC_NUMBERS[table.compression])),
        (5, I64, integer(values)),
    ]))], after=2)  # fmt: skip


def _schema(table: Table) -> bytes:
    root = struct([(4, BINARY, text("schema")), (5, I32, integer(len(table.columns)))])
    elements = [root]
    for column in table.columns:
        elements += _elements(column)
    return sequence(STRUCT, elements)


def _elements(column: Column) -> Iterator[bytes]:
    """A column's elements of the schema."""
    if not column.is_list:
        yield _leaf(column.name, column.dtype)
        return
    yield struct([
        (3, I32, integer(_REQUIRED)), (4, BINARY, text(column.name)), (5, I32, integer(1)),
        (6, I32, integer(_CONVERTED_LIST)), (10, STRUCT, _LOGICAL_LIST),
    ])  # fmt: skip
    yield struct([
        (3, I32, integer(_REPEATED)), (4, BINARY, text("list")), (5, I32, integer(1))
    ])  # fmt: skip
    yield _leaf("element", column.dtype)


def _leaf(name: str, dtype: str) -> bytes:
    members = [(1, I32, integer(_PHYSICAL[dtype]))]
    if dtype == "float16":
        members.append((2, I32, integer(2)))
    members += [(3, I32, integer(_REQUIRED)), (4, BINARY, text(name))]
    if dtype in _CONVERTED:
        members.append((6, I32, integer(_CONVERTED[dtype])))
    if dtype in _LOGICAL:
        members.append((10, STRUCT, _LOGICAL[dtype]))
    return struct(members)
