"""One generation at a time in a data folder: two would remove each other's unfinished files."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.generation import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = ".mlpstorage-datagen.lock"
_HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES})


class FolderLock:
    """A lock on a data folder, held by the process that launches a generation.

    The kernel frees it when the process ends, however it ends. Network file systems with
    flock (NFS, CephFS, GPFS, Lustre with `-o flock`) enforce it between hosts; where there is none,
    nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._held: weakref.finalize[..., FolderLock] | None = None

    def acquire(self) -> None:
        """Take the lock, if it is not held by this object already; the folder must exist.

        Raises:
            ConfigurationError: another process has it.
            AccessError, BenchmarkError: the folder cannot be written.
        """
        with storage_errors(self._folder, self._path):
            while self._held is None:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                if not self._lock(descriptor):
                    os.close(descriptor)
                    return
                if self._is_current(descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode())
                    self._held = weakref.finalize(self, _release, descriptor, self._path)
                else:  # its holder removed the file while we opened it: try the next one
                    os.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return False
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ConfigurationError(
                f"{holder} is generating data in {self._folder}",
                why="two generations in one folder would disturb each other",
                fix="wait until it has ended, or choose another --data-dir",
            ) from error
        return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._held is not None:
            self._held()
            self._held = None


def _release(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)
