"""What the operating system refuses of checkpoint files, as errors that name file and remedy."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    NotFoundError,
)
from mlpstorage.engine.files import free_space

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.errors import MlpstorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def write_failure(error: OSError, path: Path, *, direct: bool) -> MlpstorageError:
    """The error for a checkpoint file or folder that could not be written."""
    what = f"cannot write {path}: {os.strerror(error.errno or 0)}"
    if error.errno in _FULL:
        folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 (never raises)
        return BenchmarkError(
            what,
            why=f"the file system or the quota there is full ({free_space(folder)} free)",
            fix="free space there, write fewer checkpoints (--num-checkpoints-write), or choose "
            "another --checkpoint-folder",
        )
    if error.errno in _DENIED:
        return AccessError(
            what,
            why="checkpoints are written there",
            fix="make it writable for this user, or choose another --checkpoint-folder",
        )
    if error.errno == errno.EINVAL and direct:
        return _refuses_direct(path)
    return BenchmarkError(
        what, why="the storage failed", fix="see the kernel's log (dmesg) of this host"
    )


def read_failure(error: OSError, path: Path, *, direct: bool) -> MlpstorageError:
    """The error for a checkpoint file that could not be read."""
    what = f"cannot read {path}: {os.strerror(error.errno or 0)}"
    if error.errno == errno.ENOENT:
        return NotFoundError(
            f"checkpoint file {path} is missing",
            why="the record of its folder says that it was written",
            fix="write the checkpoints again, or mount the same storage on every host",
        )
    if error.errno in _DENIED:
        return AccessError(what, fix="make it readable for this user")
    if error.errno == errno.EINVAL and direct:
        return _refuses_direct(path)
    return BenchmarkError(
        what, why="the storage failed", fix="see the kernel's log (dmesg) of this host"
    )


def wrong_length(path: Path, length: int, expected: int) -> BenchmarkError:
    """The error for a checkpoint file that is not as long as it was written."""
    how = "truncated" if length < expected else "too long"
    return BenchmarkError(
        f"checkpoint file {path} is {how}: it has {length} of {expected} bytes",
        why="every byte that was written must come back",
        fix="find out what changed it, then write the checkpoints again",
    )


def _refuses_direct(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"the filesystem of {path} refuses O_DIRECT",
        why="checkpoint.odirect=true asks for I/O that bypasses the page cache",
        fix="leave checkpoint.odirect out, or choose a --checkpoint-folder with direct I/O",
    )
