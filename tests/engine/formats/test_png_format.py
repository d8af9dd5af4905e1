from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

PNG = format_of("png")
LEAST = 96


def make(record_bytes: int, buffer_bytes: int = 4096, stream: int = 0) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in PNG.pieces(record_bytes, 1, Payload(1, stream), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks as (name, content), their checksums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(name + content)
        found.append((name, content))
        at += 12 + length
    assert at == len(data)
    return found


@given(
    record_bytes=st.one_of(st.integers(1, 5000), st.integers(64_000, 70_000)),
    buffer_bytes=st.sampled_from([1, 7, 64, 4096, 1 << 17]),
)
def test_a_picture_has_the_drawn_size_and_is_whole(record_bytes: int, buffer_bytes: int) -> None:
    """Whatever its size and the buffer's: the announced size, right checksums, all of its lines."""
    if buffer_bytes < 64:
        record_bytes = min(record_bytes, 3000)
    data = make(record_bytes, buffer_bytes)
    assert len(data) == max(record_bytes, LEAST) == PNG.layout(record_bytes, 1).file_bytes
    found = chunks(data)
    assert found[0][0] == b"IHDR"
    assert found[-1] == (b"IEND", b"")
    width, height = struct.unpack_from(">II", found[0][1])
    stream = zlib.decompressobj()
    lines = stream.decompress(b"".join(content for name, content in found if name == b"IDAT"))
    assert stream.eof
    assert not stream.unused_data
    assert len(lines) == height * (1 + 3 * width)
    assert not any(lines[:: 1 + 3 * width])
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.mode, picture.size) == ("RGB", (width, height))
        rows = np.frombuffer(lines, np.uint8).reshape(height, -1)[:, 1:]
        assert np.asarray(picture).tobytes() == rows.tobytes()


@pytest.mark.parametrize("record_bytes", [150_000, 1_000_000])
def test_most_of_a_file_is_picture_and_none_compresses(record_bytes: int) -> None:
    """The private chunk is small, the file does not compress, and no two files share a block."""
    one, two = make(record_bytes), make(record_bytes, stream=1)
    (private,) = [content for name, content in chunks(one) if name == b"mlPs"]
    assert len(private) < 0.01 * record_bytes
    assert len(zlib.compress(one, 9)) > 0.995 * len(one)
    blocks = [{data[at : at + 4096] for at in range(0, len(data), 4096)} for data in (one, two)]
    assert not blocks[0] & blocks[1]


@given(st.lists(st.integers(1, 1 << 45), min_size=1, max_size=20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int]) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = PNG.file_bytes(np.array(sizes, np.int64), 1)
    assert found.tolist() == [PNG.layout(size, 1).file_bytes for size in sizes]
