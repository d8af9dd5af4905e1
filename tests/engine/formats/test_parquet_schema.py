from __future__ import annotations

import msgspec
import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats.parquet.schema import Column, Table, require_codec, require_valid


def test_a_table_comes_from_a_file() -> None:
    """A table is decoded strictly: defaults are filled in, an unknown key is refused."""
    text = b'{"columns": [{"name": "x", "dtype": "int8", "size": 3}], "row_group_rows": 5}'
    table = msgspec.json.decode(text, type=Table)
    assert table == Table((Column("x", "int8", 3, read=True),), 5, "none")
    assert hash(table) == hash(msgspec.json.decode(text, type=Table))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text.replace(b"size", b"sice"), type=Table)


def test_row_bytes_count_the_payload() -> None:
    """A row has its elements' bytes; of a binary column the size itself."""
    columns = (Column("a", "float16", 3), Column("b", "binary", 10), Column("c", "int64"))
    table = Table(columns, 1)
    assert [column.row_bytes for column in columns] == [6, 10, 8]
    assert table.row_bytes == 24
    assert [column.is_list for column in columns] == [True, False, False]
    assert not table.is_blob
    assert Table(columns[1:2], 1).is_blob


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (Table((), 1), "without columns"),
        (Table((Column("a", "int8"), Column("a", "int32")), 1), "'a' is named twice"),
        (Table((Column("a", "int8", read=False),), 1), "no parquet column is read"),
        (Table((Column("a", "int8", 0),), 1), "has size 0"),
        (Table((Column("", "int8"),), 1), "no name"),
        (Table((Column("a", "int8"),), 0), "row group of 0 rows"),
        (Table((Column("a", "int16"),), 1), "'int16'"),
        (Table((Column("a", "int8"),), 1, "brotli"), "'brotli'"),
    ],
)
def test_what_no_file_can_have_is_refused(table: Table, what: str) -> None:
    """Every refusal names the thing and what mends it."""
    with pytest.raises(ConfigurationError) as caught:
        require_valid(table)
    assert what in caught.value.what
    assert caught.value.fix


def test_every_codec_is_there_without_a_library() -> None:
    """All known compressions are accepted, another name is refused with a hint."""
    for name in ("none", "snappy", "gzip", "lz4", "zstd"):
        require_codec(name)
    with pytest.raises(ConfigurationError, match="zstdd") as caught:
        require_codec("zstdd")
    assert caught.value.fix == "did you mean zstd?"
