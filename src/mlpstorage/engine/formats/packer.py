"""Lays the bytes of a file into one reused buffer, so that no file is ever whole in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.payload import Filler

    Piece = tuple[int, memoryview]
    Checksum = Callable[[NDArray[np.uint8], int], int]


def _unchecked(_data: NDArray[np.uint8], crc: int) -> int:
    """No checksum, for formats that have none."""
    return crc


class Packer:
    """Collects bytes and yields (offset, bytes) whenever the buffer is full.

    Every part but the last has the buffer's size, so writes stay aligned to it.

    >>> packer = Packer(memoryview(bytearray(4)))
    >>> [(offset, bytes(part)) for offset, part in packer.put(b"abcdef")]
    [(0, b'abcd')]
    >>> [(offset, bytes(part)) for offset, part in packer.rest()]
    [(4, b'ef')]
    """

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        # Checksum libraries want a read-only object; a read-only array over it costs no copy.
        self._view = np.frombuffer(buffer, np.uint8)
        self._view.flags.writeable = False
        self._used = 0
        self._offset = 0

    def put(self, data: bytes) -> Iterator[Piece]:
        """Add bytes."""
        source = memoryview(data)
        while len(source) > len(self._buffer) - self._used:
            room = len(self._buffer) - self._used
            self._buffer[self._used :] = source[:room]
            source = source[room:]
            yield self._full()
        self._buffer[self._used : self._used + len(source)] = source
        self._used += len(source)

    def zeros(self, count: int) -> Iterator[Piece]:
        """Add `count` zero bytes."""
        zeros = bytes(min(count, len(self._buffer)))
        while count:
            step = min(count, len(zeros))
            yield from self.put(zeros[:step])
            count -= step

    def fill(
        self, payload: Filler, count: int, checksum: Checksum = _unchecked, crc: int = 0
    ) -> Generator[Piece, None, int]:
        """Add the next `count` bytes of a payload; returns `crc` extended over them."""
        while count:
            if self._used == len(self._buffer):
                yield self._full()
            end = min(self._used + count, len(self._buffer))
            payload.fill(self._buffer[self._used : end])
            crc = checksum(self._view[self._used : end], crc)
            count -= end - self._used
            self._used = end
        return crc

    def rest(self) -> Iterator[Piece]:
        """What is left in the buffer, if anything."""
        if self._used:
            yield self._offset, self._buffer[: self._used]
            self._offset += self._used
            self._used = 0

    @property
    def position(self) -> int:
        """The offset in the file of the next byte."""
        return self._offset + self._used

    def _full(self) -> Piece:
        piece = self._offset, self._buffer
        self._offset += len(self._buffer)
        self._used = 0
        return piece
