from __future__ import annotations

import zlib

import numpy as np
import pytest

from mlpstorage.engine.checkpoint.stamps import (
    SECTOR_BYTES,
    StampedBuffer,
    file_ident,
)
from mlpstorage.engine.payload import Payload

SEED = 77
LENGTH = 16 * SECTOR_BYTES


@pytest.fixture
def buffer() -> StampedBuffer:
    """Sixteen filled sectors."""
    made = StampedBuffer(LENGTH)
    made.fill(Payload(SEED, 1), SEED)
    return made


def test_no_two_sectors_are_alike(buffer: StampedBuffer) -> None:
    """Blocks of one buffer in two files, checkpoints and places have no sector in common."""
    seen: set[bytes] = set()
    blocks = [(1, 0, 0, 0), (1, 0, 0, LENGTH), (1, 0, 1, 0), (1, 1, 0, 0), (2, 0, 0, 0)]
    for checkpoint, rank, number, offset in blocks:
        buffer.stamp(file_ident(checkpoint, rank, number), offset, LENGTH)
        data = bytes(buffer.view)
        seen |= {data[at : at + SECTOR_BYTES] for at in range(0, LENGTH, SECTOR_BYTES)}
    assert len(seen) == len(blocks) * LENGTH // SECTOR_BYTES


def test_sectors_do_not_compress(buffer: StampedBuffer) -> None:
    """A stamped block is no smaller after compression."""
    buffer.stamp(file_ident(1, 2, 3), 0, LENGTH)
    assert len(zlib.compress(bytes(buffer.view), 9)) > 0.99 * LENGTH


def test_what_was_stamped_is_accepted(buffer: StampedBuffer) -> None:
    """A block that comes back as it was passes every check."""
    ident = file_ident(3, 5, 1)
    buffer.stamp(ident, 8 * SECTOR_BYTES, LENGTH)
    assert buffer.check(SEED, ident, 8 * SECTOR_BYTES, LENGTH) is None
    assert buffer.check_payload(range(16), 8 * SECTOR_BYTES) is None


@pytest.mark.parametrize("byte", [*range(32), 32, 100, 4095])
def test_any_flipped_bit_is_found_at_its_sector(buffer: StampedBuffer, byte: int) -> None:
    """A flip in a stamp shows in the stamps, one elsewhere in the checksums; the offset is told."""
    ident, offset, sector = file_ident(3, 5, 1), 64 * SECTOR_BYTES, 9
    buffer.stamp(ident, offset, LENGTH)
    buffer.view[sector * SECTOR_BYTES + byte] ^= 0x10
    by_stamp = buffer.check(SEED, ident, offset, LENGTH)
    by_payload = buffer.check_payload(range(16), offset)
    found = by_stamp if byte < 32 else by_payload
    assert found is not None
    assert found.offset == offset + sector * SECTOR_BYTES
    assert (by_stamp is None) == (byte >= 32)


def test_what_is_wrong_is_told(buffer: StampedBuffer) -> None:
    """Zeros, another run, another file and another place are told apart."""
    ident = file_ident(1, 0, 0)
    buffer.stamp(ident, 0, LENGTH)

    def what(seed: int = SEED, ident: int = ident, offset: int = 0) -> str:
        found = buffer.check(seed, ident, offset, LENGTH)
        return found.what if found else ""

    assert what() == ""
    assert "other data" in what(seed=SEED + 1)
    assert "another file" in what(ident=file_ident(1, 1, 0))
    assert "another block" in what(offset=SECTOR_BYTES)
    np.frombuffer(buffer.view, np.uint8)[:SECTOR_BYTES] = 0
    assert what() == "holds zeros"
