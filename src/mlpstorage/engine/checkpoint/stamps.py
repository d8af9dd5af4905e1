"""Stamps: 32 bytes at the start of every 4 KiB sector, so that no two sectors are alike.

    word 0   the run's seed
    word 1   the file: checkpoint, rank, number within the rank
    word 2   the sector's number within the file
    word 3   CRC-32C of the other 4064 bytes, and the same bits inverted

The other bytes are random, made before the clock starts and used again for each block: making new
ones takes longer than fast storage needs to store them. So storage cannot compress a sector, nor
find the same one twice; it could find that sectors of one file are similar, if it looked below
4 KiB. Between checkpoints the bytes are made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.buffers import aligned_buffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.payload import Filler

SECTOR_BYTES = 4096
STAMP_BYTES = 32
_WORDS = SECTOR_BYTES // 8
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_RANK_BITS = _NUMBER_BITS = 24


def file_ident(checkpoint: int, rank: int, number: int) -> int:
    """The word that names a file: its checkpoint, the rank that writes it, its number there.

    >>> hex(file_ident(3, 17, 1))
    '0x3000011000001'
    """
    return (checkpoint << (_RANK_BITS + _NUMBER_BITS)) | (rank << _NUMBER_BITS) | number


@dataclass(frozen=True)
class Mismatch:
    """A sector that is not what was written: its offset in the file, and how that shows."""

    offset: int
    what: str


class StampedBuffer:
    """A page-aligned block of memory, seen as sectors.

    Args:
        length: Bytes, a multiple of the sector's.
    """

    def __init__(self, length: int) -> None:
        self.view = aligned_buffer(length)[:length]
        self._words = np.frombuffer(self.view, np.dtype("<u8")).reshape(-1, _WORDS)
        self._numbers = np.arange(len(self._words), dtype=np.uint64)

    def fill(self, payload: Filler, seed: int) -> None:
        """Make new bytes, and the words of the stamps that do not depend on file and place."""
        from google_crc32c import value

        payload.fill(self.view)
        view = self.view
        for sector in range(len(self._words)):
            start = sector * SECTOR_BYTES
            crc = value(bytes(view[start + STAMP_BYTES : start + SECTOR_BYTES]))
            self._words[sector, 3] = crc | ((~crc & 0xFFFFFFFF) << 32)
        self._words[:, 0] = seed

    def stamp(self, ident: int, offset: int, length: int) -> None:
        """Make the first `length` bytes those of a file from an offset on (whole sectors)."""
        sectors = length // SECTOR_BYTES
        self._words[:sectors, 1] = ident
        first = np.uint64(offset // SECTOR_BYTES)
        np.add(self._numbers[:sectors], first, out=self._words[:sectors, 2])

    def check(self, seed: int, ident: int, offset: int, length: int) -> Mismatch | None:
        """Compare the stamps of a block with what must be there; the first mismatch."""
        sectors = length // SECTOR_BYTES
        words = self._words[:sectors]
        first = np.uint64(offset // SECTOR_BYTES)
        bad = words[:, 0] != np.uint64(seed)
        bad |= words[:, 1] != np.uint64(ident)
        bad |= words[:, 2] != self._numbers[:sectors] + first
        bad |= (words[:, 3] & _LOW) ^ (words[:, 3] >> _HIGH) != _LOW
        if not bad.any():
            return None
        sector = int(bad.argmax())
        return Mismatch(offset + sector * SECTOR_BYTES, self._difference(sector, seed, ident))

    def _difference(self, sector: int, seed: int, ident: int) -> str:
        words: NDArray[np.uint64] = self._words[sector]
        if not words[:4].any():
            return "holds zeros"
        if int(words[0]) != seed:
            return "holds other data than this run's"
        if int(words[1]) != ident:
            return "holds a block of another file"
        return "holds a damaged stamp, or another block of the file"

    def check_payload(self, sectors: range, offset: int) -> Mismatch | None:
        """Compare the bytes of some sectors with the checksums in their stamps."""
        from google_crc32c import value

        for sector in sectors:
            start = sector * SECTOR_BYTES
            crc = value(bytes(self.view[start + STAMP_BYTES : start + SECTOR_BYTES]))
            if crc != int(self._words[sector, 3]) & 0xFFFFFFFF:
                return Mismatch(offset + start, "holds bytes that do not fit their checksum")
        return None
