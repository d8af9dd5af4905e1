"""Decoding the row groups of Parquet files by pyarrow, from column chunks that were read before.

pyarrow is given the footer's bytes and a file object that knows only those ranges of the file that
are in memory. So the reading stays the benchmark's own, direct or not, and is timed apart.
"""

from __future__ import annotations

import importlib
import io
from bisect import bisect_right
from typing import TYPE_CHECKING

from mlpstorage.engine.decoding import undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC = b"PAR1"


class TableDecoder:
    """Decodes row groups of all files with one and the same footer; threads may share it.

    Args:
        footer: The serialized FileMetaData, without its length and the magic bytes.
        columns: The names of the columns that are read.
        path: A file that has this footer, for messages.

    Raises:
        BenchmarkError: the footer is damaged.
    """

    def __init__(self, footer: bytes, columns: Sequence[str], path: str) -> None:
        self._parquet = importlib.import_module("pyarrow.parquet")
        self._columns = list(columns)
        length = len(footer).to_bytes(4, "little")
        try:
            # A file of the footer alone: it is looked at no further.
            self._metadata = self._parquet.read_metadata(
                io.BytesIO(_MAGIC + footer + length + _MAGIC)
            )
        except Exception as error:
            raise undecodable(path, error) from error

    def decode(self, ranges: Sequence[tuple[int, memoryview]], path: str, group: int) -> int:
        """Make the arrays of one row group and drop them; how many bytes they have.

        Args:
            ranges: What was read, as (offset in the file, bytes), in ascending order; every column
                chunk lies within one of them.
            path: The file, for messages.
            group: The row group's number in the file.

        Raises:
            BenchmarkError: the bytes are damaged.
        """
        try:
            # Else chunks are asked for together with what lies between them.
            file = self._parquet.ParquetFile(
                _Loaded(ranges), metadata=self._metadata, pre_buffer=False
            )
            table = file.read_row_group(group, columns=self._columns, use_threads=False)
            return int(table.nbytes)
        except Exception as error:
            raise undecodable(path, error) from error


class _Loaded(io.RawIOBase):
    """A file of which some ranges are in memory; what is read is a view of them."""

    def __init__(self, ranges: Sequence[tuple[int, memoryview]]) -> None:
        self._ranges = ranges
        self._begins = [begin for begin, _ in ranges]
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            begin, data = self._ranges[-1]
            offset += begin + len(data)
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> memoryview:
        begin, data = self._ranges[bisect_right(self._begins, self._position) - 1]
        skipped = self._position - begin
        if not 0 <= skipped <= skipped + size <= len(data):
            raise OSError(f"bytes {self._position} to {self._position + size} were not read")
        self._position += size
        return data[skipped : skipped + size]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
