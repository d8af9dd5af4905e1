"""HDF5 with the datasets of the reference engine: "records" (payload) and "labels" (zeros).

records is uint8 of shape (samples, record), labels is int64 of shape (samples,); both contiguous.
The structures before the data have a fixed size and are those that every HDF5 library reads: a
superblock 0, an old-style root group, version 1 object headers (HDF5 File Format Specification 3.0,
II.A, III.A, III.D, IV.A). None of them has a checksum, so the file streams.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from mlpstorage.engine.formats import Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_HEADER_BYTES = 2048
_LABEL_BYTES = 8
_NOWHERE = 0xFFFFFFFFFFFFFFFF
# Names in the group's heap, padded to 8 bytes; offset 0 is the empty string.
_NAMES = bytes(8) + b"labels\0\0" + b"records\0"
_LABELS_NAME, _RECORDS_NAME = 8, 16
# How many entries the group's nodes have room for; the library's own defaults.
_LEAF_K, _INTERNAL_K = 4, 16
_ENTRY_BYTES = 40
_UNSIGNED_8 = (1, 0x00)
_SIGNED_64 = (8, 0x08)

# Where each structure stands; they follow one another without gaps.
_ROOT = 96
_TREE = _ROOT + 16 + 8 + 16
_HEAP = _TREE + 24 + 8 * (2 * _INTERNAL_K + 1) + 8 * (2 * _INTERNAL_K)
_HEAP_DATA = _HEAP + 32
_SYMBOLS = _HEAP_DATA + len(_NAMES)
_LABELS = _SYMBOLS + 8 + 2 * _LEAF_K * _ENTRY_BYTES
_RECORDS = _LABELS + 16 + 96


class Hdf5(SelfContained):
    """Fixed structures, then the samples one after the other, then their labels."""

    name = "hdf5"
    extension = "hdf5"

    def payload_bytes(self, record_bytes: int) -> int:
        """A sample holds exactly what was drawn."""
        return record_bytes

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The structures, the samples and a label for each."""
        return _HEADER_BYTES + (record_bytes + _LABEL_BYTES) * samples

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Samples stand one after the other; who reads the last takes the labels along."""
        size = _HEADER_BYTES + (record_bytes + _LABEL_BYTES) * samples
        return Layout(size, _HEADER_BYTES, record_bytes, samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        packer = Packer(buffer)
        yield from packer.put(_structures(record_bytes, samples))
        yield from packer.fill(payload, record_bytes * samples)
        yield from packer.zeros(_LABEL_BYTES * samples)
        yield from packer.rest()


def _structures(record_bytes: int, samples: int) -> bytes:
    """Everything before the data, padded to the place where the data begin."""
    labels = _HEADER_BYTES + record_bytes * samples
    parts = {
        0: _superblock(labels + _LABEL_BYTES * samples),
        _ROOT: _object(_message(0x11, struct.pack("<QQ", _TREE, _HEAP))),
        _TREE: _tree(),
        _HEAP: struct.pack("<4sB3xQQQ", b"HEAP", 0, len(_NAMES), 1, _HEAP_DATA),
        _HEAP_DATA: _NAMES,
        _SYMBOLS: _symbols(),
        _LABELS: _dataset(_SIGNED_64, (samples,), labels),
        _RECORDS: _dataset(_UNSIGNED_8, (samples, record_bytes), _HEADER_BYTES),
    }
    out = bytearray(_HEADER_BYTES)
    for offset, part in parts.items():
        out[offset : offset + len(part)] = part
    return bytes(out)


def _superblock(file_bytes: int) -> bytes:
    """Version 0: offsets and lengths of 8 bytes, then the entry of the root group."""
    return struct.pack(
        "<8s4x x BBx HHI QQQQ QQI4xQQ",
        b"\x89HDF\r\n\x1a\n", 8, 8, _LEAF_K, _INTERNAL_K, 0,
        0, _NOWHERE, file_bytes, _NOWHERE,
        0, _ROOT, 1, _TREE, _HEAP,
    )  # fmt: skip


def _tree() -> bytes:
    """The group's tree: one leaf of symbols, between the empty name and the last."""
    head = struct.pack("<4sBBHQQ", b"TREE", 0, 0, 1, _NOWHERE, _NOWHERE)
    return head + struct.pack("<QQQ", 0, _SYMBOLS, _RECORDS_NAME)


def _symbols() -> bytes:
    """The group's members, in the order of their names."""
    entries = ((_LABELS_NAME, _LABELS), (_RECORDS_NAME, _RECORDS))
    head = struct.pack("<4sBxH", b"SNOD", 1, len(entries))
    return head + b"".join(struct.pack("<QQ24x", name, header) for name, header in entries)


def _dataset(kind: tuple[int, int], shape: tuple[int, ...], address: int) -> bytes:
    """The object header of contiguous integers of a (size, sign bit) that stand at an address."""
    size, sign = kind
    count = size
    for length in shape:
        count *= length
    space = struct.pack(f"<BBBx4x{len(shape)}Q", 1, len(shape), 0, *shape)
    integer = struct.pack("<BBxxIHH4x", 0x10, sign, size, 0, 8 * size)
    # Space is allocated late, the fill value is written if set, and it is the default.
    fill = struct.pack("<BBBBI", 2, 2, 2, 1, 0)
    layout = struct.pack("<BBQQ6x", 3, 1, address, count)
    return _object(
        _message(0x01, space), _message(0x03, integer), _message(0x05, fill), _message(0x08, layout)
    )


def _object(*messages: bytes) -> bytes:
    """A version 1 object header with one reference to it."""
    body = b"".join(messages)
    return struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body


def _message(kind: int, content: bytes) -> bytes:
    """A message, whose content is a multiple of 8 bytes."""
    return struct.pack("<HHB3x", kind, len(content), 0) + content


FORMAT: LaidOut = Hdf5()
