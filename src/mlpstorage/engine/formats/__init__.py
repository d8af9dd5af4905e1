"""File formats of training data: one small class per format serves generation and reading."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mlpstorage.core.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.schema import Table
    from mlpstorage.engine.payload import Filler

FORMAT_NAMES = (
    "npz", "npy", "tfrecord", "hdf5", "jpeg", "png", "csv", "indexed_binary", "parquet",
)  # fmt: skip
# A folder that is cleared may hold the files of any format.
COMPANION_SUFFIXES = (".off.idx", ".sz.idx")
# Entries that are made at a time.
_ENTRIES = 1 << 15


@dataclass(frozen=True)
class Layout:
    """Where the samples of one file stand, for a reader that goes from start to end.

    Sample k (from 0) is complete once `header_bytes + (k + 1) * sample_bytes` bytes are read.

    Args:
        file_bytes: The exact size of the file.
        header_bytes: What stands before the first sample.
        sample_bytes: The distance from one sample to the next, framing included.
        samples: How many samples the file holds.
    """

    file_bytes: int
    header_bytes: int
    sample_bytes: int
    samples: int

    def samples_after(self, read_bytes: int) -> int:
        """How many samples are complete after the first `read_bytes` of the file.

        >>> layout = Layout(file_bytes=350, header_bytes=20, sample_bytes=100, samples=3)
        >>> [layout.samples_after(n) for n in (0, 119, 120, 350)]
        [0, 0, 1, 3]
        """
        complete = (read_bytes - self.header_bytes) // self.sample_bytes
        return min(max(complete, 0), self.samples)


def even_layout(file_bytes: int, samples: int) -> Layout:
    """The layout of a file of unknown structure: its bytes are dealt evenly to its samples.

    >>> even_layout(350, 3)
    Layout(file_bytes=350, header_bytes=0, sample_bytes=116, samples=3)
    """
    return Layout(file_bytes, 0, max(1, file_bytes // samples), samples)


@dataclass(frozen=True)
class Companion:
    """A side file that each data file has: an index with one entry of a fixed size per sample.

    >>> index = Companion(".idx", 8, lambda record_bytes, samples: bytes(8 * len(samples)))
    >>> index.name_of("img_0_of_1.bin"), index.file_bytes(50), index.extent(first=10, samples=5)
    ('img_0_of_1.bin.idx', 400, (80, 120))

    Args:
        suffix: What follows the data file's whole name; one of `COMPANION_SUFFIXES`.
        entry_bytes: The size of an entry.
        entries: The entries of a range of samples, for a file of that record size.
    """

    suffix: str
    entry_bytes: int
    entries: Callable[[int, range], bytes]

    def name_of(self, data_file: str) -> str:
        """The name, or the path, of the companion of a data file."""
        return data_file + self.suffix

    def file_bytes(self, samples: int) -> int:
        """Its exact size, which does not depend on the samples' sizes."""
        return self.entry_bytes * samples

    def extent(self, first: int, samples: int) -> tuple[int, int]:
        """The bytes [begin, end) that a reader of some samples of the data file needs of it."""
        return self.entry_bytes * first, self.entry_bytes * (first + samples)

    def pieces(
        self, record_bytes: int, samples: int, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """Its parts as (offset, bytes), as `Format.pieces`."""
        from mlpstorage.engine.formats.packer import Packer

        packer = Packer(buffer)
        for first in range(0, samples, _ENTRIES):
            entries = self.entries(record_bytes, range(first, min(first + _ENTRIES, samples)))
            yield from packer.put(entries)
        yield from packer.rest()


class Format(Protocol):
    """What generation and reading need to know of a file format.

    `record_bytes` is always the drawn size of one sample's payload; all samples of a file have the
    same. A format may hold slightly less (see `payload_bytes`).
    """

    @property
    def name(self) -> str:
        """The name in configuration files, the same as DLIO's."""

    @property
    def extension(self) -> str:
        """The file name's suffix, without the dot."""

    @property
    def companions(self) -> tuple[Companion, ...]:
        """The side files of each data file; they are whole before it has its final name."""

    def payload_bytes(self, record_bytes: int) -> int:
        """How many payload bytes a sample of that drawn size really holds."""

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The exact size of every file whose samples have these drawn sizes; any shape.

        Companions are not counted.
        """

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The parts of such a file as (offset, bytes), made in memory of `len(buffer)` only.

        Each part is valid until the next is asked for. Offsets ascend, except that a last small
        part may overwrite a header with what is only known at the end, such as a checksum.
        """


@runtime_checkable
class LaidOut(Format, Protocol):
    """A format whose samples stand one after the other; of a table, columns do."""

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Where the samples of such a file stand."""


class SelfContained:
    """What most formats have in common: one file says it all."""

    @property
    def companions(self) -> tuple[Companion, ...]:
        """None."""
        return ()


@functools.cache
def format_of(name: str, table: Table | None = None) -> Format:
    """The format with this DLIO name; Parquet files have the schema of `table`.

    >>> format_of("tfrecord").extension
    'tfrecord'

    Raises:
        ConfigurationError: no format has that name, or a table is given to the wrong one.
    """
    if name not in FORMAT_NAMES:
        raise ConfigurationError(
            f"{name!r} is not a known data format",
            why=f"known formats are {', '.join(FORMAT_NAMES)}",
            fix=did_you_mean(name, FORMAT_NAMES),
        )
    if (name == "parquet") != (table is not None):
        raise ConfigurationError(
            f"{name} data {'has no' if table is None else 'cannot have a'} table schema",
            fix="give one for dataset.format parquet, and for no other",
        )
    if table is not None:
        from mlpstorage.engine.formats.parquet.writer import Parquet

        return Parquet(table)
    found: Format = importlib.import_module(f"{__name__}.{name}").FORMAT
    return found
