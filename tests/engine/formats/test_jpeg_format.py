from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.formats.jpeg import _comments
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Iterator

JPEG = format_of("jpeg")
LEAST = 1074


def make(record_bytes: int, buffer_bytes: int = 4096, stream: int = 0) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in JPEG.pieces(record_bytes, 1, Payload(1, stream), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


def segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The marker segments up to the scan as (code, content), and the scan's coded bytes."""
    assert data[:2] == b"\xff\xd8"
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        mark, code, length = struct.unpack_from(">BBH", data, at)
        assert mark == 0xFF
        found.append((code, data[at + 4 : at + 2 + length]))
        at += 2 + length
    assert data[-2:] == b"\xff\xd9"
    return found, data[at:-2]


def huffman_tables(content: bytes) -> dict[int, dict[str, int]]:
    """Codes as strings of bits → symbols, by class and number (T.81, annex C)."""
    tables, at = {}, 0
    while at < len(content):
        counts, code, table = content[at + 1 : at + 17], 0, {}
        symbols = iter(content[at + 17 :])
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                table[f"{code:0{length}b}"] = next(symbols)
                code += 1
            code <<= 1
        tables[content[at]] = table
        at += 17 + sum(counts)
    return tables


def block(bits: Iterator[str], dc: dict[str, int], ac: dict[str, int]) -> tuple[int, list[int]]:
    """One block as T.81 F.2.2 decodes it: the DC difference and the 63 AC coefficients."""

    def symbol(table: dict[str, int]) -> int:
        code = ""
        while code not in table:
            code += next(bits)
            assert len(code) <= 16
        return table[code]

    def value(size: int) -> int:
        number = int("".join(next(bits) for _ in range(size)) or "0", 2)
        return number if not size or number >= 1 << (size - 1) else number - (1 << size) + 1

    difference, coefficients = value(symbol(dc)), []
    while len(coefficients) < 63:
        run, size = divmod(symbol(ac), 16)
        assert size
        coefficients += [0] * run + [value(size)]
    assert len(coefficients) == 63
    return difference, coefficients


@given(
    record_bytes=st.one_of(st.integers(1, 5000), st.integers(60_000, 70_000)),
    buffer_bytes=st.sampled_from([1, 7, 865, 866, 4096, 1 << 17]),
)
def test_a_picture_has_the_drawn_size_and_opens(record_bytes: int, buffer_bytes: int) -> None:
    """Whatever its size and the buffer's, the file is as large as announced and Pillow reads it."""
    if buffer_bytes < 64:
        record_bytes = min(record_bytes, 3000)
    data = make(record_bytes, buffer_bytes)
    assert len(data) == max(record_bytes, LEAST) == JPEG.layout(record_bytes, 1).file_bytes
    assert data == make(record_bytes, 1 << 20)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
        assert picture.width * picture.height >= 128 * 16


@pytest.mark.parametrize("record_bytes", [LEAST, 20_000])
def test_the_scan_is_exactly_what_the_picture_needs(record_bytes: int) -> None:
    """A decoder by the book ends every restart interval with its last bit, and finds all of them.

    Libraries repair a scan that is too short or too long in silence, so opening proves little.
    """
    found, scan = segments(make(record_bytes))
    parts = dict(found)
    tables = huffman_tables(parts[0xC4])
    _, height, width, components = struct.unpack_from(">BHHB", parts[0xC0])
    assert components == 3
    (interval,) = struct.unpack(">H", parts[0xDD])
    stripes = [scan[at : at + 866] for at in range(0, len(scan), 866)]
    assert len(stripes) * interval == (width // 16) * (height // 16)
    for number, stripe in enumerate(stripes):
        coded, marker = stripe[:864], stripe[864:]
        assert marker == (bytes([0xFF, 0xD0 + number % 8]) if number + 1 < len(stripes) else b"")
        bits = iter("".join(f"{byte:08b}" for byte in coded))
        for _ in range(interval):
            for ac in [0x10] * 4 + [0x11] * 2:
                block(bits, tables[0x00], tables[ac])
        assert next(bits, None) is None
        assert 0xFF not in coded


def test_the_scan_uses_tables_that_the_file_defines() -> None:
    """The components' table numbers are those of the file, and a baseline decoder has room."""
    found, _ = segments(make(20_000))
    parts = dict(found)
    tables = huffman_tables(parts[0xC4])
    scan = parts[0xDA]
    used = {(scan[at] >> 4, scan[at] & 15) for at in (2, 4, 6)}
    assert used == {(0, 0), (0, 1)}
    assert set(tables) == {0x00, 0x10, 0x11}
    for number, table in tables.items():
        assert len(set(table.values())) == len(table) <= (12 if number < 0x10 else 162)
        assert all(set(code) != {"1"} for code in table)


def test_pictures_are_noise_of_their_own() -> None:
    """No file compresses, none shares a block of 4 KiB with another, and brightness varies."""
    one, two = make(322_957), make(322_957, stream=1)
    assert len(zlib.compress(one, 9)) > 0.995 * len(one)
    blocks = [{data[at : at + 4096] for at in range(0, len(data), 4096)} for data in (one, two)]
    assert len(blocks[0]) == len(blocks[1]) == 79
    assert not blocks[0] & blocks[1]
    with Image.open(io.BytesIO(one)) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (736, 1024, 3)
    assert 40 < pixels.std() < 80
    assert 110 < pixels.mean() < 145


def test_a_comment_takes_what_the_scan_cannot() -> None:
    """What does not fill a row of the picture is payload in a comment, and that is little."""
    found, scan = segments(make(322_957))
    (comment,) = [content for code, content in found if code == 0xFE]
    assert len(comment) < 866 * 8
    assert len(scan) > 0.98 * 322_957


@given(st.integers(4, 1 << 20))
def test_comments_take_any_room(room: int) -> None:
    """However many bytes are left over, comments of a lawful length take exactly those."""
    lengths = list(_comments(room))
    assert sum(4 + length for length in lengths) == room
    assert all(0 <= length <= 65_533 for length in lengths)


@given(st.lists(st.integers(1, 1 << 45), min_size=1, max_size=20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int]) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = JPEG.file_bytes(np.array(sizes, np.int64), 1)
    assert found.tolist() == [JPEG.layout(size, 1).file_bytes for size in sizes]


def test_the_sample_is_complete_with_the_last_byte() -> None:
    """A reader has the picture when it has the file."""
    layout = JPEG.layout(20_000, 1)
    assert [layout.samples_after(n) for n in (0, 19_999, 20_000)] == [0, 0, 1]


@pytest.mark.parametrize("fmt", ["jpeg", "png"])
def test_a_picture_is_one_sample(fmt: str) -> None:
    """Several samples per file are refused, with the parameter to change."""
    with pytest.raises(ConfigurationError) as caught:
        format_of(fmt).file_bytes(np.array([20_000]), 2)
    assert "num_samples_per_file" in caught.value.fix
