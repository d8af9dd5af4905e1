"""What a rank knows of the Parquet files it reads: each footer read once, equal ones parsed once.

Files that were generated alike have equal footers. So a footer is compared by its digest first, and
parsing, which for 768 row groups of 200 columns costs a tenth of a second of CPU, and a second for
those of other writers, is done for the first alone.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.files import DIRECT_ALIGNMENT, read_flags, truncated, unreadable
from mlpstorage.engine.formats.parquet.footer import (
    GroupReads,
    check_schema,
    parse_footer,
    read_footer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.engine.decoding.table import TableDecoder
    from mlpstorage.engine.formats.parquet.schema import Table

# Ranges of 16 bytes: beyond this many, what is known is forgotten, and footers are read again.
_MOST_RANGES = 1 << 20
_MOST_FILES = 1 << 16


class Known(NamedTuple):
    """What one footer says: where the columns stand, and what decodes them (if that is wanted)."""

    reads: GroupReads
    decoder: TableDecoder | None


class Footers:
    """The row groups of a data set's files, for all readers of a rank.

    Args:
        path_of: The path of file `i`.
        table: The schema that files must have.
        rows: How many rows each file must have.
        columns: The columns that are read.
        decode: Whether row groups will be decoded.
    """

    def __init__(
        self,
        path_of: Callable[[int], str],
        table: Table,
        rows: int,
        columns: Sequence[str],
        *,
        decode: bool = False,
    ) -> None:
        self._path_of = path_of
        self._table = table
        self._rows = rows
        self._columns = columns
        self._decode = decode
        self._known: dict[int, Known] = {}
        self._parsed: dict[bytes, Known] = {}
        self._ranges = 0
        self._lock = threading.Lock()
        self._reading: dict[int, threading.Lock] = {}
        self.bytes_read = 0

    def of(self, file: int) -> Known:
        """What the footer of a file says; read when it is not known.

        Raises:
            BenchmarkError: the file cannot be read.
            ConfigurationError: it is no Parquet file, or has other columns or rows.
        """
        known = self._known.get(file)
        if known is not None:
            return known
        with self._lock:
            reading = self._reading.setdefault(file, threading.Lock())
        with reading:
            known = self._known.get(file)
            if known is None:
                known = self._read(file)
            with self._lock:
                self._reading.pop(file, None)
        return known

    def _read(self, file: int) -> Known:
        path = self._path_of(file)
        reads: list[int] = []
        try:
            # Buffered also where data are read directly: a footer starts at any byte.
            fd = os.open(path, read_flags(direct=False))
            try:
                size = os.fstat(fd).st_size
                data = read_footer(fd, path, size, on_read=reads.append)
            finally:
                os.close(fd)
        except OSError as error:
            raise unreadable(path, error) from error
        digest = hashlib.blake2b(data, digest_size=16).digest()
        known = self._parsed.get(digest)
        if known is None:
            known = Known(self._parse(data, path), self._decoder(data, path))
        if known.reads.end > size:
            raise truncated(path, size, known.reads.end)
        with self._lock:
            self.bytes_read += sum(reads)
            self._keep(file, digest, known)
        return known

    def _decoder(self, data: bytes, path: str) -> TableDecoder | None:
        if not self._decode:
            return None
        from mlpstorage.engine.decoding.table import TableDecoder

        return TableDecoder(data, self._columns, path)

    def _parse(self, data: bytes, path: str) -> GroupReads:
        footer = parse_footer(data, path)
        check_schema(footer, self._table, path)
        reads = GroupReads.of(footer, self._columns, path)
        if footer.num_rows != self._rows:
            raise ConfigurationError(
                f"{path} has {footer.num_rows} rows, not {self._rows}",
                why="a row is a sample, and dataset.num_samples_per_file says how many there are",
                fix="run datagen again with the same arguments, or set "
                f"dataset.num_samples_per_file={footer.num_rows}",
            )
        size = self._table.row_group_rows
        if not np.array_equal(reads.group_first, np.arange(len(reads.group_first)) * size):
            raise ConfigurationError(
                f"{path} has row groups of {footer.group_rows[0]} rows, not {size}",
                why="which row groups a rank reads follows from their size",
                fix=f"set dataset.parquet.row_group_size={footer.group_rows[0]}, if all its groups "
                "but the last have that size; else generate the data set again",
            )
        return reads

    def _keep(self, file: int, digest: bytes, known: Known) -> None:
        ranges = len(known.reads.group_first) * len(self._columns)
        if digest not in self._parsed:
            self._ranges += ranges
        if self._ranges > _MOST_RANGES or len(self._known) >= _MOST_FILES:
            self._known.clear()
            self._parsed.clear()
            self._ranges = ranges
        self._parsed[digest] = known
        self._known[file] = known


def aligned(ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The ranges of a file of `size` bytes widened to whole blocks; those that touch are one.

    >>> aligned([(4, 100), (5000, 8192), (9000, 9100)], 9500)
    [(0, 9500)]
    >>> aligned([(4, 100), (9000, 9100)], 50_000)
    [(0, 4096), (8192, 12288)]
    """
    found: list[tuple[int, int]] = []
    for range_begin, range_end in ranges:
        begin = range_begin - range_begin % DIRECT_ALIGNMENT
        end = min(range_end + -range_end % DIRECT_ALIGNMENT, size)
        if found and begin <= found[-1][1]:
            begin = found.pop()[0]
        found.append((begin, end))
    return found
