from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.engine.dlio.parquet import RowGroups, read_share, write_file
from mlpstorage.engine.dlio.usage import Usage
from mlpstorage.engine.formats.parquet.schema import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

parquet = pytest.importorskip("pyarrow.parquet", reason="DLIO reads Parquet by pyarrow")

TABLE = Table(
    (
        Column("a", "float32"),
        Column("b", "float16", size=8),
        Column("c", "binary", size=100_000),
        Column("d", "int64", size=3),
    ),
    row_group_rows=4,
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file of ten rows in groups of four."""
    path = str(tmp_path / "img_0_of_1.parquet")
    write_file(path, TABLE, 10, np.random.default_rng(1))
    return path


def test_files_have_the_schema_and_its_groups(file: str) -> None:
    """Columns, lists, sizes and row groups are those of the table; the last group is shorter."""
    with parquet.ParquetFile(file) as found:
        rows = found.read().to_pylist()
        groups = [found.metadata.row_group(i).num_rows for i in range(3)]
    assert groups == [4, 4, 2]
    assert list(rows[0]) == ["a", "b", "c", "d"]
    assert [len(rows[9][name]) for name in ("b", "c", "d")] == [8, 100_000, 3]
    assert rows[0]["c"] != rows[1]["c"]


def test_rows_are_those_that_were_written(file: str) -> None:
    """A row by its number has the values of the whole table, across groups and back."""
    with parquet.ParquetFile(file) as found:
        whole = found.read(columns=["a", "d"]).to_pylist()
    groups = RowGroups(("a", "d"))
    for index in (0, 3, 4, 9, 1):
        assert groups.row(file, index).to_pylist()[0]["d"] == whole[index]["d"]


def test_a_group_is_read_once_for_rows_in_order(file: str) -> None:
    """Ten rows in order read the file about once, and columns that are not read not at all."""
    import os

    before = Usage.of(os.getpid()).rchar
    groups = RowGroups(("c",))
    for index in range(10):
        groups.row(file, index)
    assert (Usage.of(os.getpid()).rchar - before) < 1.5 * 1_000_000
    before = Usage.of(os.getpid()).rchar
    groups = RowGroups(("a", "b", "d"))
    for index in range(10):
        groups.row(file, index)
    assert (Usage.of(os.getpid()).rchar - before) < 200_000


def test_the_share_of_some_columns_is_of_their_chunks(file: str) -> None:
    """The wide column takes nearly all, the others the rest."""
    assert read_share(file, ("c",)) > 0.99
    assert read_share(file, ("a", "b", "d")) == pytest.approx(1 - read_share(file, ("c",)))
