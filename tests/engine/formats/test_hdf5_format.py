from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

HDF5 = format_of("hdf5")


def make(record_bytes: int, samples: int, buffer_bytes: int = 4096) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in HDF5.pieces(record_bytes, samples, Payload(1, 0), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


@given(
    record_bytes=st.integers(1, 20_000),
    samples=st.integers(1, 12),
    buffer_bytes=st.sampled_from([1, 7, 64, 4096, 1 << 17]),
)
def test_the_hdf5_library_reads_both_datasets(
    record_bytes: int, samples: int, buffer_bytes: int
) -> None:
    """Whatever its size and the buffer's: the records are the payload stream, the labels zeros."""
    if buffer_bytes < 64:
        record_bytes = min(record_bytes, 500)
    data = make(record_bytes, samples, buffer_bytes)
    assert len(data) == HDF5.layout(record_bytes, samples).file_bytes
    with h5py.File(io.BytesIO(data), "r") as file:
        assert sorted(file) == ["labels", "records"]
        records, labels = file["records"], file["labels"]
        assert (records.dtype, records.shape) == (np.uint8, (samples, record_bytes))
        assert (labels.dtype, labels.shape) == (np.int64, (samples,))
        assert records.chunks is None
        assert records.id.get_offset() == HDF5.layout(record_bytes, samples).header_bytes
        assert not labels[:].any()
        stream = bytearray(record_bytes * samples)
        Payload(1, 0).fill(memoryview(stream))
        assert records[:].tobytes() == bytes(stream)


def test_the_library_can_go_on_writing() -> None:
    """The structures are whole enough that the library adds a dataset and an attribute to them."""
    stream = io.BytesIO(make(1000, 3))
    with h5py.File(stream, "r+") as file:
        before = file["records"][:]
        for number in range(20):
            file[f"more{number:02}"] = np.arange(number + 1)
        file["records"].attrs["unit"] = "byte"
        file["records"][0, 0] = 7
    with h5py.File(stream, "r") as file:
        assert len(file) == 22
        assert file["more19"][:].tolist() == list(range(20))
        assert file["records"].attrs["unit"] == "byte"
        assert file["records"][1:].tobytes() == before[1:].tobytes()


@pytest.mark.parametrize(("record_bytes", "samples"), [((1 << 32) + 5, 1), (1 << 31, 3)])
def test_large_files_open(record_bytes: int, samples: int) -> None:
    """Beyond 4 GiB the addresses and sizes are right; the head of the file shows them all."""
    buffer = memoryview(bytearray(2048))
    _, head = next(HDF5.pieces(record_bytes, samples, Payload(1, 0), buffer))
    assert len(head) == 2048
    size = HDF5.layout(record_bytes, samples).file_bytes
    sparse = Sparse(bytes(head), size)
    with h5py.File(sparse, "r") as file:
        assert file["records"].shape == (samples, record_bytes)
        assert file["records"].id.get_offset() == 2048
        assert file["labels"].id.get_offset() == size - 8 * samples
        assert file["records"][samples - 1, record_bytes - 1] == 0


class Sparse(io.RawIOBase):
    """A file of zeros behind its head, that takes no space."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head = head
        self._size = size
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readinto(self, out: bytearray) -> int:
        """The next bytes."""
        count = min(len(out), self._size - self._at)
        part = self._head[self._at : self._at + count]
        out[:count] = part + bytes(count - len(part))
        self._at += count
        return count


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=20), st.integers(1, 1 << 20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int], samples: int) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = HDF5.file_bytes(np.array(sizes, np.int64), samples)
    assert found.tolist() == [HDF5.layout(size, samples).file_bytes for size in sizes]


def test_samples_are_complete_one_by_one() -> None:
    """A reader has sample k exactly when its last byte is read; labels come after all."""
    layout = HDF5.layout(1000, 3)
    at = layout.header_bytes
    assert [layout.samples_after(at + n) for n in (999, 1000, 2999, 3000, 3024)] == [0, 1, 2, 3, 3]
    assert layout.file_bytes == at + 3024
