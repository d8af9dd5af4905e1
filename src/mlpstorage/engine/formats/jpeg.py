"""JPEG: a baseline colour picture (4:2:0) of noise whose file has exactly the drawn size.

Nothing is encoded: the coding tables are chosen so that nearly every byte stream is a valid scan.
A Huffman table has the codes 0, 10, 110, … 1111110, and the code of n bits announces 8 - n bits of
value. So each byte below 0xFE is one coefficient, no two bytes make a marker, and byte stuffing is
never needed (ITU-T T.81, F.1.2 and annex C). Each AC symbol skips the same run of zeros, such that
a block is always full after the same number of bytes: 1 + 21 for luma, 1 + 9 for chroma.

16 x 16 pixels take 108 bytes, so retinanet's 322,957 bytes are 1024 x 736 pixels, about what a
photograph of that size in bytes has. Decoding therefore does a real picture's work per byte loaded:
Huffman symbols, inverse transforms, colour conversion. What does not fill the last row of blocks is
a comment (COM) of payload, at the start of the file. Bytes 0xFE and 0xFF become 0xFD, of which an
ideal entropy coder could save 0.3 %.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats.packer import Packer
from mlpstorage.engine.formats.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_HIGHEST = 0xFD
_CODES = 7
# Zeros before each coefficient: 63 AC coefficients are (run + 1) * 21 and (run + 1) * 9.
_LUMA_RUN, _CHROMA_RUN = 2, 6
_UNIT_PIXELS = 16
_UNIT_BYTES = 4 * (1 + 63 // (_LUMA_RUN + 1)) + 2 * (1 + 63 // (_CHROMA_RUN + 1))
# Between restart markers the brightness drifts as a random walk: 8 units keep it within range.
_RESTART_UNITS = 8
_STRIPE_BYTES = _RESTART_UNITS * _UNIT_BYTES + 2
# T.81 allows 65,535 pixels a side, libjpeg 65,500.
_MOST_COLUMNS = 65_500 // (_RESTART_UNITS * _UNIT_PIXELS)
_MOST_ROWS = 65_500 // _UNIT_PIXELS
# Stripes are 128 x 16 pixels: five times as many rows as columns make a picture of about 3:2.
_ROWS_PER_COLUMN = 5
_COMMENT_BYTES = 0xFFFF - 2
_RESTART_CODE = 0xD0
_END = b"\xff\xd9"


def _segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def _codes(table: int, run: int) -> bytes:
    """A Huffman table: one code of each length from 1 to 7, for the sizes 7 to 1 after a run."""
    symbols = bytes(run << 4 | 8 - length for length in range(1, _CODES + 1))
    return bytes([table]) + bytes([1] * _CODES + [0] * (16 - _CODES)) + symbols


def _frame(width: int, height: int) -> bytes:
    """The frame header: luma sampled 2 x 2, all components with quantisation table 0."""
    components = bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0])
    return _segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components)


_START = b"\xff\xd8" + _segment(0xE0, b"JFIF\0\1\1\0" + struct.pack(">HHBB", 1, 1, 0, 0))
_TABLES = (
    _segment(0xDB, b"\0" + b"\1" * 64)
    + _segment(0xC4, _codes(0x00, 0) + _codes(0x10, _LUMA_RUN) + _codes(0x11, _CHROMA_RUN))
    + _segment(0xDD, struct.pack(">H", _RESTART_UNITS))
)
_SCAN = _segment(0xDA, bytes([3, 1, 0x00, 2, 0x01, 3, 0x01, 0, 63, 0]))
_FIXED_BYTES = len(_START) + len(_TABLES) + len(_frame(0, 0)) + len(_SCAN)
_LEAST_BYTES = _FIXED_BYTES + 4 + _STRIPE_BYTES


class _Stripes:
    """The scan's bytes: payload below 0xFE, with a restart marker at the end of every stripe."""

    def __init__(self, payload: Filler) -> None:
        self._payload = payload
        self._position = 0

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of the scan."""
        self._payload.fill(out)
        data = np.frombuffer(out, np.uint8)
        np.minimum(data, _HIGHEST, out=data)
        data[(-2 - self._position) % _STRIPE_BYTES :: _STRIPE_BYTES] = 0xFF
        first = (-1 - self._position) % _STRIPE_BYTES
        codes = data[first::_STRIPE_BYTES]
        stripe = (self._position + first) // _STRIPE_BYTES
        codes[:] = _RESTART_CODE + np.arange(stripe, stripe + len(codes)) % 8
        self._position += len(out)


class Jpeg(Picture):
    """One picture of at least 128 x 16 pixels, which are 1074 bytes.

    >>> Jpeg().payload_bytes(322_957), Jpeg().payload_bytes(1)
    (322957, 1074)
    """

    name = "jpeg"
    extension = "jpeg"
    least_bytes = _LEAST_BYTES

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        packer = Packer(buffer)
        room = self.layout(record_bytes, samples).file_bytes - _FIXED_BYTES
        columns, rows = _shape(room - 4)
        scan = columns * rows * _STRIPE_BYTES
        yield from packer.put(_START)
        for length in _comments(room - scan):
            yield from packer.put(struct.pack(">BBH", 0xFF, 0xFE, length + 2))
            yield from packer.fill(payload, length)
        width, height = columns * _RESTART_UNITS * _UNIT_PIXELS, rows * _UNIT_PIXELS
        yield from packer.put(_TABLES + _frame(width, height) + _SCAN)
        yield from packer.fill(_Stripes(payload), scan - len(_END))
        yield from packer.put(_END)
        yield from packer.rest()


def _shape(scan_bytes: int) -> tuple[int, int]:
    """The columns and rows of stripes that fit.

    >>> _shape(322_000)
    (8, 46)
    """
    stripes = scan_bytes // _STRIPE_BYTES
    columns = min(max(math.isqrt(stripes // _ROWS_PER_COLUMN), 1), _MOST_COLUMNS)
    return columns, min(stripes // columns, _MOST_ROWS)


def _comments(room: int) -> Iterator[int]:
    """The lengths of comments that take `room` bytes, of which each needs 4 for itself."""
    count = -(-room // (4 + _COMMENT_BYTES))
    left = room - 4 * count
    for _ in range(count):
        yield min(left, _COMMENT_BYTES)
        left -= min(left, _COMMENT_BYTES)


FORMAT: LaidOut = Jpeg()
