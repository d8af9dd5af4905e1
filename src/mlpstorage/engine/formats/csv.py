"""CSV: one line of decimal numbers per sample, all lines of the drawn size, newline included.

A line has numbers of 7 digits, the last of 1 to 8, which are payload bytes modulo 10. Text of
numbers is not incompressible: a digit carries 3.3 bits, so an entropy coder takes more than half of
it away, though coders that look for repetitions (LZ4) find none. Measure storage that compresses
with another format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats import Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_NUMBER_BYTES = 8
_DIGITS = bytes(ord("0") + value % 10 for value in range(256))
# A line has at least one digit.
_LEAST_BYTES = 2


class _Text:
    """The lines of a file: digits, with commas and newlines where they belong."""

    def __init__(self, payload: Filler, line_bytes: int) -> None:
        self._payload = payload
        self._line_bytes = line_bytes
        self._position = 0

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of the text."""
        self._payload.fill(out)
        out[:] = bytes(out).translate(_DIGITS)
        text = np.frombuffer(out, np.uint8)
        column = self._position % self._line_bytes
        begin = -column
        while begin < len(out):
            # No comma stands right before the newline.
            line = text[max(begin, 0) : max(begin + self._line_bytes - 2, 0)]
            skipped = max(-begin, 0)
            line[(_NUMBER_BYTES - 1 - skipped) % _NUMBER_BYTES :: _NUMBER_BYTES] = ord(",")
            begin += self._line_bytes
        text[self._line_bytes - 1 - column :: self._line_bytes] = ord("\n")
        self._position += len(out)


class Csv(SelfContained):
    """Lines of one size and nothing else; a line of less than 2 bytes is drawn as one of 2."""

    name = "csv"
    extension = "csv"

    def payload_bytes(self, record_bytes: int) -> int:
        """The whole line is what a loader loads, and it is as large as drawn."""
        return max(record_bytes, _LEAST_BYTES)

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """Nothing but lines."""
        return np.maximum(record_bytes, _LEAST_BYTES) * samples

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Samples stand one after the other."""
        line = self.payload_bytes(record_bytes)
        return Layout(line * samples, 0, line, samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        packer = Packer(buffer)
        line = self.payload_bytes(record_bytes)
        yield from packer.fill(_Text(payload, line), line * samples)
        yield from packer.rest()


FORMAT: LaidOut = Csv()
