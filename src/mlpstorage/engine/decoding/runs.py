"""Decoding runs of samples that stand one after the other, without the rest of their file."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats.tfrecord import masked_crc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.decoding import Decode, Run

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_LENGTH_DELIMITED = 2


def bare(data: memoryview, run: Run) -> int:
    """An array of its own for the bytes of every sample."""
    needed = run.begin + run.samples * run.sample_bytes
    if needed > len(data):
        raise ValueError(f"{len(data)} bytes are not {run.samples} samples of {run.sample_bytes}")
    rows = np.frombuffer(data[run.begin : needed], np.uint8).reshape(run.samples, -1)
    return sum(row.copy().nbytes for row in rows)


def csv(data: memoryview, run: Run) -> int:
    """A table of integers, one row per sample."""
    rows = np.loadtxt(io.BytesIO(data), np.int64, delimiter=",", comments=None, ndmin=2)
    _require(len(rows), run)
    return rows.nbytes


def tfrecord(data: memoryview, run: Run) -> int:
    """The bytes of the feature "image" of every record, whose two checksums are compared."""
    found = made = 0
    for message in _records(data):
        found += 1
        made += sum(np.frombuffer(image, np.uint8).copy().nbytes for image in _images(message))
    _require(found, run)
    return made


def _require(found: int, run: Run) -> None:
    if found != run.samples:
        raise ValueError(f"{found} samples, not {run.samples}")


def _records(data: memoryview) -> Iterator[memoryview]:
    """The messages of TFRecords, one after the other."""
    position = 0
    while position < len(data):
        length, length_crc = _LENGTH.unpack_from(data, position)
        start = position + _LENGTH.size
        _check(data[position : position + 8], position, length_crc)
        message = data[start : start + length]
        _check(message, start, *_CRC.unpack_from(data, start + length))
        yield message
        position = start + length + _CRC.size


def _check(data: memoryview, position: int, crc: int) -> None:
    from google_crc32c import value

    # The library wants a read-only object that owns its view.
    if masked_crc(value(np.frombuffer(data, np.uint8))) != crc:
        raise ValueError(f"wrong checksum of the {len(data)} bytes from byte {position} on")


def _images(message: memoryview) -> Iterator[memoryview]:
    """The values of the feature "image" of a `tf.train.Example` (see the format's module)."""
    for features in _fields(message, 1):
        for entry in _fields(features, 1):
            if [bytes(key) for key in _fields(entry, 1)] == [b"image"]:
                for feature in _fields(entry, 2):
                    for values in _fields(feature, 1):
                        yield from _fields(values, 1)


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The contents of a message's fields of one number; all its fields are length-delimited."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind != _LENGTH_DELIMITED:
            raise ValueError(f"a field of wire type {kind} in an Example")
        length, position = _varint(message, position)
        if number == wanted:
            yield message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer in groups of 7 bits, the lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 1 << 7:
            return value, position
        shift += 7


DECODERS: dict[str, Decode] = {"csv": csv, "tfrecord": tfrecord}
