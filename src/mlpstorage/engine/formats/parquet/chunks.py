"""Where the column chunks of a footer stand: the part of it that has to be fast.

A footer of 768 row groups of 200 columns has 153,600 chunks. From one row group to the next most
bytes of a column's entry are the same up to its offset, so they are compared, not parsed again.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats.parquet.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    LONG_LIST,
    STOP,
    STRUCT,
    MalformedError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.thrift import Cursor

# Numbers of the enumeration CompressionCodec; 5 is Hadoop's framing of LZ4.
_CODECS = ("none", "snappy", "gzip", "lzo", "brotli", "lz4_hadoop", "zstd", "lz4")
# Fields of ColumnChunk and of ColumnMetaData.
_FILE_PATH, _META = 1, 3
_CODEC, _SIZE, _DATA_AT, _DICTIONARY_AT = 4, 7, 9, 11
_WANTED = frozenset({_CODEC, _SIZE, _DATA_AT, _DICTIONARY_AT})
# The header of field 11 after 9, an i64, in one byte.
_DICTIONARY_FOLLOWS = 0x26
_MOST_SHIFT = 70


class ChunkReader:
    """Collects the chunks of all row groups of a file with so many leaf columns."""

    def __init__(self, leaves: int) -> None:
        self.codecs: set[str] = set()
        self.leaves = leaves
        self._begin = array("q")
        self._length = array("q")
        # Per leaf, the bytes of the last entry before the data page's offset, and its size.
        self._starts: list[bytes] = [b""] * leaves
        self._sizes: list[int] = [0] * leaves

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Begin and length of all chunks, int64 of shape (groups, leaves)."""
        begin = np.array(self._begin, np.int64).reshape(-1, self.leaves)
        length = np.array(self._length, np.int64).reshape(-1, self.leaves)
        if (begin < 0).any() or (length < 0).any():
            raise MalformedError("a column chunk begins or ends before the file does")
        if (begin > np.iinfo(np.int64).max - length).any():
            raise MalformedError("a column chunk ends nowhere")
        return begin, length

    def read(self, cursor: Cursor, count: int) -> None:
        """Read the list of ColumnChunk of a row group."""
        if count != self.leaves:
            raise MalformedError(f"a row group has {count} columns, the schema {self.leaves}")
        data, position = cursor.data, cursor.position
        for leaf in range(count):
            start = self._starts[leaf]
            if start and data.startswith(start, position):
                found = self._like_the_last(data, position + len(start), leaf)
                if found:
                    position = found
                    continue
            cursor.position = position
            self._read_one(cursor, leaf)
            position = cursor.position
        cursor.position = position

    def _like_the_last(self, data: bytes, position: int, leaf: int) -> int:
        """Read the rest of an entry that began as the last; the position after it, 0 if unlike."""
        value, position = _varint(data, position)
        begin = value >> 1
        if data[position] == _DICTIONARY_FOLLOWS:
            value, position = _varint(data, position + 1)
            begin = min(begin, value >> 1 or begin)
        if data[position] or data[position + 1]:
            return 0
        self._begin.append(begin)
        self._length.append(self._sizes[leaf])
        return position + 2

    def _read_one(self, cursor: Cursor, leaf: int) -> None:
        """Read a ColumnChunk in full."""
        first = cursor.position
        found: dict[int, int] = {}
        number, kind = cursor.field(0)
        while kind != STOP:
            if number == _META and kind == STRUCT:
                offset_at = self._read_meta(cursor, found)
                # Only what stands in the usual order can be recognised by its first bytes.
                usual = offset_at and list(found)[:3] == [_CODEC, _SIZE, _DATA_AT]
                self._starts[leaf] = cursor.data[first:offset_at] if usual else b""
            elif number == _FILE_PATH and kind == BINARY and cursor.text(kind):
                raise MalformedError("a column chunk is in another file")
            else:
                cursor.skip(kind)
            number, kind = cursor.field(number)
        if not found.keys() >= {_CODEC, _SIZE, _DATA_AT}:
            raise MalformedError("a column chunk has no usable metadata; it may be encrypted")
        codec = found[_CODEC]
        known = 0 <= codec < len(_CODECS)
        self.codecs.add(_CODECS[codec] if known else f"codec {codec}")
        self._sizes[leaf] = found[_SIZE]
        self._begin.append(min(found[_DATA_AT], found.get(_DICTIONARY_AT) or found[_DATA_AT]))
        self._length.append(found[_SIZE])

    def _read_meta(self, cursor: Cursor, found: dict[int, int]) -> int:
        """Read a ColumnMetaData; where the data page's offset stands, 0 if nowhere.

        The frequent kinds of field are read here, for speed; the cursor does the others.
        """
        data, position = cursor.data, cursor.position
        number = offset_at = 0
        while byte := data[position]:
            position += 1
            kind = byte & 0x0F
            if byte > 0x0F:  # noqa: PLR2004 (the number is relative)
                number += byte >> 4
            else:
                value, position = _varint(data, position)
                number = value >> 1
            if kind in {I32, I64}:
                if number == _DATA_AT:
                    offset_at = position
                value, position = _varint(data, position)
                if number in _WANTED:
                    found[number] = value >> 1 if not value & 1 else -1
            elif number in _WANTED:
                raise MalformedError(f"an integer is expected, not a field of kind {kind}")
            else:
                position = _skip(cursor, position, kind)
        cursor.position = position + 1
        return offset_at


def _skip(cursor: Cursor, position: int, kind: int) -> int:
    """The position after a field's value."""
    if kind == LIST:
        head = cursor.data[position]
        # Short numbers, as the list of encodings has: a byte each.
        if head & 0x0F == I32 and head >> 4 < LONG_LIST:
            end = position + 1 + (head >> 4)
            if max(cursor.data[position + 1 : end], default=0) < 0x80:  # noqa: PLR2004 (one byte)
                return end
    cursor.position = position
    cursor.skip(kind)
    return cursor.position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned integer, and the position after it; `Cursor.varint`, but for speed."""
    byte = data[position]
    position += 1
    value, shift = byte & 0x7F, 7
    while byte > 0x7F:  # noqa: PLR2004 (more bytes follow)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MOST_SHIFT:
            raise MalformedError("an offset has more than 63 bits")
    return value, position
