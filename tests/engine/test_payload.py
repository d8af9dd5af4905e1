from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.payload import Payload

WHOLE = 3 * 256 * 1024 + 77


def stream(seed: int, number: int, length: int, offset: int = 0) -> bytes:
    """A part of a payload stream."""
    out = bytearray(length)
    Payload(seed, number, offset).fill(memoryview(out))
    return bytes(out)


REFERENCE = stream(7, 3, WHOLE)


@given(offset=st.integers(0, WHOLE), length=st.integers(0, 5000))
def test_any_range_is_made_alone(offset: int, length: int) -> None:
    """A range made from its offset equals the same range of the whole stream."""
    length = min(length, WHOLE - offset)
    assert stream(7, 3, length, offset) == REFERENCE[offset : offset + length]


@given(cuts=st.lists(st.integers(1, 300_000), max_size=8))
def test_filling_in_parts_continues(cuts: list[int]) -> None:
    """Filling part after part gives the same bytes as filling once."""
    payload = Payload(7, 3)
    out = memoryview(bytearray(WHOLE))
    start = 0
    for cut in [*cuts, WHOLE]:
        payload.fill(out[start : start + cut])
        start = min(start + cut, WHOLE)
    assert out == REFERENCE


def test_the_bytes_of_a_seed_never_change() -> None:
    """The stream is AES-128-CTR of the documented key: a data set can be made again for ever."""
    assert stream(10, 0, 16).hex() == "bb5cffc196cf1768ea063ef183c61af5"
    assert stream(10, 1, 16, offset=1 << 40).hex() == "cc73e41427fe111e9c3749ec7dd4c435"


def test_seed_and_stream_change_every_block() -> None:
    """Another seed or another stream shares no 16-byte block with this one."""

    def blocks(data: bytes) -> set[bytes]:
        return {data[i : i + 16] for i in range(0, len(data) - 15, 16)}

    one = blocks(stream(1, 1, 1 << 16))
    assert len(one) == (1 << 16) // 16
    assert one.isdisjoint(blocks(stream(2, 1, 1 << 16)))
    assert one.isdisjoint(blocks(stream(1, 2, 1 << 16)))


def test_payload_does_not_compress() -> None:
    """Deflate makes the payload no smaller."""
    assert len(zlib.compress(REFERENCE, 9)) >= len(REFERENCE)


def test_only_the_given_buffer_is_written() -> None:
    """Bytes before and after the filled part stay as they were."""
    out = bytearray(b"\xaa" * 100)
    Payload(1, 1).fill(memoryview(out)[10:61])
    assert out[:10] == b"\xaa" * 10
    assert out[61:] == b"\xaa" * 39
    assert bytes(out[10:61]) == stream(1, 1, 51)
