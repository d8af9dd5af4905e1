"""PNG: an RGB picture of noise, stored without compression, whose file has exactly the drawn size.

The picture's lines are payload behind a zero byte (filter "none"); the zlib stream around them has
stored blocks only, one per IDAT chunk, because noise does not compress. What does not fill a line
stands in a private chunk before the picture (W3C PNG 5.3, 11.2.4; RFC 1950 and 1951).
Decoding copies, and a strict decoder compares a CRC-32 and an Adler-32 (Pillow compares neither); a
photograph would be inflated as well.
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

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_CHUNK_BYTES = 4 + 4 + 4
_STORED_BYTES = 5
_STORED_MOST = 0xFFFF
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_BYTES = 3
# Ancillary, private, safe to copy: the cases of its letters say so.
_PRIVATE = b"mlPs"
# The header of a zlib stream: deflate, window of 32 KiB, fastest level.
_ZLIB = b"\x78\x01"
_ADLER_BYTES = 4
_FIXED_BYTES = len(_SIGNATURE) + 4 * _CHUNK_BYTES + 13 + len(_ZLIB) + _ADLER_BYTES
# The picture of one pixel: its line of 4 bytes in a stored block in a chunk, and the private chunk.
_LEAST_BYTES = _FIXED_BYTES + _CHUNK_BYTES + _STORED_BYTES + 1 + _PIXEL_BYTES


class _Lines:
    """The picture's lines: payload, but for the filter byte with which each line begins."""

    def __init__(self, payload: Filler, line_bytes: int) -> None:
        self._payload = payload
        self._line_bytes = line_bytes
        self._position = 0

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of the lines."""
        self._payload.fill(out)
        filters = np.frombuffer(out, np.uint8)[
            -self._position % self._line_bytes :: self._line_bytes
        ]
        filters[:] = 0
        self._position += len(out)


class Png(Picture):
    """One picture of at least one pixel.

    >>> Png().payload_bytes(150_000), Png().payload_bytes(1)
    (150000, 96)
    """

    name = "png"
    extension = "png"
    least_bytes = _LEAST_BYTES

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        from zlib_ng.zlib_ng import adler32, crc32

        packer = Packer(buffer)
        room = self.layout(record_bytes, samples).file_bytes - _FIXED_BYTES
        width, height = _shape(room)
        line_bytes = 1 + _PIXEL_BYTES * width
        left = line_bytes * height
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        private = room - left - _blocks(left) * (_CHUNK_BYTES + _STORED_BYTES)
        yield from packer.put(
            _SIGNATURE + _chunk(b"IHDR", header) + struct.pack(">I", private) + _PRIVATE
        )
        crc = yield from packer.fill(payload, private, crc32, crc32(_PRIVATE))
        yield from packer.put(struct.pack(">I", crc))
        lines, adler, start = _Lines(payload, line_bytes), 1, _ZLIB

        def checksums(data: NDArray[np.uint8], crc: int) -> int:
            nonlocal adler
            adler = adler32(data, adler)
            return int(crc32(data, crc))

        while left:
            block = min(left, _STORED_MOST)
            left -= block
            head = b"IDAT" + start + struct.pack("<BHH", left == 0, block, block ^ _STORED_MOST)
            yield from packer.put(struct.pack(">I", len(head) - 4 + block) + head)
            crc = yield from packer.fill(lines, block, checksums, crc32(head))
            yield from packer.put(struct.pack(">I", crc))
            start = b""
        yield from packer.put(_chunk(b"IDAT", struct.pack(">I", adler)) + _chunk(b"IEND", b""))
        yield from packer.rest()


def _chunk(name: bytes, content: bytes) -> bytes:
    from zlib_ng.zlib_ng import crc32

    return (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc32(name + content))
    )


def _shape(room: int) -> tuple[int, int]:
    """The pixels of a line and the lines of a nearly square picture that fits.

    >>> _shape(150_000), _shape(21)
    ((223, 223), (1, 1))
    """
    block = _CHUNK_BYTES + _STORED_BYTES
    lines_bytes = room - block * _blocks(room)
    width = max(math.isqrt(lines_bytes // _PIXEL_BYTES), 1)
    return width, lines_bytes // (1 + _PIXEL_BYTES * width)


def _blocks(lines_bytes: int) -> int:
    return -(-lines_bytes // _STORED_MOST)


FORMAT: LaidOut = Png()
