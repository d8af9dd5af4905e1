"""One program at a time in a folder: two would remove or write over each other's work."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from typing import TYPE_CHECKING

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    MlpstorageError,
)
from mlpstorage.core.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = ".mlpstorage.lock"
_HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class FolderLock:
    """A lock on a folder, held by the process that launches the ranks.

    The kernel frees it when the process ends, however it ends. Network file systems with
    flock (NFS, CephFS, GPFS, Lustre with `-o flock`) enforce it between hosts; where there is none,
    nothing is locked.

    Args:
        folder: What is locked.
        doing: What the holder does there, for the message.
        option: Which flag chooses the folder.
    """

    def __init__(self, folder: Path, doing: str, option: str) -> None:
        self._folder, self._doing, self._option = folder, doing, option
        self._path = folder / LOCK_NAME
        self._held: weakref.finalize[..., FolderLock] | None = None

    def acquire(self) -> None:
        """Take the lock, if it is not held by this object already; makes the folder.

        Raises:
            ConfigurationError: another process has it.
            AccessError, BenchmarkError: the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while self._held is None and self._take():
                pass
        except OSError as error:
            kind = AccessError if error.errno in _DENIED else BenchmarkError
            raise kind(
                f"cannot write {self._path}: {error.strerror}",
                why=f"only one process at a time may be {self._doing} there",
                fix=f"make the directory writable, or choose another {self._option}",
            ) from error

    def problems(self) -> list[Problem]:
        """Take the lock; what keeps it from being taken, to be listed with other problems."""
        try:
            self.acquire()
        except MlpstorageError as error:
            return [Problem.of(error)]
        return []

    def _take(self) -> bool:
        """Try to take the lock; False where the file system has none."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not self._lock(descriptor):
            os.close(descriptor)
            return False
        if self._is_current(descriptor):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode())
            self._held = weakref.finalize(self, _release, descriptor, self._path)
        else:  # its holder removed the file while we opened it: try the next one
            os.close(descriptor)
        return True

    def _lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return False
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ConfigurationError(
                f"{holder} is {self._doing} in {self._folder}",
                why="two programs in one folder would disturb each other",
                fix=f"wait until it has ended, or choose another {self._option}",
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
