"""What a table of training data is: its columns, its row groups, its compression.

A row is a sample. A numeric column with more than one element per row is a list column.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mlpstorage.core.errors import ConfigurationError, did_you_mean

Dtype: TypeAlias = Literal[
    "float16", "float32", "float64", "int8", "uint8", "int32", "int64", "binary"
]
Compression: TypeAlias = Literal["none", "snappy", "gzip", "lz4", "zstd"]

# A binary column has no fixed element: its size counts bytes.
ELEMENT_BYTES = {
    "float16": 2, "float32": 4, "float64": 8, "int8": 1, "uint8": 1, "int32": 4, "int64": 8,
    "binary": 1,
}  # fmt: skip
COMPRESSIONS = ("none", "snappy", "gzip", "lz4", "zstd")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of a table.

    >>> Column("price", "float32").row_bytes, Column("tokens", "int64", size=7).row_bytes
    (4, 56)

    Args:
        name: Its name in the schema.
        dtype: What its elements are.
        size: How many elements a row has; of a binary column, how many bytes.
        read: Whether training reads it.
    """

    name: str
    dtype: Dtype
    size: int = 1
    read: bool = True

    @property
    def is_list(self) -> bool:
        """Whether a row holds a list of elements."""
        return self.size > 1 and self.dtype != "binary"

    @property
    def row_bytes(self) -> int:
        """The payload of one row in bytes, without levels, lengths and dictionaries."""
        return self.size * ELEMENT_BYTES[self.dtype]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema of every file of a data set, and how its rows are grouped and compressed.

    >>> table = Table((Column("x", "float16"), Column("y", "int8", read=False)), row_group_rows=9)
    >>> table.row_bytes, [column.name for column in table.read_columns]
    (3, ['x'])

    Args:
        columns: In the order of the file.
        row_group_rows: How many rows a row group has; the last one of a file may have fewer.
        compression: The codec of every page.
    """

    columns: tuple[Column, ...]
    row_group_rows: int
    compression: Compression = "none"

    @property
    def row_bytes(self) -> int:
        """The payload of one row in bytes, over all columns."""
        return sum(column.row_bytes for column in self.columns)

    @property
    def read_columns(self) -> tuple[Column, ...]:
        """The columns that training reads."""
        return tuple(column for column in self.columns if column.read)

    @property
    def is_blob(self) -> bool:
        """Whether the table is one binary column, whose length is each file's drawn size."""
        return len(self.columns) == 1 and self.columns[0].dtype == "binary"


def require_valid(table: Table) -> None:
    """Refuse a table that no file can have or no training can read.

    Raises:
        ConfigurationError: no column, none that is read, a name that is empty or used twice, a
            number below 1, an unknown dtype or codec.
    """
    if not table.columns:
        raise ConfigurationError(
            "a parquet table without columns",
            why="a row needs at least one column",
            fix="name at least one column with its dtype",
        )
    names = [column.name for column in table.columns]
    for column in table.columns:
        _require_column(column)
        if names.count(column.name) > 1:
            raise ConfigurationError(
                f"parquet column {column.name!r} is named twice",
                why="readers choose columns by name",
                fix="give every column a name of its own",
            )
    if not table.read_columns:
        raise ConfigurationError(
            "no parquet column is read",
            why="training would load nothing",
            fix="set read: true on the columns that training loads",
        )
    if table.row_group_rows < 1:
        raise ConfigurationError(
            f"a parquet row group of {table.row_group_rows} rows",
            fix="give a row group at least one row",
        )
    require_codec(table.compression)


def require_codec(name: str) -> None:
    """Refuse a compression that no file here can have; none needs a library of its own.

    Raises:
        ConfigurationError: the codec is unknown.
    """
    if name not in COMPRESSIONS:
        raise ConfigurationError(
            f"{name!r} is not a known parquet compression",
            why=f"known ones are {', '.join(COMPRESSIONS)}",
            fix=did_you_mean(name, COMPRESSIONS),
        )


def _require_column(column: Column) -> None:
    if not column.name:
        raise ConfigurationError(
            "a parquet column has no name", fix="give every column a name of its own"
        )
    if column.dtype not in ELEMENT_BYTES:
        raise ConfigurationError(
            f"{column.dtype!r} of parquet column {column.name} is not a known dtype",
            fix=did_you_mean(column.dtype, ELEMENT_BYTES),
        )
    if column.size < 1:
        raise ConfigurationError(
            f"parquet column {column.name} has size {column.size}",
            fix="give it at least one element per row",
        )
