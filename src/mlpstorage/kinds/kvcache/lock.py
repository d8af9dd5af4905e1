"""One run at a time in a cache directory: two would delete each other's blocks."""

from __future__ import annotations

import fcntl
import os
import weakref
from typing import TYPE_CHECKING

from mlpstorage.core.errors import AccessError, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = ".mlpstorage-kvcache.lock"


class CacheLock:
    """A lock on a cache directory, held by the process that launches the ranks.

    The kernel frees it when the process ends, however it ends; where the filesystem has no locks,
    nothing is locked.
    """

    def __init__(self) -> None:
        self._held: weakref.finalize[..., CacheLock] | None = None

    def acquire(self, folder: Path) -> None:
        """Take the lock of a directory, which is made.

        Raises:
            ConfigurationError: another run has it.
            AccessError: the directory cannot be made or written.
        """
        path = folder / LOCK_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise AccessError(
                f"cannot write {path}: {error.strerror}", fix="choose another --cache-dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConfigurationError(
                f"another run uses the cache in {folder}",
                why="two runs in one directory would delete each other's blocks",
                fix="wait until it has ended, or choose another --cache-dir",
            ) from error
        except OSError:  # no locks on this filesystem
            os.close(descriptor)
            return
        self._held = weakref.finalize(self, _release, descriptor, path)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._held is not None:
            self._held()
            self._held = None


def _release(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)
