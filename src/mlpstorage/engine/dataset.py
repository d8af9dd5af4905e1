"""What a training data set is: its specification, the sizes it implies, and its manifest on disk.

The manifest is the only source of counts and bytes; it is written last, so a folder that has one
holds a whole data set.
"""

from __future__ import annotations

import dataclasses  # noqa: F401 (for the examples)
import errno
import hashlib
import io
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.formats.parquet.schema import Table  # noqa: TC001 (msgspec looks it up)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import Format

MANIFEST_NAME = "mlpstorage-manifest.json"
SIZES_NAME = "mlpstorage-manifest.sizes.npy"
# Raise it when the same specification gives other bytes or sizes than before.
GENERATOR_VERSION = 1
MOST_FILES = 10**8
# Who writes data files; another producer's are read as well, but their sizes are their own.
NATIVE = "native"
_T = TypeVar("_T", bound=msgspec.Struct)


@dataclass(frozen=True)
class DatasetSpec:
    """Everything that decides the bytes of a data set; two equal specs are the same data.

    Args:
        model: The workload it is for.
        format: A name of `mlpstorage.engine.formats`.
        num_files: How many files.
        num_subfolders: Files are dealt to this many subfolders; 0 and 1 mean none.
        samples_per_file: How many samples each file holds.
        record_bytes: The mean payload of a sample.
        record_stdev_bytes: The standard deviation of the payload from file to file.
        seed: Decides sizes and payload.
        table: The schema of Parquet files, and of nothing else.

    Raises:
        ConfigurationError: a value is out of its range, or the format is unknown.
    """

    model: str
    format: str
    num_files: int
    num_subfolders: int
    samples_per_file: int
    record_bytes: int
    record_stdev_bytes: float
    seed: int
    table: Table | None = None

    def __post_init__(self) -> None:
        format_of(self.format, self.table)
        lowest = {
            "num_files": 1, "num_subfolders": 0, "samples_per_file": 1, "record_bytes": 1,
            "record_stdev_bytes": 0, "seed": 0,
        }  # fmt: skip
        for name, least in lowest.items():
            if not getattr(self, name) >= least:
                raise ConfigurationError(
                    f"{name} of {self.model} is {getattr(self, name)}",
                    fix=f"give {name} a value of at least {least}",
                )
        if self.num_files > MOST_FILES:
            raise ConfigurationError(
                f"num_files of {self.model} is {self.num_files}",
                fix=f"give num_files a value of at most {MOST_FILES}",
            )
        most = math.sqrt(2) * self.record_bytes
        if self.record_stdev_bytes > most:
            raise ConfigurationError(
                f"record_stdev_bytes of {self.model} is {self.record_stdev_bytes}",
                why="the square of a normal variable deviates by at most sqrt(2) times its mean",
                fix=f"give it a value of at most {most:.0f}",
            )

    @property
    def file_format(self) -> Format:
        """What knows how these files are laid out."""
        return format_of(self.format, self.table)

    def sample_bytes(self) -> NDArray[np.int64]:
        """The payload of one sample of every file: int64 of shape (num_files,), at least 1.

        Samples are square images of side d ~ Normal(mu, sigma), as in the reference engine. For
        x = d*d: E x = mu^2 + sigma^2 and Var x = 4 mu^2 sigma^2 + 2 sigma^4. With u = sigma^2 and
        the wanted mean m and deviation s, mu^2 = m - u gives s^2 = 4 m u - 2 u^2, whose root below
        m is u = m - sqrt(m^2 - s^2 / 2). So mean and deviation are met exactly (the reference's
        sigma = s / 2 sqrt(m) misses both a little), and s > sqrt(2) m is impossible.

        A longer data set of the same seed begins with the same sizes.

        >>> spec = DatasetSpec("unet3d", "npz", 3, 0, 1, 146_600_628, 68_341_808.0, seed=10)
        >>> longer = dataclasses.replace(spec, num_files=1000)
        >>> bool((longer.sample_bytes()[:3] == spec.sample_bytes()).all())
        True
        """
        mean, deviation = self.record_bytes, self.record_stdev_bytes
        if deviation == 0:
            return np.full(self.num_files, mean, np.int64)
        variance = mean - math.sqrt(mean**2 - deviation**2 / 2)
        generator = np.random.Generator(np.random.Philox(self.seed))
        side = generator.standard_normal(self.num_files)
        side *= math.sqrt(variance)
        side += math.sqrt(mean - variance)
        return np.maximum(np.rint(side * side), 1).astype(np.int64)

    def file_bytes(self) -> NDArray[np.int64]:
        """The exact size of every data file: int64 of shape (num_files,)."""
        return self.file_format.file_bytes(self.sample_bytes(), self.samples_per_file)

    def companion_bytes(self) -> int:
        """What the side files of one data file take; the same for every file."""
        samples = self.samples_per_file
        return sum(companion.file_bytes(samples) for companion in self.file_format.companions)

    def total_bytes(self, sizes: NDArray[np.int64]) -> int:
        """What data files of these sizes take together with their companions.

        >>> spec = DatasetSpec("m", "indexed_binary", 2, 0, 10, 100, 0.0, seed=10)
        >>> spec.total_bytes(spec.file_bytes())
        2320
        """
        return int(sizes.sum()) + len(sizes) * self.companion_bytes()

    def relative_path(self, index: int) -> str:
        """Where file `index` (from 0) lies in the data folder; DLIO's names.

        >>> spec = DatasetSpec("unet3d", "npz", 168, 12, 1, 1000, 0.0, seed=10)
        >>> spec.relative_path(7), dataclasses.replace(spec, num_subfolders=1).relative_path(7)
        ('train/07/img_007_of_168.npz', 'train/img_007_of_168.npz')
        """
        return self.namer("")(index)[1:]

    def namer(self, root: str) -> Callable[[int], str]:
        """The function from a file's index to its path below `root`, for the timed path.

        What all names have in common is made once: a name then costs a tenth of a microsecond.
        """
        digits = len(str(self.num_files))
        extension = self.file_format.extension
        name = f"img_%0{digits}d_of_{self.num_files}.{extension}"
        start, folders = root.replace("%", "%%") + "/train/", self.num_subfolders
        if folders <= 1:
            return (start + name).__mod__
        template = f"{start}%0{len(str(folders))}d/{name}"
        return lambda index: template % (index % folders, index)

    def subfolders(self) -> tuple[str, ...]:
        """Every folder that holds files, relative to the data folder."""
        return tuple(self._subfolder(index) for index in range(max(self.num_subfolders, 1)))

    def _subfolder(self, index: int) -> str:
        if self.num_subfolders <= 1:
            return "train"
        digits = len(str(self.num_subfolders))
        return f"train/{index % self.num_subfolders:0{digits}d}"


class SpecRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A `DatasetSpec` as it stands in a file."""

    model: str
    format: str
    num_files: int
    num_subfolders: int
    samples_per_file: int
    record_bytes: int
    record_stdev_bytes: float
    seed: int
    table: Table | None = None

    @classmethod
    def of(cls, spec: DatasetSpec) -> SpecRecord:
        """The record of a spec; equal specs have equal records, byte for byte in JSON."""
        values = dict(vars(spec))
        values["record_stdev_bytes"] = float(spec.record_stdev_bytes)
        return cls(**values)

    def spec(self) -> DatasetSpec:
        """The spec, checked again."""
        return DatasetSpec(**msgspec.structs.asdict(self))


class _Versioned(msgspec.Struct, frozen=True):
    """What every generator's manifest has; later ones may have more fields than this one knows."""

    generator_version: int


class _ManifestRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    generator_version: int
    created: str
    spec: SpecRecord
    file_bytes: int | None
    total_bytes: int
    digest: str
    producer: str = NATIVE


# Two manifests are the same if their digests are; comparing arrays would give an array.
@dataclass(frozen=True, eq=False)
class Manifest:
    """What a data folder holds, to the byte.

    Args:
        spec: What was generated.
        file_bytes: The size of every data file: int64 of shape (num_files,), read-only.
        total_bytes: Their sum, and what their companions take.
        created: When the data set was finished, ISO 8601.
        generator_version: Which generator wrote it.
        digest: SHA-256 over the spec, the generator's version and the sizes, in hexadecimal.
        producer: Who wrote the data files.
    """

    spec: DatasetSpec
    file_bytes: NDArray[np.int64]
    total_bytes: int
    created: str
    generator_version: int
    digest: str
    producer: str = NATIVE

    @classmethod
    def of(
        cls,
        spec: DatasetSpec,
        created: str,
        found: NDArray[np.int64] | None = None,
        *,
        producer: str = NATIVE,
    ) -> Manifest:
        """The manifest that a complete data set of this spec has.

        Args:
            spec: What was generated.
            created: See the class.
            found: The sizes that the data files have, where another program wrote them.
            producer: See the class.
        """
        sizes = spec.file_bytes() if found is None else found
        sizes.flags.writeable = False
        digest = _digest(SpecRecord.of(spec), GENERATOR_VERSION, sizes)
        total = spec.total_bytes(sizes)
        return cls(spec, sizes, total, created, GENERATOR_VERSION, digest, producer)

    def save(self, folder: Path) -> None:
        """Write it into the data folder, whole or not at all: the sizes first, the JSON last."""
        uniform = _uniform(self.file_bytes)
        if uniform is None:
            write_whole(folder / SIZES_NAME, _npy(self.file_bytes))
        record = _ManifestRecord(
            self.generator_version, self.created, SpecRecord.of(self.spec), uniform,
            self.total_bytes, self.digest, self.producer,
        )  # fmt: skip
        write_whole(folder / MANIFEST_NAME, encode(record))

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """The manifest of a data folder; sizes that differ stay on disk, mapped into memory.

        Raises:
            NotFoundError: the folder has no manifest.
            AccessError: it may not be read.
            ConfigurationError: it is corrupt, of another generator, or lacks its sizes.
        """
        path = folder / MANIFEST_NAME
        missing = f"{folder} holds no finished data set: it has no {MANIFEST_NAME}"
        fix = f"generate it: mlpstorage training datagen with the data directory of {folder}"
        version = decode(path, _Versioned, missing=missing, fix=fix).generator_version
        if version != GENERATOR_VERSION:
            raise ConfigurationError(
                f"{path} is of data generator {version}, not {GENERATOR_VERSION}",
                why="another generator gives other bytes for the same data set",
                fix="generate the data set again with this version: training datagen --force",
            )
        record = decode(path, _ManifestRecord, missing=missing, fix=fix)
        spec = record.spec.spec()
        sizes = _sizes_of(record, folder)
        digest = _digest(record.spec, record.generator_version, sizes)
        if digest != record.digest or spec.total_bytes(sizes) != record.total_bytes:
            raise _corrupt(path, "its digest does not match its contents")
        return cls(
            spec, sizes, record.total_bytes, record.created, record.generator_version, digest,
            record.producer,
        )  # fmt: skip


def encode(record: msgspec.Struct) -> bytes:
    """A record as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode(path: Path, record: type[_T], *, missing: str, fix: str) -> _T:
    """The strictly decoded JSON file; `missing` and `fix` are said when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=record)
    except FileNotFoundError as error:
        raise NotFoundError(missing, fix=fix) from error
    except msgspec.MsgspecError as error:
        raise _corrupt(path, str(error)) from error
    except OSError as error:
        denied = error.errno in {errno.EACCES, errno.EPERM}
        kind = AccessError if denied else ConfigurationError
        raise kind(
            f"cannot read {path}: {error.strerror}", fix="check the data directory"
        ) from error


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a small file so that a reader or a crash sees all of it or the old one."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sizes_of(record: _ManifestRecord, folder: Path) -> NDArray[np.int64]:
    count = record.spec.num_files
    if record.file_bytes is not None:
        return np.broadcast_to(np.int64(record.file_bytes), (count,))
    path = folder / SIZES_NAME
    try:
        sizes: NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise _corrupt(folder / MANIFEST_NAME, f"its sizes are missing: {path}") from error
    except OSError as error:
        raise AccessError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, EOFError) as error:
        raise _corrupt(path, str(error)) from error
    if sizes.dtype != np.int64 or sizes.shape != (count,):
        raise _corrupt(path, f"it holds {sizes.dtype} of shape {sizes.shape}, not {count} sizes")
    return sizes


def _uniform(sizes: NDArray[np.int64]) -> int | None:
    """The one size that all files have, or None."""
    return int(sizes[0]) if bool((sizes == sizes[0]).all()) else None


def _npy(sizes: NDArray[np.int64]) -> memoryview:
    stream = io.BytesIO()
    np.save(stream, sizes)
    return stream.getbuffer()


def _digest(spec: SpecRecord, version: int, sizes: NDArray[np.int64]) -> str:
    """The SHA-256 of the canonical spec and version, and the sizes as little-endian int64."""
    digest = hashlib.sha256(msgspec.json.encode([version, spec]))
    for start in range(0, len(sizes), 1 << 16):
        digest.update(sizes[start : start + (1 << 16)].astype("<i8").tobytes())
    return digest.hexdigest()


def _corrupt(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a usable description of a data set",
        why=why,
        fix="restore it, or generate the data set again: training datagen --force",
    )
