"""What frames the ranks' work: beginning a generation, and finishing it with the manifest.

begin_generation   creates the folders, refuses what must not be mixed, checks the free space
generate_share     each rank (mlpstorage.engine.generate)
finish_generation  checks every file, writes the manifest, clears up
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    NotFoundError,
)
from mlpstorage.core.units import format_bytes
from mlpstorage.engine.dataset import (
    MANIFEST_NAME,
    NATIVE,
    SIZES_NAME,
    Manifest,
    SpecRecord,
    decode,
    encode,
    sync_folder,
    write_whole,
)
from mlpstorage.engine.files import free_space
from mlpstorage.engine.formats import COMPANION_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.core.errors import MlpstorageError
    from mlpstorage.engine.dataset import DatasetSpec

BEGUN_NAME = "mlpstorage-datagen.json"
# The same of a generation by DLIO, which cannot be resumed: which data set its files are of.
BEGUN_BY_DLIO_NAME = "mlpstorage-datagen-dlio.json"
# In the place of the size of a file that is not there.
_ABSENT = -1
_COMPANION = "|".join(map(re.escape, COMPANION_SUFFIXES))
_DATA_FILE = re.compile(rf"img_(?P<index>\d+)_of_\d+\.\w+(?P<companion>{_COMPANION}|)")
_PART_FILE = re.compile(rf"\.img_\d+_of_\d+\.\w+(?:{_COMPANION}|)\.part")


def begin_generation(spec: DatasetSpec, folder: Path, *, force: bool = False) -> bool:
    """Prepare a data folder for the ranks; whether the data set is already complete.

    A generation of the same spec that was interrupted is resumed; a finished one that has lost
    files is mended. With `force`, data files of any earlier data set are removed first.

    Raises:
        ConfigurationError: the folder holds another data set, or too little space is free.
        AccessError: the folder cannot be written.
    """
    with storage_errors(folder):
        for name in spec.subfolders():
            (folder / name).mkdir(parents=True, exist_ok=True)
        if force:
            _clear(folder)
        held = None if force else _held(spec, folder)
        _remove_parts(folder)
        found = _found(spec, folder)
        present = found == spec.file_bytes()
        if present.all() and held is not None:
            (folder / BEGUN_NAME).unlink(missing_ok=True)
            return True
        missing = int((~present).sum())
        _require_space(
            folder,
            spec.total_bytes(spec.file_bytes()[~present]),
            missing * (1 + len(spec.file_format.companions)),
        )
        write_whole(folder / BEGUN_NAME, encode(SpecRecord.of(spec)))
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
    return False


def require_begun(spec: DatasetSpec, folder: Path) -> None:
    """Check from a rank that this host sees the folder that `begin_generation` prepared.

    Raises:
        NotFoundError: it does not.
        ConfigurationError: the folder is being generated with another spec.
    """
    begun = decode(
        folder / BEGUN_NAME,
        SpecRecord,
        missing=f"{folder} was not prepared for data generation: it has no {BEGUN_NAME} here",
        fix="mount the same storage at the same path on every host",
    ).spec()
    if begun != spec:
        raise _other(folder, begun, spec)


def finish_generation(spec: DatasetSpec, folder: Path, created: str) -> Manifest:
    """Check that every file has its size, write the manifest, and remove what only helped.

    Args:
        spec: The data set, as given to `begin_generation`.
        folder: The data folder.
        created: The time to record, ISO 8601.

    Raises:
        BenchmarkError: a file is missing or has another size.
        AccessError: the folder cannot be written.
    """
    with storage_errors(folder):
        manifest = Manifest.of(spec, created)
        for index in np.flatnonzero(_found(spec, folder) != manifest.file_bytes):
            path = folder / spec.relative_path(int(index))
            _require_file(path, int(manifest.file_bytes[index]))
            for companion in spec.file_format.companions:
                size = companion.file_bytes(spec.samples_per_file)
                _require_file(path.with_name(companion.name_of(path.name)), size)
        _remove_parts(folder)
        for name in spec.subfolders():
            sync_folder(folder / name)
        manifest.save(folder)
        (folder / BEGUN_NAME).unlink(missing_ok=True)
    return manifest


def begin_foreign(spec: DatasetSpec, folder: Path, producer: str, *, force: bool = False) -> bool:
    """Prepare a data folder for another program's generator; whether the data set is complete.

    Such a generator begins anew each time, so what an interrupted one left is refused like any
    files that no manifest describes.

    Raises:
        ConfigurationError: the folder holds another data set, or too little space is free.
        AccessError: the folder cannot be written.
    """
    with storage_errors(folder):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        if force:
            _clear(folder)
        held = None if force else _held(spec, folder, producer)
        if held is not None and np.array_equal(_found(spec, folder), held.file_bytes):
            return True
        sizes = spec.file_bytes()
        _require_space(folder, spec.total_bytes(sizes), len(sizes))
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
    return False


def finish_foreign(spec: DatasetSpec, folder: Path, created: str, producer: str) -> Manifest:
    """Write the manifest of files that another program made, with the sizes that they have.

    Raises:
        BenchmarkError: a file is missing.
        AccessError: the folder cannot be written.
    """
    with storage_errors(folder):
        found = _found(spec, folder)
        for index in np.flatnonzero(found == _ABSENT):
            found[index] = _require_file(folder / spec.relative_path(int(index)))
        manifest = Manifest.of(spec, created, found, producer=producer)
        for name in spec.subfolders():
            sync_folder(folder / name)
        manifest.save(folder)
    return manifest


@contextlib.contextmanager
def storage_errors(folder: Path, path: Path | None = None) -> Iterator[None]:
    """Turn the operating system's refusals into errors that name the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise _explained(error, folder, path) from error


def _explained(error: OSError, folder: Path, path: Path | None) -> MlpstorageError:
    where = path or error.filename or folder
    what = f"cannot write {where}: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BenchmarkError(
            what,
            why=f"the file system or the quota of {folder} is full ({free_space(folder)} free)",
            fix="free space there, then give the same command again: it resumes",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return AccessError(
            what,
            why=f"the data set is generated in {folder}",
            fix=f"make {folder} writable for this user, or choose another --data-dir",
        )
    if error.errno == errno.ENOENT:
        return NotFoundError(what, fix="mount the same storage at the same path on every host")
    return BenchmarkError(
        what,
        why=f"the storage of {folder} failed",
        fix="see the kernel's log (dmesg) of this host, then give the same command again",
    )


def _held(spec: DatasetSpec, folder: Path, producer: str = NATIVE) -> Manifest | None:
    """The manifest of a folder that was finished, None if it is begun or empty.

    Only an empty folder, or one of the same spec, may be generated into.
    """
    manifest = Manifest.load(folder) if (folder / MANIFEST_NAME).exists() else None
    if manifest is not None:
        held = manifest.spec
    elif (folder / BEGUN_NAME).exists():
        held = decode(folder / BEGUN_NAME, SpecRecord, missing="", fix="").spec()
    else:
        stranger = next((entry for entry, _, _ in _data_files(folder)), None)
        if stranger is None:
            return None
        raise ConfigurationError(
            f"{folder} holds data files that no manifest describes, such as {stranger.path}",
            why="their contents are unknown and would be mixed with the new data set",
            fix="choose an empty folder, or add --force to replace them",
        )
    if held != spec:
        raise _other(folder, held, spec)
    if manifest is not None and manifest.producer != producer:
        raise ConfigurationError(
            f"{folder} holds a data set that {manifest.producer} wrote",
            why=f"files of {producer} would be mixed with them",
            fix="read it as it is, choose another folder, or add --force to replace it",
        )
    return manifest


def _other(folder: Path, held: DatasetSpec, wanted: DatasetSpec) -> ConfigurationError:
    old, new = vars(held), vars(wanted)
    changes = [f"{name} {old[name]}, not {new[name]}" for name in old if old[name] != new[name]]
    return ConfigurationError(
        f"{folder} holds another data set: {'; '.join(changes)}",
        why="files of two data sets would be mixed",
        fix="choose another folder, or add --force to replace the data set there",
    )


def _clear(folder: Path) -> None:
    """Remove what describes a data set, then its files; nothing that is named otherwise."""
    for name in (MANIFEST_NAME, SIZES_NAME, BEGUN_NAME, BEGUN_BY_DLIO_NAME):
        (folder / name).unlink(missing_ok=True)
    for entry, _, _ in _data_files(folder):
        Path(entry).unlink()


def _remove_parts(folder: Path) -> None:
    for entry in _entries(folder):
        if _PART_FILE.fullmatch(entry.name):
            Path(entry).unlink()


def _found(spec: DatasetSpec, folder: Path) -> NDArray[np.int64]:
    """The sizes of the data files: int64 of shape (num_files,), -1 where one or a companion lacks.

    Reads directories instead of asking for each name: far fewer calls on network file systems.
    """
    companions = {
        companion.suffix: companion.file_bytes(spec.samples_per_file)
        for companion in spec.file_format.companions
    }
    sizes = np.full(spec.num_files, _ABSENT, np.int64)
    whole = np.zeros(spec.num_files, np.int8)
    for entry, index, suffix in _data_files(folder):
        if index >= spec.num_files:
            continue
        if entry.path != str(folder / spec.relative_path(index)) + suffix:
            continue
        if entry.is_dir(follow_symlinks=False):
            raise ConfigurationError(
                f"{entry.path} is a directory where a data file belongs",
                fix="move it away, then give the same command again",
            )
        size = entry.stat(follow_symlinks=False).st_size
        if not suffix:
            sizes[index] = size
        elif companions.get(suffix) == size:
            whole[index] += 1
    sizes[whole < len(companions)] = _ABSENT
    return sizes


def _require_file(path: Path, size: int | None = None) -> int:
    """Look once more at a file that seems missing: opening it renews what a client has cached.

    Returns the size that it has, which must be `size` unless that is None.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"{path} is missing after generation",
            why="a data set is usable only as a whole",
            fix="give the same command again: it resumes",
        ) from error
    try:
        found = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size not in (None, found):
        raise BenchmarkError(
            f"{path} has {found} bytes after generation, not {size}",
            why="a data set is usable only as a whole",
            fix="give the same command again: it writes the file again",
        )
    return found


def _require_space(folder: Path, needed: int, files: int) -> None:
    """Refuse before the first byte what cannot end well."""
    stat = os.statvfs(folder)
    available = stat.f_bavail * stat.f_frsize
    # A file system without blocks (ramfs) does not know how much room there is.
    if stat.f_blocks and needed > available:
        raise ConfigurationError(
            f"{folder} has too little free space: {format_bytes(needed)} needed,"
            f" {format_bytes(available)} available, {format_bytes(needed - available)} short",
            fix="free space there, generate fewer files, or choose another --data-dir",
        )
    # Some file systems make inodes on demand and report none at all.
    if stat.f_files and files > stat.f_favail:
        raise ConfigurationError(
            f"{folder} has too few free inodes: {files} needed, {stat.f_favail} available,"
            f" {files - stat.f_favail} short",
            fix="remove files there, generate fewer, or choose another --data-dir",
        )


def _data_files(folder: Path) -> Iterator[tuple[os.DirEntry[str], int, str]]:
    """Every data file and companion: its entry, its index, and the companion's suffix or none."""
    for entry in _entries(folder):
        match = _DATA_FILE.fullmatch(entry.name)
        if match is not None:
            yield entry, int(match["index"]), match["companion"]


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in train and in its numbered subfolders."""
    with os.scandir(folder / "train") as entries:
        for entry in entries:
            if entry.is_dir() and entry.name.isdecimal():
                with os.scandir(entry) as inner:
                    yield from inner
            else:
                yield entry
