from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.decoding.table import TableDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence


PATH = "/data/train/img_3_of_9.parquet"
ROWS, GROUP_ROWS = 250, 100
COLUMNS = ("price", "tokens", "blob")


@pytest.fixture(params=["none", "snappy", "zstd"])
def data(request: pytest.FixtureRequest) -> bytearray:
    """A file of three row groups with numbers, lists, bytes, and a column that is not read."""
    generator = np.random.default_rng(1)
    numbers = generator.integers(0, 1000, ROWS * 8)
    table = pa.table(
        {
            "price": generator.random(ROWS, np.float32),
            "unread": generator.random(ROWS),
            "tokens": list(numbers.reshape(ROWS, 8)),
            "blob": [generator.bytes(500) for _ in range(ROWS)],
        }
    )
    out = io.BytesIO()
    parquet.write_table(table, out, row_group_size=GROUP_ROWS, compression=request.param)
    return bytearray(out.getvalue())


def footer(data: bytearray) -> bytes:
    """The serialized metadata."""
    return bytes(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])


def chunks(data: bytearray, group: int) -> list[tuple[int, memoryview]]:
    """The chunks of the columns that are read, in memory of their own, in order."""
    row_group = parquet.read_metadata(io.BytesIO(data)).row_group(group)
    found = []
    for number in range(row_group.num_columns):
        chunk = row_group.column(number)
        if chunk.path_in_schema.split(".")[0] in COLUMNS:
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            end = begin + chunk.total_compressed_size
            found.append((begin, memoryview(data[begin:end])))
    return found


def decode(data: bytearray, group: int, ranges: Sequence[tuple[int, memoryview]]) -> int:
    """Decode a row group of what was read."""
    return TableDecoder(footer(data), COLUMNS, PATH).decode(ranges, PATH, group)


def test_row_groups_become_their_arrays(data: bytearray) -> None:
    """Every row group is decoded from the chunks of its columns to the bytes that its values have.

    A list column has an offset of 4 bytes per row and one more, and so has one of bytes.
    """
    for group, rows in enumerate([100, 100, 50]):
        made = decode(data, group, chunks(data, group))
        values = rows * (4 + 8 * 8 + 500) + 2 * 4 * (rows + 1)
        file = parquet.ParquetFile(io.BytesIO(data))
        assert made == file.read_row_group(group, columns=list(COLUMNS)).nbytes
        assert values <= made <= values + 3 * -(-rows // 8) + rows


def test_ranges_may_be_wider_than_chunks(data: bytearray) -> None:
    """Ranges that were widened to whole blocks, and so became one, serve as well."""
    ranges = chunks(data, 1)
    begin = ranges[0][0] - 3
    end = ranges[-1][0] + len(ranges[-1][1]) + 5
    widened = [(begin, memoryview(data)[begin:end])]
    assert decode(data, 1, widened) == decode(data, 1, ranges)


def test_one_decoder_serves_files_with_one_footer(data: bytearray) -> None:
    """Decoding depends on the ranges given, not on what was decoded before."""
    decoder = TableDecoder(footer(data), COLUMNS, PATH)
    made = [decoder.decode(chunks(data, group), PATH, group) for group in (2, 0, 1, 2)]
    assert made[0] == made[3] < made[1]


def test_a_damaged_chunk_is_named(data: bytearray) -> None:
    """A page whose header is no page header names the file and the remedy."""
    ranges = chunks(data, 0)
    ranges[1][1][:16] = b"\xff" * 16
    with pytest.raises(BenchmarkError, match=f"{PATH} cannot be decoded") as caught:
        decode(data, 0, ranges)
    assert "datagen again" in caught.value.fix


def test_what_was_not_read_is_not_invented(data: bytearray) -> None:
    """A chunk that is missing, or cut, is an error."""
    ranges = chunks(data, 0)
    with pytest.raises(BenchmarkError, match="were not read"):
        decode(data, 0, ranges[1:])
    begin, last = ranges[-1]
    with pytest.raises(BenchmarkError, match=f"{PATH} cannot be decoded"):
        decode(data, 0, [*ranges[:-1], (begin, last[:-1])])


def test_a_damaged_footer_is_named(data: bytearray) -> None:
    """Metadata that cannot be parsed names the file."""
    with pytest.raises(BenchmarkError, match=f"{PATH} cannot be decoded"):
        TableDecoder(footer(data)[:-100], COLUMNS, PATH)
