from __future__ import annotations

import io
import os
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NPZ = format_of("npz")


def make(record_bytes: int, samples: int, *, buffer_bytes: int = 4096, seed: int = 1) -> bytes:
    """The file as a writer of pieces leaves it."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in NPZ.pieces(record_bytes, samples, Payload(seed, 0), buffer):
        out.seek(offset)
        out.write(piece)
    return out.getvalue()


def arrays(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The two arrays, as numpy loads them."""
    with np.load(io.BytesIO(data)) as file:
        assert sorted(file.files) == ["x", "y"]
        return file["x"], file["y"]


@given(
    record_bytes=st.integers(1, 30_000),
    samples=st.integers(1, 5),
    buffer_bytes=st.integers(1, 9000),
)
def test_files_are_what_numpy_writes(record_bytes: int, samples: int, buffer_bytes: int) -> None:
    """Whatever its size and the buffer's, a file equals numpy.savez of its arrays byte for byte."""
    if buffer_bytes < 16:
        record_bytes = min(record_bytes, 500)
    data = make(record_bytes, samples, buffer_bytes=buffer_bytes)
    x, y = arrays(data)
    again = io.BytesIO()
    np.savez(again, x=x, y=y)
    assert data == again.getvalue()
    assert x.dtype == np.uint8
    assert x.shape[2] == samples
    assert x.shape[0] * x.shape[1] == NPZ.payload_bytes(record_bytes)
    assert y.dtype == np.int64
    assert not y.any()
    assert y.shape == (samples,)
    assert len(data) == NPZ.layout(record_bytes, samples).file_bytes


def test_checksums_are_right(tmp_path: Path) -> None:
    """The zip library and its CRC-32 accept every member; one flipped byte is found."""
    data = bytearray(make(100_000, 1))
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
    data[5000] ^= 1
    path.write_bytes(data)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() == "x.npy"


def test_the_payload_is_the_stream() -> None:
    """The array's memory holds the payload stream from its start."""
    x, _ = arrays(make(10_000, 2))
    expected = bytearray(x.size)
    Payload(1, 0).fill(memoryview(expected))
    assert x.tobytes(order="F") == bytes(expected)


@given(st.integers(1, 1 << 50))
def test_at_most_one_row_is_lost(record_bytes: int) -> None:
    """The matrix holds the drawn size but for less than one row, and never more."""
    payload = NPZ.payload_bytes(record_bytes)
    assert 0 <= record_bytes - payload < int(record_bytes**0.5) + 1


@given(st.lists(st.integers(1, 1 << 45), min_size=1, max_size=20), st.integers(1, 1 << 10))
def test_sizes_of_many_files_agree_with_one(records: list[int], samples: int) -> None:
    """The sizes of an array of records are those of each record alone."""
    sizes = NPZ.file_bytes(np.array(records, np.int64), samples)
    assert sizes.tolist() == [NPZ.layout(record, samples).file_bytes for record in records]


class Zeros:
    """A payload that leaves holes, so that a file of gigabytes takes no space."""

    def fill(self, out: memoryview) -> None:
        """Zeros are what the buffer gets."""
        out[:] = bytes(len(out))


@pytest.mark.parametrize(
    ("record_bytes", "samples"),
    [((1 << 31) + 50_000, 1), ((1 << 32) + 100_000, 1), (1 << 30, 3), ((1 << 31) - 46_340, 1)],
)
def test_large_files_are_valid(tmp_path: Path, record_bytes: int, samples: int) -> None:
    """Members beyond 2 GiB and 4 GiB open with the exact size and the right labels."""
    path = tmp_path / "large.npz"
    buffer = memoryview(bytearray(1 << 20))
    nothing = bytes(1 << 20)
    with path.open("wb") as file:
        for offset, piece in NPZ.pieces(record_bytes, samples, Zeros(), buffer):
            if piece != nothing:
                os.pwrite(file.fileno(), piece, offset)
    assert path.stat().st_size == NPZ.layout(record_bytes, samples).file_bytes
    with zipfile.ZipFile(path) as file, file.open("x.npy") as member:
        x, y = file.infolist()
        assert x.file_size == 128 + NPZ.payload_bytes(record_bytes) * samples
        assert y.file_size == 128 + 8 * samples
        version = np.lib.format.read_magic(member)
        assert version == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape[2], fortran, dtype) == (samples, samples > 1, np.uint8)
        with np.load(path) as loaded:
            assert loaded["y"].tolist() == [0] * samples


def test_a_single_sample_is_complete_with_its_last_byte() -> None:
    """A reader has the sample exactly when the array's last byte is read."""
    layout = NPZ.layout(10_000, 1)
    data = make(10_000, 1)
    x, _ = arrays(data)
    start = data.index(x.tobytes())
    assert layout.samples_after(start + x.size - 1) == 0
    assert layout.samples_after(start + x.size) == 1
    assert layout.samples_after(len(data)) == 1


def test_several_samples_stand_one_after_the_other() -> None:
    """Sample k lies in the file where the layout says, complete with its own last byte."""
    layout = NPZ.layout(10_000, 3)
    data = make(10_000, 3)
    x, _ = arrays(data)
    for sample in range(3):
        begin = layout.header_bytes + sample * layout.sample_bytes
        end = begin + layout.sample_bytes
        assert data[begin:end] == x[..., sample].tobytes(order="F")
        assert layout.samples_after(end - 1) == sample
        assert layout.samples_after(end) == sample + 1


def test_an_unknown_format_names_the_known_ones() -> None:
    """A misspelt format is refused with the names that exist."""
    with pytest.raises(ConfigurationError) as caught:
        format_of("npzz")
    assert "npz, npy, tfrecord" in caught.value.why
    assert caught.value.fix == "did you mean npz?"
