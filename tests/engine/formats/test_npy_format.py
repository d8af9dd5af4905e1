from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

NPY = format_of("npy")


def make(record_bytes: int, samples: int, buffer_bytes: int = 4096) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in NPY.pieces(record_bytes, samples, Payload(1, 0), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


@given(
    record_bytes=st.integers(1, 20_000),
    samples=st.integers(1, 12),
    buffer_bytes=st.sampled_from([1, 7, 64, 4096, 1 << 17]),
)
def test_files_are_what_numpy_writes(record_bytes: int, samples: int, buffer_bytes: int) -> None:
    """A file equals numpy.save of its array byte for byte, and sample k is the k-th part of it."""
    if buffer_bytes < 64:
        record_bytes = min(record_bytes, 500)
    data = make(record_bytes, samples, buffer_bytes)
    array = np.load(io.BytesIO(data))
    assert (array.dtype, array.shape) == (np.uint8, (record_bytes, samples))
    again = io.BytesIO()
    np.save(again, array)
    assert data == again.getvalue()
    stream = bytearray(record_bytes * samples)
    Payload(1, 0).fill(memoryview(stream))
    assert b"".join(array[..., k].tobytes() for k in range(samples)) == bytes(stream)


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=20), st.integers(1, 1 << 20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int], samples: int) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = NPY.file_bytes(np.array(sizes, np.int64), samples)
    assert found.tolist() == [NPY.layout(size, samples).file_bytes for size in sizes]


@given(st.integers(1, 1 << 40), st.integers(1, 10**9))
def test_no_shape_outgrows_the_header(record_bytes: int, samples: int) -> None:
    """Whatever the shape, numpy reads it from a header of 128 bytes."""
    buffer = memoryview(bytearray(128))
    _, head = next(NPY.pieces(record_bytes, samples, Payload(1, 0), buffer))
    file = io.BytesIO(bytes(head))
    assert np.lib.format.read_magic(file) == (1, 0)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    assert (shape, dtype, file.tell()) == ((record_bytes, samples), np.uint8, 128)


def test_samples_are_complete_one_by_one() -> None:
    """A reader has sample k exactly when its last byte is read."""
    layout = NPY.layout(1000, 3)
    assert [layout.samples_after(128 + n) for n in (999, 1000, 2000, 2999, 3000)] == [0, 1, 2, 2, 3]
    assert layout.file_bytes == len(make(1000, 3))
