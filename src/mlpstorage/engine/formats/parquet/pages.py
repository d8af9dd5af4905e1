"""The pages of one column chunk: a dictionary page where there is one, then one data page (v1).

Numbers stand in PLAIN encoding, so that their bytes are payload bytes. 8-bit integers, which
Parquet knows only as INT32, are indexes of 8 bits into a dictionary of all 256 values: one byte
each, the payload's own. A list column is a required 3-level LIST of required elements, whose levels
are runs. Sources: apache/parquet-format Encodings.md, LogicalTypes.md and parquet.thrift.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats.parquet.codecs import Part, framed, framed_bytes, literal
from mlpstorage.engine.formats.parquet.thrift import (
    FALSE,
    I32,
    STRUCT,
    integer,
    integer_bytes,
    varint,
)
from mlpstorage.engine.formats.parquet.thrift import struct as thrift_struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.codecs import Step
    from mlpstorage.engine.formats.parquet.schema import Column, Compression

PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
LENGTH_BYTES = 4
_DICTIONARY_VALUES = 256
# All 8-bit integers in the order of their byte, as INT32.
_DICTIONARIES = {
    "int8": np.arange(_DICTIONARY_VALUES, dtype=np.uint8).view(np.int8).astype("<i4").tobytes(),
    "uint8": np.arange(_DICTIONARY_VALUES, dtype="<i4").tobytes(),
}
_INDEX_BITS = 8
_GROUP = 8
# Sizes of pages are i32; LZ4 takes a little less (LZ4_MAX_INPUT_SIZE).
MOST_PAGE_BYTES = 0x7E000000
MOST_PAGE_VALUES = (1 << 31) - 1


class Chunk(NamedTuple):
    """How a column chunk of some rows is written.

    Args:
        steps: Its bytes.
        size: How many they are.
        plain_size: How many they would be without compression.
        data_at: Where its data page begins; 0 if it has no dictionary.
        values: How many values it holds.
    """

    steps: tuple[Step, ...]
    size: int
    plain_size: int
    data_at: int
    values: int


class ChunkBytes(NamedTuple):
    """The sizes of such a chunk for many drawn sizes at once; see `Chunk`."""

    size: NDArray[np.int64]
    plain_size: NDArray[np.int64]
    data_at: int


def has_dictionary(column: Column) -> bool:
    """Whether the column's values are indexes into a dictionary."""
    return column.dtype in _DICTIONARIES


def chunk_of(column: Column, rows: int, codec: Compression) -> Chunk:
    """How the chunk of `rows` rows of a column is written; of a binary column, `size` counts."""
    first = _dictionary_page(column.dtype, codec)
    content = tuple(_content(column, rows))
    plain = sum(part.length for part in content)
    sizes = chunk_bytes(column, rows, codec, np.asarray(column.size, np.int64))
    compressed = int(framed_bytes(codec, np.asarray(plain, np.int64)))
    encoding = RLE_DICTIONARY if first.steps else PLAIN
    values = rows * _elements(column)
    head = literal(_page_head(plain, compressed, values, encoding), framing=True)
    return Chunk(
        (*first.steps, head, *framed(codec, content, plain)),
        int(sizes.size),
        int(sizes.plain_size),
        first.size,
        values,
    )


def chunk_bytes(
    column: Column, rows: int, codec: Compression, blob_bytes: NDArray[np.int64]
) -> ChunkBytes:
    """The sizes of the chunk of `rows` rows; `blob_bytes` are the lengths of a binary's values."""
    if column.dtype == "binary":
        plain = rows * (LENGTH_BYTES + blob_bytes)
    else:
        plain = np.asarray(sum(part.length for part in _content(column, rows)), np.int64)
    values = rows * _elements(column)
    _require_page(column.name, int(plain.max(initial=0)), values)
    first = _dictionary_page(column.dtype, codec)
    compressed = framed_bytes(codec, plain)
    encoding = RLE_DICTIONARY if first.steps else PLAIN
    # Of the header only the two sizes vary, and each takes a byte at least.
    head = len(_page_head(0, 0, values, encoding)) - 2
    head_bytes = head + integer_bytes(plain) + integer_bytes(compressed)
    return ChunkBytes(
        first.size + head_bytes + compressed, first.plain_size + head_bytes + plain, first.size
    )


def _require_page(name: str, size: int, values: int) -> None:
    if size > MOST_PAGE_BYTES or values > MOST_PAGE_VALUES:
        raise ConfigurationError(
            f"parquet column {name} would have a page of {size} bytes with {values} values",
            why=f"a page holds at most {MOST_PAGE_BYTES} bytes and {MOST_PAGE_VALUES} values",
            fix="lower the rows of a row group, or make the column smaller",
        )


def _elements(column: Column) -> int:
    return column.size if column.is_list else 1


def _content(column: Column, rows: int) -> Iterator[Part]:
    """The uncompressed data page: levels, then values."""
    if column.is_list:
        yield from _levels(rows, column.size)
    values = rows * _elements(column)
    if column.dtype == "binary":
        length = struct.pack("<I", column.size)
        yield Part(rows * (LENGTH_BYTES + column.size), length, stride=LENGTH_BYTES + column.size)
    elif has_dictionary(column):
        groups = -(-values // _GROUP)
        yield literal(bytes([_INDEX_BITS]) + _packed_head(groups))
        yield Part(values)
        if values % _GROUP:
            yield literal(bytes(-values % _GROUP))
    else:
        yield Part(rows * column.row_bytes)


def _levels(rows: int, size: int) -> Iterator[Part]:
    """Repetition levels (0 where a row begins, else 1), then definition levels (all 1)."""
    values = rows * size
    # Either a run of one 0 and a run of 1s for every row, or a bit for every element.
    runs = varint(1 << 1) + b"\0" + varint(size - 1 << 1) + b"\1"
    if size > _GROUP * len(runs):
        yield literal(struct.pack("<I", rows * len(runs)))
        yield Part(rows * len(runs), runs)
    else:
        groups = -(-values // _GROUP)
        head = _packed_head(groups)
        # Eight rows take `size` bytes, and then the bits repeat.
        ones = np.packbits(np.arange(_GROUP * size) % size != 0, bitorder="little").tobytes()
        yield literal(struct.pack("<I", len(head) + groups) + head)
        if groups > 1:
            yield Part(groups - 1, ones)
        last = ones[(groups - 1) % size] & 0xFF >> -values % _GROUP
        yield literal(bytes([last]))
    head = varint(values << 1) + b"\1"
    yield literal(struct.pack("<I", len(head)) + head)


def _packed_head(groups: int) -> bytes:
    """What stands before a bit-packed run of groups of 8 values."""
    return varint(groups << 1 | 1)


@functools.cache
def _dictionary_page(dtype: str, codec: Compression) -> Chunk:
    """The dictionary page, if values of that dtype have one: a chunk of that page alone."""
    dictionary = _DICTIONARIES.get(dtype)
    if dictionary is None:
        return Chunk((), 0, 0, 0, 0)
    plain = len(dictionary)
    compressed = int(framed_bytes(codec, np.asarray(plain, np.int64)))
    counts = thrift_struct([
        (1, I32, integer(_DICTIONARY_VALUES)), (2, I32, integer(PLAIN)), (3, FALSE, b""),
    ])  # fmt: skip
    head = thrift_struct([
        (1, I32, integer(_DICTIONARY_PAGE)), (2, I32, integer(plain)),
        (3, I32, integer(compressed)), (7, STRUCT, counts),
    ])  # fmt: skip
    steps = (literal(head, framing=True), *framed(codec, [literal(dictionary)], plain))
    return Chunk(steps, len(head) + compressed, len(head) + plain, 0, _DICTIONARY_VALUES)


def _page_head(plain: int, compressed: int, values: int, encoding: int) -> bytes:
    data = thrift_struct([
        (1, I32, integer(values)), (2, I32, integer(encoding)),
        (3, I32, integer(RLE)), (4, I32, integer(RLE)),
    ])  # fmt: skip
    return thrift_struct([
        (1, I32, integer(_DATA_PAGE)), (2, I32, integer(plain)),
        (3, I32, integer(compressed)), (5, STRUCT, data),
    ])  # fmt: skip
