"""Stamped blocks are unique, incompressible, the same for everybody, and told apart."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.engine.stamps import SECTOR_BYTES, BlockPool, Origin, describe

WORDS = SECTOR_BYTES // 8
POOL = BlockPool(Origin(3), seed=1, pool_bytes=1 << 20, piece_bytes=64 << 10)
BLOCKS = st.integers(0, (1 << 64) - 1)


def made(block: int, first: int = 0, sectors: int = 4, pool: BlockPool = POOL) -> np.ndarray:
    """Some sectors of a block."""
    out = np.empty(sectors * WORDS, np.uint64)
    pool.fill(out, block, first)
    return out


@settings(max_examples=50, deadline=None)
@given(BLOCKS, st.integers(0, 500))
def test_any_part_of_any_block_can_be_made_again(block: int, first: int) -> None:
    """A part made alone equals the same part of the whole, wherever in the pool it lies."""
    whole = made(block, first, 16)
    part = made(block, first + 5, 3)
    assert np.array_equal(whole[5 * WORDS : 8 * WORDS], part)


def test_every_process_makes_the_same_bytes() -> None:
    """Equal run, seed and id are equal bytes in any pool; another run's share only stamp words."""
    same = BlockPool(Origin(3), seed=1, pool_bytes=1 << 20, piece_bytes=64 << 10)
    other = BlockPool(Origin(4), seed=1, pool_bytes=1 << 20, piece_bytes=64 << 10)
    assert np.array_equal(made(77), made(77, pool=same))
    theirs = made(77, pool=other).reshape(-1, WORDS)
    assert not (made(77).reshape(-1, WORDS) == theirs)[:, 4:].any()


def test_no_sector_is_there_twice_and_nothing_compresses() -> None:
    """Among ten times the pool's size of blocks, every sector and every half sector is unique."""
    halves = set()
    count = 0
    for block in range(160):
        data = made(block, 0, 16)
        assert len(zlib.compress(data.tobytes(), 1)) > 0.99 * data.nbytes
        for half in data.reshape(-1, WORDS // 2):
            halves.add(half.tobytes())
            count += 1
    assert len(halves) == count


@settings(max_examples=50, deadline=None)
@given(BLOCKS, st.integers(0, 1000), st.integers(0, 15), st.integers(0, 255))
def test_a_flipped_bit_of_a_stamp_is_found(block: int, first: int, sector: int, bit: int) -> None:
    """Any bit of any stamp names its sector; an intact block names none."""
    checker = POOL.checker()
    data = made(block, first, 16)
    assert checker.first_bad_stamp(data, block, first) is None
    data[sector * WORDS + bit // 64] ^= np.uint64(1 << (bit % 64))
    assert checker.first_bad_stamp(data, block, first) == sector


@settings(max_examples=50, deadline=None)
@given(BLOCKS, st.integers(0, 1000), st.integers(0, 16 * SECTOR_BYTES - 1), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found_in_full(
    block: int, first: int, byte: int, bit: int
) -> None:
    """The comparison of all bytes names the byte, also where stamps do not reach."""
    checker = POOL.checker()
    data = made(block, first, 16)
    assert checker.first_bad_byte(data, block, first) is None
    data.view(np.uint8)[byte] ^= np.uint8(1 << bit)
    assert checker.first_bad_byte(data, block, first) == byte


@pytest.mark.parametrize(
    ("sector", "what"),
    [
        (np.zeros(WORDS, np.uint64), "zeros"),
        (np.arange(WORDS, dtype=np.uint64), "no stamp of this benchmark"),
        (made(9, 2, 1), "sector 2 of block 0000000000000009"),
        (made(9, pool=BlockPool(Origin(8), seed=1, pool_bytes=1 << 20))[:WORDS], "another run"),
        (made(9, pool=BlockPool(Origin(3, 6), seed=1, pool_bytes=1 << 20))[:WORDS], "generation 6"),
    ],
)
def test_a_report_says_what_a_sector_holds(sector: np.ndarray, what: str) -> None:
    """Zeros, foreign bytes, another block, run or generation are told apart."""
    assert what in describe(sector, Origin(3))
