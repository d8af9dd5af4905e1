from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.formats.parquet.footer import (
    GroupReads,
    check_schema,
    parse_footer,
    read_footer,
)
from mlpstorage.engine.formats.parquet.schema import Column, Table
from mlpstorage.engine.formats.parquet.writer import Parquet
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.formats.parquet.footer import Footer

MIXED = Table(
    (
        Column("a", "int8", read=False),
        Column("b", "float16"),
        Column("c", "float32", 70),
        Column("d", "binary", 5, read=False),
        Column("e", "int64"),
        Column("f", "uint8"),
    ),
    100,
)


def make(table: Table, samples: int) -> bytes:
    """A file of ours."""
    pieces = Parquet(table).pieces(0, samples, Payload(1, 0), memoryview(bytearray(1 << 20)))
    return b"".join(bytes(piece) for _, piece in pieces)


def theirs(table: pa.Table, **options: Any) -> bytes:  # noqa: ANN401 (the library's own)
    """A file as the Arrow library writes it."""
    out = pa.BufferOutputStream()
    pq.write_table(table, out, **options)
    return out.getvalue().to_pybytes()


def footer_of(data: bytes) -> Footer:
    """The footer at the end of a file's bytes."""
    length = int.from_bytes(data[-8:-4], "little")
    return parse_footer(data[-8 - length : -8], "file")


def require_like_arrow(data: bytes) -> Footer:
    """Our view of a footer; it must be the Arrow library's."""
    footer = footer_of(data)
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    assert footer.num_rows == metadata.num_rows
    assert footer.group_rows.tolist() == [group.num_rows for group in groups]
    schema = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    assert [leaf.path for leaf in footer.columns] == [column.path for column in schema]
    assert [leaf.physical for leaf in footer.columns] == [c.physical_type for c in schema]
    assert [leaf.is_list for leaf in footer.columns] == [
        column.max_repetition_level > 0 for column in schema
    ]
    assert footer.begin.shape == footer.length.shape == (len(groups), len(schema))
    for index, group in enumerate(groups):
        chunks = [group.column(leaf) for leaf in range(metadata.num_columns)]
        begin = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        assert footer.begin[index].tolist() == begin
        assert footer.length[index].tolist() == [chunk.total_compressed_size for chunk in chunks]
    return footer


def mixed_arrow_table(rows: int) -> pa.Table:
    """Columns of many types, nested ones and missing values among them."""
    numbers = np.arange(rows)
    return pa.table({
        "i8": pa.array(numbers % 100, pa.int8()),
        "u8": pa.array(numbers % 100, pa.uint8()),
        "i16": pa.array(numbers % 100, pa.int16()),
        "i32": pa.array(numbers, pa.int32()),
        "u32": pa.array(numbers, pa.uint32()),
        "i64": pa.array(numbers, pa.int64()),
        "f16": pa.array(numbers.astype(np.float16)),
        "f32": pa.array(numbers, pa.float32()),
        "f64": pa.array(numbers, pa.float64()),
        "flag": pa.array(numbers % 2 == 0),
        "text": pa.array([f"row {number}" for number in numbers]),
        "bytes": pa.array([b"x" * (number % 9) for number in numbers], pa.binary()),
        "fixed": pa.array([bytes(12)] * rows, pa.binary(12)),
        "when": pa.array(numbers, pa.timestamp("us")),
        "day": pa.array(numbers.astype(np.int32), pa.date32()),
        "gap": pa.array([None if number % 3 else number for number in numbers], pa.int64()),
        "list": pa.array([[1.0] * (number % 5) for number in numbers], pa.list_(pa.float32())),
        "lists": pa.array([[[1], [2, 3]]] * rows, pa.list_(pa.list_(pa.int8()))),
        "pair": pa.array([{"x": 1, "y": "a"}] * rows),
        "map": pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int32())),
    }, metadata={"key": "value" * 100})  # fmt: skip


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "lz4", "zstd"])
@pytest.mark.parametrize("samples", [1, 100, 350, 2001])
def test_our_own_footers(codec: str, samples: int) -> None:
    """What is written is read: rows, columns with their dtypes, and the place of every chunk."""
    table = Table(MIXED.columns, MIXED.row_group_rows, codec)
    footer = require_like_arrow(make(table, samples))
    assert footer.codecs == {codec}
    for leaf, column in zip(footer.columns, table.columns, strict=True):
        assert (leaf.name, leaf.dtype, leaf.is_list) == (column.name, column.dtype, column.is_list)
    check_schema(footer, table, "file")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "none", "use_dictionary": False, "write_statistics": False},
        {"compression": "gzip", "data_page_version": "2.0"},
        {"compression": "zstd", "version": "1.0"},
        {"compression": "lz4", "write_page_index": True, "write_page_checksum": True},
        {"compression": "brotli", "store_schema": False, "use_compliant_nested_type": False},
        {"compression": {"i8": "snappy", "f64": "none", "text": "zstd"}},
        {"sorting_columns": [pq.SortingColumn(3)], "use_byte_stream_split": ["f32", "f64"],
         "use_dictionary": False},
    ],
)  # fmt: skip
@pytest.mark.parametrize("group", [37, 1000])
def test_footers_of_another_writer(options: dict[str, Any], group: int) -> None:
    """Statistics, dictionaries, indexes, nested columns, other codecs: all chunks are found."""
    footer = require_like_arrow(theirs(mixed_arrow_table(200), row_group_size=group, **options))
    dtypes = {leaf.name: leaf.dtype for leaf in footer.columns}
    wanted = {
        "i8": "int8", "u8": "uint8", "i16": None, "i32": "int32", "i64": "int64", "f16": "float16",
        "f32": "float32", "f64": "float64", "flag": None, "text": None, "bytes": "binary",
        "fixed": None, "when": None, "day": None, "gap": "int64", "list": "float32",
    }  # fmt: skip
    assert {name: dtypes[name] for name in wanted} == wanted


def test_codecs_are_named() -> None:
    """All codecs of a file are told, ours by our names."""
    table = pa.table({"a": [1], "b": [2], "c": [3]})
    data = theirs(table, compression={"a": "lz4", "b": "none", "c": "brotli"})
    assert footer_of(data).codecs == {"lz4", "none", "brotli"}


@pytest.mark.parametrize("groups", [0, 1])
def test_a_file_without_rows(groups: int) -> None:
    """It has nothing to read, and the check of its schema says so."""
    empty = pa.table({"e": pa.array([], pa.int64())})
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, empty.schema) as writer:
        for _ in range(groups):
            writer.write_table(empty)
    footer = footer_of(out.getvalue().to_pybytes())
    assert (footer.num_rows, footer.begin.shape) == (0, (groups, 1))
    reads = GroupReads.of(footer, ["e"], "file")
    assert reads.group_first.tolist() == reads.group_rows.tolist() == [0] * groups
    if not groups:
        assert reads.end == 0
    with pytest.raises(ConfigurationError, match="data file file has no rows"):
        check_schema(footer, Table((Column("e", "int64"),), 1), "file")


def test_the_ranges_of_some_columns() -> None:
    """They are the columns' chunks in the order of the file, and those that touch are joined."""
    data = make(MIXED, 350)
    footer = footer_of(data)
    reads = GroupReads.of(footer, ["f", "b", "c", "b"], "file")
    assert reads.group_first.tolist() == [0, 100, 200, 300]
    assert reads.group_rows.tolist() == [100, 100, 100, 50]
    for group in range(4):
        begin, end = footer.begin[group], footer.begin[group] + footer.length[group]
        expected = [(begin[1], end[2]), (begin[5], end[5])]
        assert reads.ranges(group) == expected
        assert reads.bytes(group) == sum(end - begin for begin, end in expected)
    assert reads.end == reads.ranges(3)[-1][1]
    everything = GroupReads.of(footer, [column.name for column in MIXED.columns], "file")
    assert [len(everything.ranges(group)) for group in range(4)] == [1] * 4
    assert everything.ranges(0)[0][0] == 4
    assert everything.ranges(1)[0][0] == everything.ranges(0)[0][1]


def test_the_ranges_hold_the_columns() -> None:
    """Nothing else of a file is needed to read a column: the rest may be anything."""
    data = make(MIXED, 350)
    footer = footer_of(data)
    reads = GroupReads.of(footer, ["c", "e"], "file")
    end = int((footer.begin + footer.length).max())
    sparse = bytearray(end) + data[end:]
    for group in range(4):
        for begin, stop in reads.ranges(group):
            sparse[begin:stop] = data[begin:stop]
    whole = pq.ParquetFile(pa.BufferReader(data)).read(["c", "e"], use_threads=False)
    part = pq.ParquetFile(pa.BufferReader(bytes(sparse))).read(["c", "e"], use_threads=False)
    for name in ("c", "e"):
        for mine, other in zip(part[name].chunks, whole[name].chunks, strict=True):
            assert (mine.flatten() if name == "c" else mine).to_numpy().tobytes() == (
                (other.flatten() if name == "c" else other).to_numpy().tobytes()
            )


def test_nested_columns_are_read_whole() -> None:
    """A column of several leaves has the chunks of them all."""
    footer = footer_of(theirs(mixed_arrow_table(50), compression="none"))
    leaves = [index for index, leaf in enumerate(footer.columns) if leaf.name == "pair"]
    assert len(leaves) == 2
    size = int(footer.length[0, leaves].sum())
    assert GroupReads.of(footer, ["pair"], "file").bytes(0) == size


def test_an_unknown_column_is_named() -> None:
    """The error names file, column and what there is, and guesses what was meant."""
    columns = tuple(Column(f"feature_{index:03}", "int8") for index in range(200))
    footer = footer_of(make(Table(columns, 5), 5))
    with pytest.raises(ConfigurationError, match="file has no column 'featur_123'") as caught:
        GroupReads.of(footer, ["feature_001", "featur_123"], "file")
    assert "feature_000" in caught.value.why
    assert "and 188 more" in caught.value.why
    assert caught.value.fix.startswith("did you mean feature_123?")
    with pytest.raises(ConfigurationError, match="'x'") as caught:
        check_schema(footer, Table((Column("x", "int8"),), 5), "file")
    assert "datagen" in caught.value.fix


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (Column("b", "float32"), "float16, not float32"),
        (Column("c", "float32"), "a list of float32, not float32"),
        (Column("e", "int64", 3), "int64, not a list of int64"),
        (Column("d", "int8"), "binary, not int8"),
    ],
)
def test_a_column_of_another_kind_is_refused(column: Column, found: str) -> None:
    """The error says what the column is and what it should be."""
    with pytest.raises(ConfigurationError) as caught:
        check_schema(footer_of(make(MIXED, 5)), Table((column,), 5), "file")
    assert caught.value.what == f"column {column.name} of data file file is {found}"
    assert caught.value.fix


def test_nested_and_unknown_columns_are_told_apart() -> None:
    """Groups of columns and foreign types are named in the refusal."""
    footer = footer_of(theirs(mixed_arrow_table(5)))
    for name, found in (("pair", "a group of 2 columns"), ("text", "BYTE_ARRAY")):
        with pytest.raises(ConfigurationError, match=f"is {found}, not int8"):
            check_schema(footer, Table((Column(name, "int8"),), 5), "file")


def test_columns_that_are_not_read_are_not_checked() -> None:
    """Only what training reads has to be there."""
    footer = footer_of(make(MIXED, 5))
    check_schema(footer, Table((Column("b", "float16"), Column("x", "int8", read=False)), 5), "f")


def read(path: Path, size: int | None = None) -> tuple[bytes, list[int]]:
    """The footer of a file on disk, and the bytes of every read."""
    reads: list[int] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        length = path.stat().st_size if size is None else size
        return read_footer(fd, path, length, on_read=reads.append), reads
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("samples", "group", "calls"), [(1, 1, 1), (20_000, 10_000, 1), (3000, 10, 2), (60_000, 60, 2)]
)
def test_footers_are_read_in_few_calls(
    tmp_path: Path, samples: int, group: int, calls: int
) -> None:
    """A footer is read once, or twice if it is large, with little besides it."""
    data = make(Table(MIXED.columns, group), samples)
    path = tmp_path / "file.parquet"
    path.write_bytes(data)
    found, reads = read(path)
    length = int.from_bytes(data[-8:-4], "little")
    assert found == data[-8 - length : -8]
    assert len(reads) == calls
    assert sum(reads) <= max(length + 8, 4096, len(data) // 64)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: b"", "too few"),
        (lambda _: b"PAR1" * 3, "too few"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:-4] + b"PARE", "encrypted"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "does not fit"),
        (lambda data: data[:-8] + bytes(4) + b"PAR1", "does not fit"),
        (lambda _: b"\x89HDF\r\n\x1a\n" * 100, "another format"),
    ],
)
def test_files_that_are_not_parquet(tmp_path: Path, change: Any, why: str) -> None:  # noqa: ANN401 (a lambda)
    """The error names the file, what is wrong with it and what mends it."""
    path = tmp_path / "file.parquet"
    path.write_bytes(change(make(MIXED, 5)))
    with pytest.raises(ConfigurationError, match="is not a usable parquet file") as caught:
        read(path)
    assert str(path) in caught.value.what
    assert why in caught.value.why
    assert "datagen" in caught.value.fix


def test_a_file_shorter_than_promised(tmp_path: Path) -> None:
    """A file that ends before the size it should have is called truncated."""
    path = tmp_path / "file.parquet"
    path.write_bytes(make(MIXED, 5))
    with pytest.raises(BenchmarkError, match="truncated"):
        read(path, path.stat().st_size + 1)
    with pytest.raises(BenchmarkError, match="truncated"):
        read(path, 1 << 40)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    """What the operating system refuses is passed on with the name."""
    with pytest.raises(BenchmarkError, match="cannot read"):
        read(tmp_path, 1000)
