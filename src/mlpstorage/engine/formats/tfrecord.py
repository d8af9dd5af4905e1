"""TFRecord files of `tf.train.Example` messages, as TensorFlow and DLIO write them.

A record is u64 length, masked CRC-32C of the length, the message, masked CRC-32C of the message
(tensorflow/core/lib/io/record_writer.h). The message has the features "image" (bytes_list of one
payload) and "size" (int64_list of one payload length), encoded by hand: protobuf wire format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats import Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_FRAME_BYTES = 8 + 4 + 4
_MASK_DELTA = 0xA282EAD8
_MAX_32 = 0xFFFFFFFF
# Protobuf tags: field number << 3 | wire type 2 (length-delimited).
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3 = b"\x1a"


@dataclass(frozen=True)
class _Frame:
    """What stands around each payload of a file: the same for all its records.

    `head` ends where the payload begins, `tail` begins where it ends; `head_crc` is the CRC-32C of
    the message's part of `head`.
    """

    head: bytes
    head_crc: int
    tail: bytes


class Tfrecord(SelfContained):
    """Records one after the other, each with two checksums."""

    name = "tfrecord"
    extension = "tfrecord"

    def payload_bytes(self, record_bytes: int) -> int:
        """A sample holds exactly what was drawn."""
        return record_bytes

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """Nothing but records."""
        return (_FRAME_BYTES + _message_bytes(record_bytes)) * samples

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Records have one size and no header stands before them."""
        record = _FRAME_BYTES + int(_message_bytes(np.asarray(record_bytes, np.int64)))
        return Layout(record * samples, 0, record, samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        from google_crc32c import extend

        def checksum(data: NDArray[np.uint8], crc: int) -> int:
            return int(extend(crc, data))

        packer = Packer(buffer)
        frame = _frame_of(record_bytes)
        for _ in range(samples):
            yield from packer.put(frame.head)
            crc = yield from packer.fill(payload, record_bytes, checksum, frame.head_crc)
            crc = masked_crc(extend(crc, frame.tail))
            yield from packer.put(frame.tail + struct.pack("<I", crc))
        yield from packer.rest()


def _frame_of(record_bytes: int) -> _Frame:
    from google_crc32c import extend, value

    # An entry of the map Features.feature is a message {1: key, 2: Feature}; Feature is a message
    # {1: BytesList, 3: Int64List}; the lists are messages {1: values}.
    image = _before(_FIELD_1, record_bytes)
    image = _before(_FIELD_1, len(image) + record_bytes) + image
    key = _message(_FIELD_1, b"image")
    image = key + _before(_FIELD_2, len(image) + record_bytes) + image
    image = _before(_FIELD_1, len(image) + record_bytes) + image
    packed = _message(_FIELD_3, _message(_FIELD_1, _varint(record_bytes)))
    size = _message(_FIELD_1, _message(_FIELD_1, b"size") + _message(_FIELD_2, packed))
    features = len(image) + record_bytes + len(size)
    message = _before(_FIELD_1, features) + image
    length = struct.pack("<Q", len(message) + record_bytes + len(size))
    head = length + struct.pack("<I", masked_crc(value(length))) + message
    return _Frame(head, int(extend(0, message)), size)


def _before(tag: bytes, length: int) -> bytes:
    """The tag and length that stand before a field of `length` bytes."""
    return tag + _varint(length)


def _message(tag: bytes, content: bytes) -> bytes:
    return _before(tag, len(content)) + content


def _varint(value: int) -> bytes:
    """A non-negative integer in groups of 7 bits, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    groups = bytearray()
    while value >= 1 << 7:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def masked_crc(crc: int) -> int:
    """A CRC as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _MAX_32


def _varint_bytes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    length = np.ones_like(values)
    for bits in range(7, 63, 7):
        length += values >= np.int64(1) << bits
    return length


def _field_bytes(content: NDArray[np.int64]) -> NDArray[np.int64]:
    """The size of a length-delimited field with a tag of one byte."""
    return 1 + _varint_bytes(content) + content


def _message_bytes(record_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The size of the whole Example with a payload of that size."""
    key_image, key_size = 2 + len("image"), 2 + len("size")
    image = _field_bytes(key_image + _field_bytes(_field_bytes(_field_bytes(record_bytes))))
    size = _field_bytes(
        key_size + _field_bytes(_field_bytes(_field_bytes(_varint_bytes(record_bytes))))
    )
    return _field_bytes(image + size)


FORMAT: LaidOut = Tfrecord()
