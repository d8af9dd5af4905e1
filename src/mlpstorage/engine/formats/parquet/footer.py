"""The footer of any Parquet file: read in one or two calls, parsed without a Parquet library.

Footers of other writers are understood as well: whatever is not needed is skipped. Source:
apache/parquet-format README.md (file format) and parquet.thrift.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.files import truncated, unreadable
from mlpstorage.engine.formats.parquet.chunks import ChunkReader
from mlpstorage.engine.formats.parquet.groups import GroupReads, check_schema
from mlpstorage.engine.formats.parquet.leaves import LeafColumn, read_schema
from mlpstorage.engine.formats.parquet.metadata import MAGIC, TAIL_BYTES
from mlpstorage.engine.formats.parquet.thrift import STOP, STRUCT, Cursor, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Footer", "GroupReads", "LeafColumn", "check_schema", "parse_footer", "read_footer"]

_ENCRYPTED_MAGIC = b"PARE"
# Magic at both ends, the footer's length, and a footer.
_LEAST_BYTES = len(MAGIC) + TAIL_BYTES + 1
# The first read takes more than the tail, so that one is enough for most files; but never a
# noticeable part of a file, beyond the block that the storage reads anyway.
_BLOCK_BYTES = 4096
_MOST_GUESS_BYTES = 64 * 1024
_GUESS_FRACTION = 64


@dataclass(frozen=True, eq=False)
class Footer:
    """What a file holds, and where.

    Args:
        num_rows: How many rows the file has.
        group_rows: How many each row group has: int64 of shape (groups,).
        columns: The leaf columns, in the order of the schema.
        codecs: The names of the codecs in use; ours where there is one.
        begin: The offset of every column chunk: int64 of shape (groups, leaves).
        length: Its size in the file, page headers included: int64 of shape (groups, leaves).
    """

    num_rows: int
    group_rows: NDArray[np.int64]
    columns: tuple[LeafColumn, ...]
    codecs: frozenset[str]
    begin: NDArray[np.int64]
    length: NDArray[np.int64]


def read_footer(
    fd: int,
    path: Path | str,
    size: int,
    *,
    on_read: Callable[[int], None] = lambda _bytes: None,
) -> bytes:
    """The footer of a file, for `parse_footer`: one `pread`, two if it is large.

    Args:
        fd: The file, open for buffered reading.
        path: Its name, for errors.
        size: Its size in bytes.
        on_read: Called with the number of bytes of each read.

    Raises:
        ConfigurationError: it is not a Parquet file, is cut off, or its footer is encrypted.
        BenchmarkError: it cannot be read, or is shorter than `size`.
    """
    if size < _LEAST_BYTES:
        raise _unusable(path, f"it has {size} bytes, too few for a parquet file")
    guess = min(max(_BLOCK_BYTES, min(size // _GUESS_FRACTION, _MOST_GUESS_BYTES)), size)
    tail = _read(fd, path, size, size - guess, guess)
    on_read(guess)
    if tail[-len(MAGIC) :] == _ENCRYPTED_MAGIC:
        raise _unusable(path, "its footer is encrypted")
    if tail[-len(MAGIC) :] != MAGIC:
        raise _unusable(path, "it does not end as a parquet file: cut off, or of another format")
    length = int.from_bytes(tail[-TAIL_BYTES : -len(MAGIC)], "little")
    if not 0 < length <= size - TAIL_BYTES - len(MAGIC):
        raise _unusable(path, f"its footer of {length} bytes does not fit in its {size} bytes")
    missing = length + TAIL_BYTES - guess
    if missing <= 0:
        return tail[-length - TAIL_BYTES : -TAIL_BYTES]
    head = _read(fd, path, size, size - guess - missing, missing)
    on_read(missing)
    return head + tail[:-TAIL_BYTES]


def parse_footer(data: bytes, path: Path | str) -> Footer:
    """What a footer says.

    Raises:
        ConfigurationError: it is malformed, or its columns are encrypted or in other files.
    """
    try:
        return _parse(data)
    except MalformedError as error:
        raise _unusable(path, f"its footer is malformed: {error}") from error
    except (IndexError, OverflowError, UnicodeDecodeError) as error:
        raise _unusable(path, "its footer is malformed") from error


def _parse(data: bytes) -> Footer:
    cursor = Cursor(data)
    leaves: tuple[LeafColumn, ...] = ()
    chunks: ChunkReader | None = None
    group_rows: list[int] = []
    num_rows = -1
    number, kind = cursor.field(0)
    while kind != STOP:
        if number == 2:  # noqa: PLR2004 (FileMetaData.schema)
            leaves = read_schema(cursor, kind)
        elif number == 3:  # noqa: PLR2004 (FileMetaData.num_rows)
            num_rows = cursor.integer(kind)
        elif number == 4:  # noqa: PLR2004 (FileMetaData.row_groups)
            chunks = ChunkReader(len(leaves))
            group_rows = [_row_group(cursor, chunks) for _ in range(cursor.list(kind, STRUCT))]
        else:
            cursor.skip(kind)
        number, kind = cursor.field(number)
    if not leaves or chunks is None or chunks.leaves != len(leaves):
        raise MalformedError("it has no schema or no row groups")
    if num_rows != sum(group_rows) or min(group_rows, default=0) < 0:
        raise MalformedError(f"its row groups do not have {num_rows} rows together")
    begin, length = chunks.arrays()
    return Footer(
        num_rows, np.array(group_rows, np.int64), leaves, frozenset(chunks.codecs), begin, length
    )


def _row_group(cursor: Cursor, chunks: ChunkReader) -> int:
    """Read a RowGroup; the number of its rows."""
    rows, found = -1, False
    number, kind = cursor.field(0)
    while kind != STOP:
        if number == 1 and not found:
            chunks.read(cursor, cursor.list(kind, STRUCT))
            found = True
        elif number == 3:  # noqa: PLR2004 (RowGroup.num_rows)
            rows = cursor.integer(kind)
        else:
            cursor.skip(kind)
        number, kind = cursor.field(number)
    if not found:
        raise MalformedError("a row group has no columns")
    return rows


def _read(fd: int, path: Path | str, size: int, offset: int, length: int) -> bytes:
    """Exactly these bytes of a file of `size` bytes."""
    parts: list[bytes] = []
    while length:
        try:
            part = os.pread(fd, length, offset)
        except OSError as error:
            raise unreadable(path, error) from error
        if not part:
            raise truncated(path, offset, size)
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unusable(path: Path | str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"data file {path} is not a usable parquet file",
        why=why,
        fix="remove it and run datagen again with the same arguments: it writes what is missing",
    )
