"""Asks the kernel to begin writing a range of a file, without waiting for it."""

from __future__ import annotations

import ctypes

_SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None)


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Begin to write dirty pages of a range, so that a later fsync finds little left.

    The kernel alone begins only after seconds, or when a tenth of the memory is dirty. It is a hint
    (sync_file_range, Linux): where it is not possible nothing happens, and errors of the storage
    are reported by the fsync that follows.
    """
    hint = getattr(_LIBC, "sync_file_range", None)
    if hint is not None:
        hint(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)
