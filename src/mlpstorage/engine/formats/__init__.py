"""File formats of training data: one small class per format serves generation and reading."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlpstorage.core.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.engine.payload import Filler

FORMAT_NAMES = ("npz", "npy", "tfrecord", "hdf5", "jpeg", "png", "csv")


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

    def payload_bytes(self, record_bytes: int) -> int:
        """How many payload bytes a sample of that drawn size really holds."""

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The exact size of every file whose samples have these drawn sizes; any shape."""

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Where the samples of such a file stand."""

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The parts of such a file as (offset, bytes), made in memory of `len(buffer)` only.

        Each part is valid until the next is asked for. Offsets ascend, except that a last small
        part may overwrite a header with what is only known at the end, such as a checksum.
        """


@functools.cache
def format_of(name: str) -> Format:
    """The format with this DLIO name.

    >>> format_of("tfrecord").extension
    'tfrecord'

    Raises:
        ConfigurationError: no format has that name.
    """
    if name not in FORMAT_NAMES:
        raise ConfigurationError(
            f"{name!r} is not a known data format",
            why=f"known formats are {', '.join(FORMAT_NAMES)}",
            fix=did_you_mean(name, FORMAT_NAMES),
        )
    found: Format = importlib.import_module(f"{__name__}.{name}").FORMAT
    return found


def require_one_sample(name: str, samples: int) -> None:
    """Refuse more than one sample per file, for formats whose file is one picture.

    Raises:
        ConfigurationError: there is more than one.
    """
    if samples != 1:
        raise ConfigurationError(
            f"a {name} file cannot hold {samples} samples",
            why=f"a {name} file is one picture, and one picture is one sample",
            fix="set dataset.num_samples_per_file to 1, or use another dataset.format",
        )
