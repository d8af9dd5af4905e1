"""Reserves the blocks of a file before it is written."""

from __future__ import annotations

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
# Where it cannot be done, the file grows as it is written. EINVAL comes from some FUSE filesystems.
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def reserve(descriptor: int, length: int) -> bool:
    """Reserve `length` bytes and give the file that size; False where the filesystem cannot.

    Writes of several threads into one file then need not extend it one after the other, and a full
    filesystem is found before the first byte. The C library's posix_fallocate is not used: where
    the filesystem cannot, it writes to every block itself.

    Raises:
        OSError: there is no room, or the storage failed.
    """
    call = getattr(_LIBC, "fallocate", None)
    if call is None or not length:
        return False
    if call(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(length)) == 0:
        return True
    error = ctypes.get_errno()
    if error in _CANNOT:
        return False
    raise OSError(error, os.strerror(error))
