"""Opening files for buffered or direct reading, and getting them out of the page cache."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.core.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Every direct read starts and ends on this boundary; no storage in use asks for more.
DIRECT_ALIGNMENT = 4096
_DROP_CONTROL = "/proc/sys/vm/drop_caches"
_DROP_CLEAN_PAGES = "1\n"


def read_flags(*, direct: bool) -> int:
    """The flags of `os.open` for reading, buffered or direct."""
    return os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)


def prove_direct(path: Path, buffer: memoryview) -> None:
    """Read one block of a file directly; there is never a silent fall-back to buffered reading.

    Raises:
        ConfigurationError: the filesystem refuses O_DIRECT.
        BenchmarkError: the file cannot be read at all.
    """
    try:
        fd = os.open(path, read_flags(direct=True))
        try:
            os.preadv(fd, [buffer[:DIRECT_ALIGNMENT]], 0)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ConfigurationError(
                f"the filesystem of {path} refuses O_DIRECT",
                why="reader.odirect=true asks for reads that bypass the page cache",
                fix="set reader.odirect=false, or put the data on a filesystem with direct I/O",
            ) from error
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: OSError) -> BenchmarkError:
    """The error for a data file that cannot be opened or read."""
    missing = error.errno == errno.ENOENT
    return BenchmarkError(
        f"data file {path} is missing" if missing else f"cannot read {path}: {error.strerror}",
        why="the data set's manifest names it",
        fix="run datagen again with the same arguments: it writes what is missing",
    )


def truncated(path: Path | str, length: int, expected: int) -> BenchmarkError:
    """The error for a data file that ends before the bytes its manifest promises."""
    return BenchmarkError(
        f"data file {path} is truncated: it ends at {length} of {expected} bytes",
        why="the data set's manifest promises the full length",
        fix="run datagen again with the same arguments: it replaces the file",
    )


def free_space(path: Path) -> str:
    """How much room the filesystem of an existing path has for this user, for messages."""
    try:
        stat = os.statvfs(path)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return format_bytes(stat.f_bavail * stat.f_frsize)


def may_drop_system_cache() -> bool:
    """Whether this process may ask the kernel to drop all clean pages of the host."""
    return os.access(_DROP_CONTROL, os.W_OK)


def drop_method(asked: str) -> str:
    """How the page cache is emptied: as asked, and for `auto` the most that this user may."""
    if asked != "auto":
        return asked
    return "system" if may_drop_system_cache() else "files"


def drop_system_cache() -> None:
    """Write dirty pages out, then ask the kernel to drop all clean pages of this host.

    Raises:
        ConfigurationError: that is not allowed here.
    """
    os.sync()
    try:
        with open(_DROP_CONTROL, "w", encoding="ascii") as control:  # noqa: PTH123 (a control)
            control.write(_DROP_CLEAN_PAGES)
    except OSError as error:
        raise ConfigurationError(
            f"cannot drop the host's page cache: {error}",
            why="--drop-caches system was asked for",
            fix="run as root, or use --drop-caches files",
        ) from error


def drop_files(paths: Iterable[Path]) -> int:
    """Advise the kernel to drop the pages of each file; the number of files advised.

    Raises:
        BenchmarkError: a file is missing or unreadable.
    """
    count = 0
    for path in paths:
        try:
            fd = os.open(path, read_flags(direct=False))
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            # Dirty pages cannot be dropped: freshly generated data goes to the device first.
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        count += 1
    return count
