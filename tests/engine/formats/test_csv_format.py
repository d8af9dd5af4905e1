from __future__ import annotations

import csv
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

CSV = format_of("csv")


def make(record_bytes: int, samples: int, buffer_bytes: int = 4096, stream: int = 0) -> bytes:
    """The file, its pieces in order."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    for offset, piece in CSV.pieces(record_bytes, samples, Payload(1, stream), buffer):
        assert offset == out.tell()
        out.write(piece)
    return out.getvalue()


@given(
    record_bytes=st.one_of(st.integers(1, 40), st.integers(1, 3000)),
    samples=st.integers(1, 5),
    buffer_bytes=st.sampled_from([1, 7, 8, 9, 64, 1000, 1 << 17]),
)
def test_lines_have_the_drawn_size(record_bytes: int, samples: int, buffer_bytes: int) -> None:
    """Whatever the buffer's size: lines of the drawn size, all with as many whole numbers."""
    if buffer_bytes < 64:
        record_bytes = min(record_bytes, 500)
    data = make(record_bytes, samples, buffer_bytes)
    assert len(data) == CSV.layout(record_bytes, samples).file_bytes
    lines = data.decode("ascii").splitlines(keepends=True)
    assert [len(line) for line in lines] == [max(record_bytes, 2)] * samples
    rows = list(csv.reader(io.StringIO(data.decode("ascii"))))
    assert len({len(row) for row in rows}) == 1
    for row in rows:
        assert all(field.isdecimal() for field in row)
        assert [len(field) for field in row[:-1]] == [7] * (len(row) - 1)
        assert len(row[-1]) <= 8


def test_numpy_reads_the_numbers() -> None:
    """numpy.loadtxt finds one row per sample, of numbers that differ."""
    table = np.loadtxt(io.BytesIO(make(2000, 3)), delimiter=",", dtype=np.int64)
    assert table.shape == (3, 250)
    assert len(np.unique(table)) > 745


def test_digits_are_even_and_files_differ() -> None:
    """Each digit is as frequent as the others, and another file has other numbers."""
    one, two = make(100_000, 1), make(100_000, 1, stream=1)
    counts = np.bincount(np.frombuffer(one, np.uint8), minlength=58)[48:58]
    assert counts.min() > 8000
    assert counts.max() < 9500
    fields = [set(data.rstrip().split(b",")) for data in (one, two)]
    assert len(fields[0] & fields[1]) < 100


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=20), st.integers(1, 1 << 20))
def test_sizes_of_many_files_agree_with_one(sizes: list[int], samples: int) -> None:
    """The sizes of an array of records are those of each record alone."""
    found = CSV.file_bytes(np.array(sizes, np.int64), samples)
    assert found.tolist() == [CSV.layout(size, samples).file_bytes for size in sizes]
