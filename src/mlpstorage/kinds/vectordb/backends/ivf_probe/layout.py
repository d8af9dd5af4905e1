"""The files of an index: centroids, a table of lists, and the lists, each one aligned extent.

centroids.npy   float32 (lists, dimension), kept in memory
table.npy       int64 (lists, 2): first byte and vectors of each list
lists.bin       per list its vectors, then their ids (int32), padded to 4096 bytes
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.dataset import sync_folder
from mlpstorage.kinds.vectordb.backends.ivf_probe.description import ALIGNMENT
from mlpstorage.kinds.vectordb.backends.ivf_probe.training import assign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.vectors.files import Vectors

CENTROIDS_NAME = "centroids.npy"
TABLE_NAME = "table.npy"
PLACES_NAME = "places.npy"
LISTS_NAME = "lists.bin"
_ID_BYTES = 4
_ROWS = 16_384


@dataclass(frozen=True)
class Layout:
    """Where the lists are.

    Args:
        offsets: The first byte of each list in the file.
        counts: The vectors of each list.
        dimension: Numbers per vector.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    dimension: int

    @classmethod
    def of(cls, counts: NDArray[np.int64], dimension: int) -> Layout:
        """Lists of these sizes, one after the other.

        >>> layout = Layout.of(np.array([1, 0, 9]), 128)
        >>> layout.offsets.tolist(), layout.extent(2)
        ([0, 4096, 4096], (4096, 8192))
        """
        sizes = _padded(counts * (dimension * 4 + _ID_BYTES))
        return cls(np.cumsum(sizes) - sizes, counts, dimension)

    def extent(self, number: int) -> tuple[int, int]:
        """First byte and length of a list, both multiples of the alignment."""
        used = int(self.counts[number]) * (self.dimension * 4 + _ID_BYTES)
        return int(self.offsets[number]), int(_padded(np.int64(used)))

    @property
    def longest_bytes(self) -> int:
        """The length of the longest list."""
        return max((self.extent(int(n))[1] for n in [self.counts.argmax()]), default=0)

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return sum(self.extent(len(self.counts) - 1)) if len(self.counts) else 0


def _padded(size: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
    return np.asarray(-(-size // ALIGNMENT) * ALIGNMENT)


def write_lists(
    folder: Path,
    vectors: Vectors,
    centroids: NDArray[np.float32],
    report: Callable[[int, int], None],
) -> None:
    """Sort all vectors into their lists and make the index durable; the table comes last."""
    nearest = np.empty(vectors.count, np.int32)
    for begin in range(0, vectors.count, _ROWS):
        end = min(begin + _ROWS, vectors.count)
        nearest[begin:end] = assign(vectors.rows(begin, end), centroids)
        report(end, 2 * vectors.count)
    counts = np.bincount(nearest, minlength=len(centroids)).astype(np.int64)
    layout = Layout.of(counts, vectors.dimension)
    _fill(folder / LISTS_NAME, vectors, nearest, layout, report)
    for name, values in (
        (PLACES_NAME, nearest),
        (CENTROIDS_NAME, centroids),
        (TABLE_NAME, np.stack([layout.offsets, layout.counts], axis=1)),
    ):
        with (folder / name).open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def _fill(
    path: Path,
    vectors: Vectors,
    nearest: NDArray[np.int32],
    layout: Layout,
    report: Callable[[int, int], None],
) -> None:
    row_bytes = layout.dimension * 4
    filled = np.zeros(len(layout.counts), np.int64)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, layout.file_bytes)
        for begin in range(0, vectors.count, _ROWS):
            end = min(begin + _ROWS, vectors.count)
            rows, mine = vectors.rows(begin, end), nearest[begin:end]
            order = np.argsort(mine, kind="stable")
            lists, starts = np.unique(mine[order], return_index=True)
            for number, places in zip(lists, np.split(order, starts[1:]), strict=True):
                at, done = int(layout.offsets[number]), int(filled[number])
                ids = at + int(layout.counts[number]) * row_bytes + done * _ID_BYTES
                _write_all(descriptor, rows[places].tobytes(), at + done * row_bytes)
                _write_all(descriptor, (begin + places).astype("<i4").tobytes(), ids)
                filled[number] += len(places)
            report(vectors.count + end, 2 * vectors.count)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
