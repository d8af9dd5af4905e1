from __future__ import annotations

import io
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats.parquet.schema import Column, Table
from mlpstorage.engine.formats.parquet.writer import Parquet
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path

CODECS = ("none", "snappy", "gzip", "lz4", "zstd")
DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "binary")
# Flat and list columns of every dtype; lists of 3 and 37 have bits as levels, of 65 runs.
EVERYTHING = tuple(
    Column(f"{dtype} {size}", dtype, size)
    for size in (1, 3, 37, 65)
    for dtype in DTYPES
)  # fmt: skip


def make(table: Table, samples: int, record_bytes: int = 0, buffer_bytes: int = 4096) -> bytes:
    """The file, its pieces in order; its size is the one that was promised."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(buffer_bytes))
    form = Parquet(table)
    for offset, piece in form.pieces(record_bytes, samples, Payload(1, 0), buffer):
        assert offset == out.tell()
        out.write(piece)
    promised = form.file_bytes(np.array([record_bytes], np.int64), samples)
    assert promised.tolist() == [out.tell()]
    return out.getvalue()


def payload_of(table: Table, samples: int) -> dict[str, bytes]:
    """The bytes of each column's values: the payload stream, dealt out in the order of the file.

    Under the length of a binary value 4 bytes of the stream are lost.
    """
    payload = Payload(1, 0)
    columns: dict[str, bytes] = {column.name: b"" for column in table.columns}
    for first in range(0, samples, table.row_group_rows):
        rows = min(table.row_group_rows, samples - first)
        for column in table.columns:
            hidden = 4 if column.dtype == "binary" else 0
            part = np.zeros((rows, hidden + column.row_bytes), np.uint8)
            payload.fill(memoryview(part.reshape(-1)))
            columns[column.name] += part[:, hidden:].tobytes()
    return columns


def values_of(column: pa.ChunkedArray, spec: Column) -> np.ndarray | list[bytes]:
    """A column's values without its lists; every list must have the right length."""
    array = column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    assert not array.null_count
    if spec.is_list:
        assert np.diff(array.offsets.to_numpy()).tolist() == [spec.size] * len(array)
        array = array.flatten()
    if spec.dtype == "binary":
        return array.to_pylist()
    return array.to_numpy()


def open_with_pyarrow(data: bytes) -> pq.ParquetFile:
    """The reference reader; it decodes in the calling thread."""
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("samples", "group"), [(1, 5), (5, 5), (23, 9), (16, 8), (1500, 1000)])
def test_the_arrow_library_reads_the_payload(codec: str, samples: int, group: int) -> None:
    """Every dtype, flat and in lists, under every codec: the values are the payload's bytes."""
    table = Table(EVERYTHING, group, codec)
    file = open_with_pyarrow(make(table, samples))
    assert file.metadata.num_rows == samples
    assert file.num_row_groups == -(-samples // group)
    found = file.read(use_threads=False)
    expected = payload_of(table, samples)
    for column in table.columns:
        values = values_of(found[column.name], column)
        if isinstance(values, list):
            assert b"".join(values) == expected[column.name]
        else:
            assert values.dtype == column.dtype
            assert values.tobytes() == expected[column.name]


@pytest.mark.parametrize("codec", CODECS)
def test_duckdb_reads_the_payload(tmp_path: Path, codec: str) -> None:
    """A second reader, which shares no code with the first, finds the same values."""
    table = Table(EVERYTHING, 700, codec)
    (tmp_path / "file.parquet").write_bytes(make(table, 1500))
    with duckdb.connect() as connection:
        found = connection.read_parquet(str(tmp_path / "file.parquet")).to_arrow_table()
    expected = payload_of(table, 1500)
    for column in table.columns:
        values = values_of(found[column.name], column)
        if isinstance(values, list):
            assert b"".join(values) == expected[column.name]
        elif column.dtype == "float16":
            wanted = np.frombuffer(expected[column.name], np.float16).astype(np.float32)
            np.testing.assert_array_equal(values, wanted)
        else:
            assert values.dtype == column.dtype
            assert values.tobytes() == expected[column.name]


@pytest.mark.parametrize("codec", CODECS)
def test_large_pages_are_read_back(codec: str) -> None:
    """Pages of more than one block of any codec decompress to the payload."""
    table = Table((Column("x", "float32"), Column("y", "int8")), 1 << 20, codec)
    samples = 300_001
    found = open_with_pyarrow(make(table, samples, buffer_bytes=1 << 20)).read(use_threads=False)
    expected = payload_of(table, samples)
    assert found["x"].to_numpy().tobytes() == expected["x"]
    assert found["y"].to_numpy().tobytes() == expected["y"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("record_bytes", [1, 15, 60, 61, 65_532, 300_000])
def test_a_single_binary_column_has_the_drawn_size(codec: str, record_bytes: int) -> None:
    """A table of one binary column holds values of the file's own drawn size."""
    table = Table((Column("data", "binary", 7),), 4, codec)
    found = open_with_pyarrow(make(table, 9, record_bytes)).read(use_threads=False)
    values = found["data"].to_pylist()
    assert [len(value) for value in values] == [record_bytes] * 9
    drawn = Table((Column("data", "binary", record_bytes),), 4)
    assert b"".join(values) == payload_of(drawn, 9)["data"]
    assert Parquet(table).payload_bytes(record_bytes) == record_bytes


def test_the_schema_says_what_the_columns_are() -> None:
    """Other programs see the right types: 8 bits, halves, lists of required elements."""
    columns = (
        Column("a", "int8"), Column("b", "uint8"), Column("c", "float16"), Column("d", "binary"),
        Column("e", "float32", 7),
    )  # fmt: skip
    file = open_with_pyarrow(make(Table(columns, 8), 20))
    element = pa.field("element", pa.float32(), nullable=False)
    assert file.schema_arrow == pa.schema([
        pa.field("a", pa.int8(), nullable=False), pa.field("b", pa.uint8(), nullable=False),
        pa.field("c", pa.float16(), nullable=False), pa.field("d", pa.binary(), nullable=False),
        pa.field("e", pa.list_(element), nullable=False),
    ])  # fmt: skip
    assert file.metadata.created_by == "mlpstorage version 1"


def test_eight_bit_integers_take_a_byte_each() -> None:
    """The pages of an int8 column have its dictionary, and then a byte for each value."""
    table = Table((Column("a", "int8"),), 100_000)
    size = Parquet(table).file_bytes(np.zeros(1, np.int64), 100_000)[0]
    assert 100_000 + 1024 < size < 100_000 + 1024 + 250


def test_all_values_of_a_byte_occur() -> None:
    """Payload reaches both ends of the dictionary: -128 and 127, 0 and 255."""
    table = Table((Column("a", "int8"), Column("b", "uint8")), 9000)
    found = open_with_pyarrow(make(table, 9000)).read(use_threads=False)
    assert np.unique(found["a"].to_numpy()).tolist() == list(range(-128, 128))
    assert np.unique(found["b"].to_numpy()).tolist() == list(range(256))


@pytest.mark.parametrize("codec", CODECS)
def test_the_buffer_does_not_matter(codec: str) -> None:
    """The bytes are the same whatever the buffer's size."""
    table = Table(EVERYTHING, 9, codec)
    expected = make(table, 23, buffer_bytes=1 << 20)
    for buffer_bytes in (1, 13, 4096):
        assert make(table, 23, buffer_bytes=buffer_bytes) == expected


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_library_compresses_payload_no_better(codec: str) -> None:
    """What a compression library makes of a page is not smaller than what is written here."""
    table = Table((Column("x", "float64"),), 1 << 20, codec)
    file = open_with_pyarrow(make(table, 100_000, buffer_bytes=1 << 20))
    chunk = file.metadata.row_group(0).column(0)
    assert chunk.compression == codec.upper()
    name = "lz4_raw" if codec == "lz4" else codec
    theirs = len(pa.Codec(name).compress(payload_of(table, 100_000)["x"]))
    assert theirs > 0.9995 * chunk.total_compressed_size


names = st.text(min_size=1, max_size=80)
columns_of_a_table = st.lists(
    st.builds(Column, names, st.sampled_from(DTYPES), st.integers(1, 200)),
    min_size=1,
    max_size=6,
    unique_by=lambda column: column.name,
)


@settings(deadline=None)
@given(
    columns=columns_of_a_table,
    group=st.integers(1, 400),
    codec=st.sampled_from(CODECS),
    samples=st.integers(1, 700),
    record_bytes=st.integers(1, 3000),
)
def test_sizes_are_exact(
    columns: list[Column], group: int, codec: str, samples: int, record_bytes: int
) -> None:
    """Any schema, any number of rows and groups: the size is the promised one, the file opens."""
    table = Table(tuple(columns), max(group, samples // 30), codec)
    data = make(table, samples, record_bytes, buffer_bytes=1 << 16)
    metadata = open_with_pyarrow(data).metadata
    assert metadata.num_rows == samples
    end = 4
    for index in range(metadata.num_row_groups):
        for leaf in range(metadata.num_columns):
            chunk = metadata.row_group(index).column(leaf)
            assert (chunk.dictionary_page_offset or chunk.data_page_offset) == end
            end += chunk.total_compressed_size
    assert end + metadata.serialized_size + 8 == len(data)


@given(
    sizes=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=20),
    samples=st.integers(1, 5000),
    group=st.integers(1, 1000),
    codec=st.sampled_from(CODECS),
)
def test_sizes_of_many_files_agree_with_one(
    sizes: list[int], samples: int, group: int, codec: str
) -> None:
    """The sizes of an array of drawn sizes are those of each alone, in the array's shape."""
    form = Parquet(Table((Column("data", "binary"),), group, codec))
    found = form.file_bytes(np.array([sizes], np.int64), samples)
    alone = [int(form.file_bytes(np.asarray(size, np.int64), samples)) for size in sizes]
    assert found.tolist() == [alone]


def test_fixed_tables_ignore_drawn_sizes() -> None:
    """Every file of a table that is not one binary column has the same size."""
    form = Parquet(Table((Column("a", "binary", 10), Column("b", "int64")), 4))
    assert len(set(form.file_bytes(np.array([1, 10, 1000], np.int64), 9).tolist())) == 1
    assert form.payload_bytes(1000) == 18


def test_pages_that_the_format_cannot_hold_are_refused() -> None:
    """A page beyond its limits of bytes or values is refused before anything is written."""
    form = Parquet(Table((Column("x", "float64", 1000),), 1 << 30))
    assert form.file_bytes(np.zeros(1, np.int64), 1000)[0] > 8_000_000
    with pytest.raises(ConfigurationError, match="column x would have a page") as caught:
        form.file_bytes(np.zeros(1, np.int64), 1 << 20)
    assert "row group" in caught.value.fix
    with pytest.raises(ConfigurationError, match="page"):
        next(form.pieces(0, 1 << 20, Payload(1, 0), memoryview(bytearray(64))))
    blob = Parquet(Table((Column("data", "binary"),), 1))
    with pytest.raises(ConfigurationError, match="column data"):
        blob.file_bytes(np.array([5, 1 << 31], np.int64), 1)


def test_a_footer_that_readers_cannot_take_is_refused() -> None:
    """So many row groups that the footer's length overflows are refused."""
    form = Parquet(Table((Column("x", "int8"),), 1))
    with pytest.raises(ConfigurationError, match="footer") as caught:
        form.file_bytes(np.zeros(1, np.int64), 1 << 26)
    assert "row group" in caught.value.fix
