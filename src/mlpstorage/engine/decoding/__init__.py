"""Turns the bytes that were read into arrays, with the library that is usual for the format.

Reading is what a storage benchmark measures; decoding is what a data loader adds on the same CPUs.
It is done apart, and its time is kept apart.

One sample per file: npz and npy by `numpy.load` (which checks the CRC-32 of npz), hdf5 by h5py,
jpeg and png by Pillow. Otherwise a run is decoded without the rest of its file: csv and tfrecord
(with both checksums) are parsed, the bare samples of other formats copied into an array each.
Parquet needs its footer: see `mlpstorage.engine.decoding.table`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from mlpstorage.core.errors import BenchmarkError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.formats import Layout

    Decode = Callable[[memoryview, "Run"], int]

# The module that is imported, and the project that brings it.
_LIBRARIES = {
    "hdf5": ("h5py", "h5py"),
    "jpeg": ("PIL.Image", "Pillow"),
    "png": ("PIL.Image", "Pillow"),
    "parquet": ("pyarrow.parquet", "pyarrow"),
}


class Run(NamedTuple):
    """Whole samples within the bytes that were read.

    Args:
        samples: How many there are.
        begin: The first byte of the first one, after whatever of the file's header was read.
        sample_bytes: The distance from one sample to the next.
    """

    samples: int
    begin: int
    sample_bytes: int

    @classmethod
    def of(cls, layout: Layout, first: int, samples: int) -> Run:
        """A run that was cut at the borders of samples, from sample `first` of the file on.

        The file's first run has the header, and the last one what follows the samples.

        >>> from mlpstorage.engine.formats import Layout
        >>> layout = Layout(file_bytes=350, header_bytes=20, sample_bytes=100, samples=3)
        >>> Run.of(layout, 0, 1), Run.of(layout, 1, 2)
        (Run(samples=1, begin=20, sample_bytes=100), Run(samples=2, begin=0, sample_bytes=100))
        """
        return cls(samples, 0 if first else layout.header_bytes, layout.sample_bytes)


class Decoder:
    """Decodes runs of one format; threads may share it."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

    def decode(self, data: memoryview, path: str, run: Run) -> int:
        """Make the arrays of a run and drop them; how many bytes they have.

        Args:
            data: The bytes of the run, with the file's edges where it has them.
            path: The file, for messages.
            run: Where the samples stand in `data`.

        Raises:
            BenchmarkError: the bytes are not what the format asks for.
        """
        try:
            return self._decode(data.toreadonly(), run)
        except Exception as error:
            raise undecodable(path, error) from error


def undecodable(path: str, error: Exception) -> BenchmarkError:
    """The error for a data file whose bytes are wrong, from what a library says of them."""
    return BenchmarkError(
        f"data file {path} cannot be decoded",
        why="its bytes are damaged or of another format: "
        f"{type(error).__name__}: {' '.join(str(error).split())}",
        fix="remove it, then run datagen again with the same arguments: it writes the file again",
    )


def decoder_of(format_name: str, samples_per_file: int) -> Decoder:
    """The decoder of files of this format that hold so many samples each.

    Raises:
        ConfigurationError: its library is missing.
    """
    from mlpstorage.engine.decoding import runs, whole

    require_decoder(format_name, samples_per_file)
    if samples_per_file == 1 and format_name in whole.DECODERS:
        return Decoder(whole.DECODERS[format_name])
    return Decoder(runs.DECODERS.get(format_name, runs.bare))


def require_decoder(format_name: str, samples_per_file: int) -> None:
    """Refuse, before a run begins, to decode a format whose library cannot be imported.

    Raises:
        ConfigurationError: it cannot.
    """
    if format_name not in _LIBRARIES or (format_name == "hdf5" and samples_per_file > 1):
        return
    module, project = _LIBRARIES[format_name]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"cannot decode {format_name} files: {error}",
            why=f"samples are decoded with {project}, as a data loader would",
            fix="pip install 'mlpstorage[decode]', or run without decoding",
        ) from error
