"""Files of vectors made block by block, by many ranks, and resumed by what is already right.

A block is written at its place in the file, then its CRC-32C goes into the rank's journal. After a
crash each journalled block is read again and compared; whatever does not agree is made once more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.files import unreadable
from mlpstorage.engine.vectors.files import HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class BlockFile:
    """One `.fbin` file of `count` float32 vectors in blocks of `BLOCK_ROWS`.

    Args:
        path: The file.
        count: Vectors in the file.
        dimension: Numbers per vector.
    """

    path: Path
    count: int
    dimension: int

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last one may be short."""
        return -(-self.count // BLOCK_ROWS)

    @property
    def file_bytes(self) -> int:
        """The size of the whole file."""
        return HEADER_BYTES + self.count * self.dimension * 4

    def bounds(self, block: int) -> tuple[int, int]:
        """The rows [begin, end) of a block."""
        return block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.count)

    def begin(self) -> None:
        """Create the file with its header, or keep the one that is there; no block is made yet."""
        with self.path.open("ab") as file:
            file.truncate(self.file_bytes)
        with self.path.open("r+b") as file:
            file.write(np.array([self.count, self.dimension], "<u4").tobytes())

    def read(self, block: int) -> NDArray[np.float32]:
        """A block's vectors.

        Raises:
            BenchmarkError: the file is missing, unreadable or too short.
        """
        begin, end = self.bounds(block)
        wanted = (end - begin) * self.dimension
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset(begin))
                values = np.fromfile(file, "<f4", wanted)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(values) != wanted:
            raise BenchmarkError(
                f"{self.path} ends within block {block}",
                why=f"its {self.count} vectors take {self.file_bytes} bytes",
                fix="run datagen again with the same arguments: it writes what is missing",
            )
        return values.reshape(end - begin, self.dimension)

    def read_checked(self, block: int, checksum: int) -> NDArray[np.float32]:
        """A block's vectors, if they are still those that were written.

        Raises:
            BenchmarkError: they are not, or cannot be read.
        """
        values = self.read(block)
        if checksum_of(values) != checksum:
            raise BenchmarkError(
                f"{self.path} has changed: block {block} does not match its checksum",
                why="the manifest holds the checksum of every block that datagen wrote",
                fix="run datagen again with the same arguments and --force",
            )
        return values

    def all_checked(self, checksums: list[int]) -> NDArray[np.float32]:
        """All vectors; see `read_checked`."""
        out = np.empty((self.count, self.dimension), np.float32)
        for block, checksum in enumerate(checksums):
            begin, end = self.bounds(block)
            out[begin:end] = self.read_checked(block, checksum)
        return out

    def write(self, block: int, values: NDArray[np.float32]) -> int:
        """Write a block at its place; its checksum."""
        data = np.ascontiguousarray(values, "<f4")
        view, offset = data.data.cast("B"), self._offset(self.bounds(block)[0])
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while view:
                done = os.pwrite(descriptor, view, offset)
                view, offset = view[done:], offset + done
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return checksum_of(data)

    def journalled(self) -> dict[int, int]:
        """The checksum of every block that any rank says it has written."""
        found: dict[int, int] = {}
        for journal in sorted(self.path.parent.glob(f".{self.path.name}-*.blocks")):
            for line in journal.read_text("ascii", "replace").split("\n")[:-1]:
                words = line.split()
                if len(words) == 2 and all(word.isdecimal() for word in words):  # noqa: PLR2004
                    found[int(words[0])] = int(words[1])
        return {block: crc for block, crc in found.items() if block < self.blocks}

    def make(
        self,
        rank: int,
        ranks: int,
        rows: Callable[[int, int], NDArray[np.float32]],
        report: Callable[[int, int], None],
        wants_stop: Callable[[], bool] = lambda: False,
    ) -> tuple[int, int]:
        """Make a rank's share of the blocks; how many were written, and how many kept.

        They are fewer than the share where the user wanted to stop.

        Args:
            rank: Which share.
            ranks: Of how many.
            rows: The vectors [begin, end).
            report: Called with the blocks done and the bytes written by now.
            wants_stop: Asked before each block; the share ends early if so.
        """
        held, written, kept, moved = self.journalled(), 0, 0, 0
        journal = self.path.parent / f".{self.path.name}-{rank}.blocks"
        with journal.open("a", encoding="ascii") as lines:
            lines.write("\n")  # ends a line that a crash has torn
            for block in self._share(rank, ranks):
                if wants_stop():
                    break
                if held.get(block) is not None and checksum_of(self.read(block)) == held[block]:
                    kept += 1
                else:
                    values = rows(*self.bounds(block))
                    lines.write(f"{block} {self.write(block, values)}\n")
                    lines.flush()
                    written, moved = written + 1, moved + values.nbytes
                report(written + kept, moved)
            os.fsync(lines.fileno())
        return written, kept

    def share_size(self, rank: int, ranks: int) -> int:
        """How many blocks a rank makes."""
        return len(list(self._share(rank, ranks)))

    def _share(self, rank: int, ranks: int) -> Iterator[int]:
        """Neighbouring blocks: two hosts then share a page of the file at few places."""
        yield from range(self.blocks * rank // ranks, self.blocks * (rank + 1) // ranks)

    def checksums(self) -> list[int]:
        """The checksum of every block, when all are made.

        Raises:
            BenchmarkError: some are not.
        """
        held = self.journalled()
        missing = [block for block in range(self.blocks) if block not in held]
        if missing:
            raise BenchmarkError(
                f"{len(missing)} of {self.blocks} blocks of {self.path} were not made",
                why="the journals of the ranks do not name them",
                fix="mount the same storage at the same path on every host, then run datagen again",
            )
        return [held[block] for block in range(self.blocks)]

    def forget_journals(self) -> None:
        """Remove what only a resumed generation needs."""
        for journal in self.path.parent.glob(f".{self.path.name}-*.blocks"):
            journal.unlink(missing_ok=True)

    def _offset(self, row: int) -> int:
        return HEADER_BYTES + row * self.dimension * 4


def checksum_of(values: NDArray[np.float32]) -> int:
    """The CRC-32C of a block's bytes.

    >>> checksum_of(np.zeros((1, 2), np.float32))
    2351477386
    """
    return int(google_crc32c.value(np.ascontiguousarray(values).view(np.uint8)))
