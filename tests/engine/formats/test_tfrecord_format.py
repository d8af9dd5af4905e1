from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Iterator

TFRECORD = format_of("tfrecord")

# CRC-32C by its definition (RFC 3720, reflected polynomial), independent of the library in use.
_TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE.append(_value)


def crc32c(data: bytes) -> int:
    """The CRC-32C, a byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The CRC as TFRecord stores it."""
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % (1 << 32)


def make(record_bytes: int, samples: int, buffer_bytes: int = 4096) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in TFRECORD.pieces(record_bytes, samples, Payload(1, 0), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


def records(data: bytes) -> Iterator[bytes]:
    """The messages of a TFRecord file, both checksums checked."""
    at = 0
    while at < len(data):
        length, length_crc = struct.unpack_from("<QI", data, at)
        assert length_crc == masked(crc32c(data[at : at + 8]))
        message = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(crc32c(message))
        yield message
        at += 16 + length
    assert at == len(data)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where the next byte stands."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """The fields of a protobuf message, all of which are length-delimited here."""
    found, at = [], 0
    while at < len(message):
        tag, at = varint(message, at)
        assert tag & 7 == 2
        length, at = varint(message, at)
        assert at + length <= len(message)
        found.append((tag >> 3, message[at : at + length]))
        at += length
    return found


def only(message: bytes, number: int) -> bytes:
    """The content of the only field, which has this number."""
    ((found, content),) = fields(message)
    assert found == number
    return content


def example(message: bytes) -> tuple[bytes, int]:
    """The payload and size of a tf.train.Example {1: Features {1: map<string, Feature>}}."""
    features = {}
    for number, entry in fields(only(message, 1)):
        assert number == 1
        (_, key), (_, value) = fields(entry)
        features[key] = value
    assert list(features) == [b"image", b"size"]
    image = only(only(features[b"image"], 1), 1)
    packed = only(only(features[b"size"], 3), 1)
    size, end = varint(packed, 0)
    assert end == len(packed)
    return image, size


@given(
    record_bytes=st.one_of(
        st.integers(1, 600), st.sampled_from([127, 128, 16_383, 16_384, 20_000])
    ),
    samples=st.integers(1, 4),
    buffer_bytes=st.sampled_from([1, 7, 64, 1000, 4096, 1 << 17]),
)
def test_records_are_valid_examples(record_bytes: int, samples: int, buffer_bytes: int) -> None:
    """An independent parser finds right checksums and the payload stream cut into samples."""
    data = make(record_bytes, samples, buffer_bytes)
    found = [example(message) for message in records(data)]
    stream = bytearray(record_bytes * samples)
    Payload(1, 0).fill(memoryview(stream))
    assert b"".join(image for image, _ in found) == bytes(stream)
    assert [size for _, size in found] == [record_bytes] * samples
    assert len(data) == TFRECORD.layout(record_bytes, samples).file_bytes


@given(st.lists(st.integers(1, 1 << 33), min_size=1, max_size=20), st.integers(1, 1 << 20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int], samples: int) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = TFRECORD.file_bytes(np.array(sizes, np.int64), samples)
    assert found.tolist() == [TFRECORD.layout(size, samples).file_bytes for size in sizes]


@pytest.mark.parametrize("record_bytes", [(1 << 21) - 30, (1 << 21) - 1, 1 << 21, 3_000_000])
def test_length_prefixes_grow_with_the_record(record_bytes: int) -> None:
    """Where a length needs another byte, the announced size still is the written one."""
    assert len(make(record_bytes, 1, 1 << 20)) == TFRECORD.layout(record_bytes, 1).file_bytes


def test_samples_are_complete_one_by_one() -> None:
    """A reader has sample k exactly when its record's last byte is read."""
    layout = TFRECORD.layout(1000, 5)
    end = 0
    for count, message in enumerate(records(make(1000, 5))):
        end += 16 + len(message)
        assert layout.samples_after(end - 1) == count
        assert layout.samples_after(end) == count + 1
    assert layout.file_bytes == end


def test_the_crc_of_the_standard_vector() -> None:
    """The test's own CRC-32C is the standard's: RFC 3720 gives 32 zero bytes 8a9136aa."""
    assert crc32c(bytes(32)) == 0x8A9136AA
