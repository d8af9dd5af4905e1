"""Parquet files of payload, streamed through one buffer, their sizes known to the byte beforehand.

A file is its row groups one after the other, in each the chunks of all columns, then the footer.
There are no statistics and no page index: readers would not use them on random values. Every value
is raw payload, so some floats are NaN and some are infinite, which no reader minds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.engine.formats import SelfContained
from mlpstorage.engine.formats.packer import Packer
from mlpstorage.engine.formats.parquet.codecs import Checksum, Part, literal
from mlpstorage.engine.formats.parquet.metadata import (
    MAGIC,
    GroupWriter,
    file_bytes,
    file_end,
    file_head,
    groups_of,
)
from mlpstorage.engine.formats.parquet.pages import chunk_of
from mlpstorage.engine.formats.parquet.schema import require_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeGuard

    from numpy.typing import NDArray

    from mlpstorage.engine.formats.packer import Piece
    from mlpstorage.engine.formats.parquet.codecs import Step
    from mlpstorage.engine.formats.parquet.schema import Table
    from mlpstorage.engine.payload import Filler

_CYCLE_BYTES = 1 << 16


class Parquet(SelfContained):
    """A table's files; the samples of a file are its rows.

    There is no layout of samples from start to end: readers go by row groups and columns, see
    `mlpstorage.engine.formats.parquet.footer`. All sizes are exact for every compression.

    Args:
        table: The schema of the files. If it is one binary column, the drawn size of a file's
            samples is that column's length there; else every file holds the same, and drawn sizes
            are ignored.

    Raises:
        ConfigurationError: the table is not valid.
    """

    name = "parquet"
    extension = "parquet"

    def __init__(self, table: Table) -> None:
        require_valid(table)
        self.table = table

    def payload_bytes(self, record_bytes: int) -> int:
        """A row of the table, or the binary value of the drawn size."""
        return record_bytes if self.table.is_blob else self.table.row_bytes

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The exact size of every file, compressed or not; any shape.

        Raises:
            ConfigurationError: a page or the footer would be too large for the format.
        """
        if self.table.is_blob:
            return file_bytes(self.table, samples, record_bytes)
        size = file_bytes(self.table, samples, np.zeros((), np.int64))
        return np.full(record_bytes.shape, size, np.int64)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end.

        Raises:
            ConfigurationError: a page would be too large for the format.
        """
        table = self._table_of(record_bytes)
        packer = Packer(buffer)
        checked = table.compression == "gzip"
        yield from packer.put(MAGIC)
        entries: list[tuple[GroupWriter, range]] = []
        kinds = groups_of(table, samples)
        for kind in kinds:
            chunks = [chunk_of(column, kind.rows, table.compression) for column in table.columns]
            group = GroupWriter(table, chunks, kind.rows)
            begin = packer.position
            steps = _joined((step for chunk in chunks for step in chunk.steps), checked=checked)
            for _ in range(kind.times):
                yield from _lay(steps, payload, packer)
            size = group.group_bytes
            entries.append((group, range(begin, begin + kind.times * size, size)))
        start = packer.position
        yield from packer.put(file_head(table, samples, sum(kind.times for kind in kinds)))
        for group, begins in entries:
            for begin in begins:
                yield from packer.put(group.entry(begin))
        yield from packer.put(file_end())
        yield from packer.put(struct.pack("<I", packer.position - start) + MAGIC)
        yield from packer.rest()

    def _table_of(self, record_bytes: int) -> Table:
        """The table of a file of that drawn size."""
        if not self.table.is_blob:
            return self.table
        column = msgspec.structs.replace(self.table.columns[0], size=record_bytes)
        return msgspec.structs.replace(self.table, columns=(column,))


class _Cycle:
    """The bytes of a pattern again and again."""

    def __init__(self, part: Part) -> None:
        most = min(part.length, _CYCLE_BYTES) + part.phase
        self._bytes = part.pattern * -(-most // len(part.pattern))
        self._length = len(part.pattern)
        self._phase = part.phase

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes."""
        while len(out):
            step = min(len(out), len(self._bytes) - self._phase)
            out[:step] = self._bytes[self._phase : self._phase + step]
            self._phase = (self._phase + step) % self._length
            out = out[step:]


class _Marked:
    """Payload with a mark on every multiple of a stride: values with their length before each."""

    def __init__(self, payload: Filler, part: Part) -> None:
        self._payload = payload
        self._mark = part.pattern
        self._stride = part.stride
        self._phase = part.phase

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes; the payload under a mark is lost."""
        self._payload.fill(out)
        view = np.frombuffer(out, np.uint8)
        for place, byte in enumerate(self._mark):
            view[(place - self._phase) % self._stride :: self._stride] = byte
        self._phase = (self._phase + len(out)) % self._stride


def _joined(steps: Iterable[Step], *, checked: bool) -> tuple[Step, ...]:
    """The same bytes in fewer steps: literals that follow one another become one.

    Where there are no checksums, all is framing.
    """
    out: list[Step] = []
    for given in steps:
        step = given
        if isinstance(step, Part) and not checked:
            step = step._replace(framing=True)
        last = out[-1] if out else None
        if _is_literal(step) and _is_literal(last) and step.framing == last.framing:
            out[-1] = literal(last.pattern + step.pattern, framing=step.framing)
        else:
            out.append(step)
    return tuple(out)


def _is_literal(step: Step | None) -> TypeGuard[Part]:
    """Whether a part is just the bytes of its pattern."""
    return (
        isinstance(step, Part)
        and not step.stride
        and not step.phase
        and step.length == len(step.pattern)
    )


def _lay(steps: tuple[Step, ...], payload: Filler, packer: Packer) -> Iterator[Piece]:
    """Write the steps of a row group."""
    from zlib_ng.zlib_ng import crc32

    crc = 0
    for step in steps:
        if isinstance(step, Checksum):
            yield from packer.put(struct.pack("<II", crc, step.size))
            crc = 0
        elif not step.framing:
            crc = yield from packer.fill(_filler(step, payload), step.length, crc32, crc)
        elif _is_literal(step):
            yield from packer.put(step.pattern)
        else:
            yield from packer.fill(_filler(step, payload), step.length)


def _filler(part: Part, payload: Filler) -> Filler:
    """What writes the bytes of a part."""
    if part.stride:
        return _Marked(payload, part)
    return _Cycle(part) if part.pattern else payload
