"""Thrift's compact protocol, as far as Parquet's structures need it.

Source: Apache Thrift, doc/specs/thrift-compact-protocol.md. Structures are written from encoded
fields; they are read by a cursor that skips whatever it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(14)
_INTEGERS = frozenset({I16, I32, I64})
_FIXED_BYTES = {BYTE: 1, DOUBLE: 8, UUID: 16}
# A list of up to 14 elements has its length in the first byte.
LONG_LIST = 15
_VARINT_BITS = 7
_MOST_BITS = 64
# Parquet's own structures are 6 deep; schemas are not nested in Thrift.
_MOST_DEPTH = 32


def varint(value: int) -> bytes:
    """A non-negative integer in groups of 7 bits, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    groups = bytearray()
    while value > 0x7F:  # noqa: PLR2004 (7 bits)
        groups.append(value & 0x7F | 0x80)
        value >>= _VARINT_BITS
    groups.append(value)
    return bytes(groups)


def integer(value: int) -> bytes:
    """An i16, i32 or i64: zigzag, so that small negative numbers are short too.

    >>> integer(3).hex(), integer(-1).hex()
    ('06', '01')
    """
    return varint(value << 1 if value >= 0 else ~(value << 1))


def text(value: str) -> bytes:
    """A string, its length before it."""
    encoded = value.encode()
    return varint(len(encoded)) + encoded


def list_header(kind: int, count: int) -> bytes:
    """What stands before the elements of a list.

    >>> list_header(STRUCT, 2).hex(), list_header(STRUCT, 200).hex()
    ('2c', 'fcc801')
    """
    if count < LONG_LIST:
        return bytes([count << 4 | kind])
    return bytes([LONG_LIST << 4 | kind]) + varint(count)


def sequence(kind: int, items: Sequence[bytes]) -> bytes:
    """A list of encoded elements of one kind."""
    return list_header(kind, len(items)) + b"".join(items)


def fields(members: Iterable[tuple[int, int, bytes]], after: int = 0) -> bytes:
    """Fields (number, kind, encoded value) in ascending order, the field `after` before them."""
    out = bytearray()
    for number, kind, value in members:
        out.append(number - after << 4 | kind)
        out += value
        after = number
    return bytes(out)


def struct(members: Iterable[tuple[int, int, bytes]]) -> bytes:
    """A whole structure."""
    return fields(members) + bytes([STOP])


def integer_bytes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The encoded sizes of non-negative integers.

    >>> integer_bytes(np.array([0, 63, 64, 1 << 40])).tolist()
    [1, 1, 2, 6]
    """
    return progression_bytes(values, np.ones_like(values), 1)


def progression_bytes(
    first: NDArray[np.int64], step: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The encoded size of all of `first + k * step`, k from 0 to `count` - 1; `step` is positive.

    An encoded integer has one byte more from each power 2**(7k - 1) on, and how many terms of the
    progression are that large follows by a division.

    >>> progression_bytes(np.array([60]), np.array([2]), 3).tolist()
    [4]
    """
    total = np.full(np.broadcast_shapes(first.shape, step.shape), count, np.int64)
    for bits in range(_VARINT_BITS - 1, _MOST_BITS - 1, _VARINT_BITS):
        below = -((first - (np.int64(1) << bits)) // step)
        total += count - np.clip(below, 0, count)
    return total


class MalformedError(ValueError):
    """The bytes are not what they claim to be; the reader's caller says which file it was."""


class Cursor:
    """Reads one structure after the other; past the end of the data it raises IndexError.

    Positions only grow and every step reads at least a byte, so no input makes it loop for ever.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    def varint(self) -> int:
        """The next unsigned integer of at most 64 bits."""
        data, position = self.data, self.position
        byte = data[position]
        position += 1
        value, shift = byte & 0x7F, _VARINT_BITS
        while byte & 0x80:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += _VARINT_BITS
            if shift > _MOST_BITS + _VARINT_BITS:
                raise MalformedError("an integer has more than 64 bits")
        self.position = position
        return value

    def integer(self, kind: int) -> int:
        """The next zigzag integer; `kind` must be that of one."""
        if kind not in _INTEGERS:
            raise MalformedError(f"an integer is expected, not a field of kind {kind}")
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def text(self, kind: int) -> str:
        """The next string."""
        if kind != BINARY:
            raise MalformedError(f"a string is expected, not a field of kind {kind}")
        length = self.varint()
        end = self.position + length
        if end > len(self.data):
            raise MalformedError(f"a string of {length} bytes goes beyond the end")
        value = self.data[self.position : end].decode()
        self.position = end
        return value

    def field(self, previous: int) -> tuple[int, int]:
        """The number and kind of the next field; kind `STOP` ends the structure."""
        byte = self.data[self.position]
        self.position += 1
        kind = byte & 0x0F
        if kind == STOP or byte >> 4:
            return previous + (byte >> 4), kind
        return self.integer(I16), kind

    def list(self, kind: int, of: int) -> int:
        """The length of the next list, whose elements must be of kind `of`."""
        if kind != LIST:
            raise MalformedError(f"a list is expected, not a field of kind {kind}")
        found, count = self._list_header()
        if count and found != of:
            raise MalformedError(f"a list of kind {of} is expected, not of kind {found}")
        return count

    def skip(self, kind: int, depth: int = 0) -> None:
        """Go over the value of a field."""
        if kind in {TRUE, FALSE}:
            return
        self._skip_value(kind, depth)

    def _list_header(self) -> tuple[int, int]:
        byte = self.data[self.position]
        self.position += 1
        count = byte >> 4
        return byte & 0x0F, self.varint() if count == LONG_LIST else count

    def _skip_value(self, kind: int, depth: int) -> None:
        """Go over a value; unlike a field's, a boolean in a collection takes a byte."""
        if depth > _MOST_DEPTH:
            raise MalformedError("structures are nested too deep")
        if kind in _INTEGERS:
            self.varint()
        elif kind == BINARY:
            length = self.varint()
            self.position += length
        elif kind in _FIXED_BYTES:
            self.position += _FIXED_BYTES[kind]
        elif kind in {TRUE, FALSE}:
            self.position += 1
        elif kind == STRUCT:
            self._skip_struct(depth)
        elif kind in {LIST, SET}:
            of, count = self._list_header()
            self._skip_many((of,), count, depth)
        elif kind == MAP:
            self._skip_map(depth)
        else:
            raise MalformedError(f"a field has the unknown kind {kind}")

    def _skip_struct(self, depth: int) -> None:
        # Written out for speed: most of what is skipped in a footer are statistics.
        data, position = self.data, self.position
        while byte := data[position]:
            position += 1
            kind = byte & 0x0F
            if byte <= 0x0F:  # noqa: PLR2004 (the number follows)
                position = _after_varint(data, position)
            if kind in _INTEGERS:
                position = _after_varint(data, position)
            elif kind == BINARY and data[position] <= 0x7F:  # noqa: PLR2004 (a length of one byte)
                position += 1 + data[position]
            elif kind not in {TRUE, FALSE}:
                self.position = position
                self._skip_value(kind, depth + 1)
                position = self.position
        self.position = position + 1

    def _skip_map(self, depth: int) -> None:
        count = self.varint()
        if count:
            kinds = self.data[self.position]
            self.position += 1
            self._skip_many((kinds >> 4, kinds & 0x0F), count, depth)

    def _skip_many(self, kinds: tuple[int, ...], count: int, depth: int) -> None:
        # Every element has at least a byte, so more of them cannot be there.
        if count > len(self.data) - self.position:
            raise MalformedError(f"a list of {count} elements goes beyond the end")
        for _ in range(count):
            for kind in kinds:
                self._skip_value(kind, depth + 1)


def _after_varint(data: bytes, position: int) -> int:
    while data[position] > 0x7F:  # noqa: PLR2004 (more bytes follow)
        position += 1
    return position + 1
