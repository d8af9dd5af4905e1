"""Bytes that are unique in every sector, cheap to make, and known again when they come back.

A block's bytes are a slice of a random pool, combined by exclusive or with a key of the block's
own, and the first 32 bytes of each 4 KiB sector are its stamp, four little-endian words:

    word 0   magic and generation (which filling of the directory wrote it)
    word 1   the run's number
    word 2   the block's id
    word 3   the sector's number within the block

So no storage can compress a block or find a sector twice, and any process that knows the seed can
make any part of any block again: a slice starts where the block's id says, nothing is remembered.
The exclusive or costs no more than the copy into an aligned buffer that direct writing needs
anyway, and leaves nothing in common to two blocks whose slices of the pool overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

SECTOR_BYTES = 4096
STAMP_BYTES = 32
POOL_BYTES = 256 << 20
_WORDS = SECTOR_BYTES // 8
_STAMP_WORDS = STAMP_BYTES // 8
_MAGIC = 0x4D4C5053  # "MLPS"
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Origin:
    """What wrote a block: the run's number (below 2**64) and the generation (below 2**32)."""

    run: int
    generation: int = 0


def mixed(value: int) -> int:
    """A 64-bit number whose bits all depend on all bits of `value` (the finaliser of SplitMix64).

    >>> hex(mixed(1)), mixed(1) == mixed(2)
    ('0x5692161d100b05e5', False)
    """
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class BlockPool:
    """The random pool of a run, equal in every rank, made before any clock starts.

    Args:
        origin: What the stamps say.
        seed: Where the pool's bytes come from.
        pool_bytes: The size of the pool, whole sectors.
        piece_bytes: The most that one call may fill or compare, whole sectors.
    """

    def __init__(
        self, origin: Origin, *, seed: int, pool_bytes: int = POOL_BYTES, piece_bytes: int = 4 << 20
    ) -> None:
        self.origin = origin
        self.piece_bytes = piece_bytes
        self._words = pool_bytes // 8
        # The beginning stands once more behind the end, so that every piece is one slice.
        area = bytearray(pool_bytes + piece_bytes)
        Payload(seed, stream=0).fill(memoryview(area)[:pool_bytes])
        for start in range(pool_bytes, len(area), pool_bytes):
            area[start:] = area[: len(area) - start]
        self._pool: Words = np.frombuffer(area, np.uint64)
        self._head = np.uint64(_MAGIC << 32 | origin.generation)
        self._run = np.uint64(origin.run)
        self._sectors = np.arange(piece_bytes // SECTOR_BYTES, dtype=np.uint64)

    def fill(self, out: Words, block: int, first_sector: int) -> None:
        """Make the sectors of a block from `first_sector` on; `out` is whole sectors of words."""
        start = (self._start(block) + first_sector * _WORDS) % self._words
        key = np.uint64(mixed(block ^ self.origin.run) | 1)
        np.bitwise_xor(self._pool[start : start + len(out)], key, out=out)
        stamps = out.reshape(-1, _WORDS)
        stamps[:, 0] = self._head
        stamps[:, 1] = self._run
        stamps[:, 2] = block
        np.add(self._sectors[: len(stamps)], np.uint64(first_sector), out=stamps[:, 3])

    def _start(self, block: int) -> int:
        """Where in the pool a block begins: an odd word, so that sectors seldom coincide."""
        return (mixed(block + self.origin.run + self.origin.generation & _MASK) % self._words) | 1

    def checker(self) -> Checker:
        """The comparison for one thread."""
        return Checker(self, self._template())

    def _template(self) -> Words:
        """The stamps of the longest piece of block 0: uint64 of shape (sectors, 4)."""
        wanted = np.empty((len(self._sectors), _STAMP_WORDS), np.uint64)
        wanted[:, 0], wanted[:, 1], wanted[:, 2] = self._head, self._run, 0
        wanted[:, 3] = self._sectors
        return wanted


class Checker:
    """Compares what was read with what must have been written; belongs to one thread.

    Args:
        pool: What was written from.
        template: The stamps of the longest piece, from `BlockPool`.
    """

    def __init__(self, pool: BlockPool, template: Words) -> None:
        self._pool = pool
        self._wanted = template
        self._first_sector = 0
        self._scratch: Words | None = None

    def first_bad_stamp(self, data: Words, block: int, first_sector: int) -> int | None:
        """The first sector of the data (counted from its start) that is not the block's.

        Costs about 3 microseconds per MiB, and as many cache misses as there are sectors.
        """
        found = data.reshape(-1, _WORDS)[:, :_STAMP_WORDS]
        wanted = self._wanted[: len(found)]
        self._wanted[:, 2] = block
        if first_sector != self._first_sector:
            self._wanted[:, 3] += np.uint64((first_sector - self._first_sector) & _MASK)
            self._first_sector = first_sector
        if (found == wanted).all():
            return None
        return int((found != wanted).any(axis=1).argmax())

    def first_bad_byte(self, data: Words, block: int, first_sector: int) -> int | None:
        """The first byte of the data that is not the block's: every byte is compared."""
        if self._scratch is None or len(self._scratch) < len(data):
            self._scratch = np.empty(len(data), np.uint64)
        wanted = self._scratch[: len(data)]
        self._pool.fill(wanted, block, first_sector)
        if np.array_equal(data, wanted):
            return None
        return int((data.view(np.uint8) != wanted.view(np.uint8)).argmax())


def describe(sector: Words, origin: Origin) -> str:
    """What a sector that should carry another stamp holds, for the report.

    >>> describe(np.zeros(512, np.uint64), Origin(1))
    'zeros'
    """
    head, run, block, number = (int(word) for word in sector[:_STAMP_WORDS])
    if not sector.any():
        return "zeros"
    if head >> 32 != _MAGIC:
        return "no stamp of this benchmark"
    if run != origin.run:
        return f"data of another run ({run:016x})"
    if head & 0xFFFFFFFF != origin.generation:
        return f"data of generation {head & 0xFFFFFFFF}, not {origin.generation}"
    return f"sector {number} of block {block:016x}"
