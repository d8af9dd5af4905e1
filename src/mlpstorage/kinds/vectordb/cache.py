"""Bringing the caches of a host into a state, and seeing that it is so."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.files import drop_files, drop_method, drop_system_cache

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def make_cold(files: Iterable[Path]) -> str:
    """Get a collection's files out of this host's page cache; how it was done.

    Pages that a live process has mapped stay, so whoever reads them must have closed them.

    Raises:
        MlpstorageError: a file cannot be read.
    """
    method = drop_method("auto")
    if method == "system":
        drop_system_cache()
    else:
        drop_files(files)
    return method


def resident_share(files: Iterable[Path]) -> float | None:
    """The share of files' bytes that this host's page cache holds, 0 to 1; None for no bytes."""
    resident = total = 0
    for path in files:
        size = path.stat().st_size
        if size:
            resident += _resident_pages(path, size)
            total += -(-size // mmap.PAGESIZE)
    return resident / total if total else None


def _resident_pages(path: Path, size: int) -> int:
    """Pages of a file in the page cache, by mincore; mapping it reads nothing.

    The kernel tells it only of files that this user could write (CVE-2019-5489): elsewhere all
    pages seem resident, so that nothing looks colder than it is.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        area = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    try:
        pages = -(-size // mmap.PAGESIZE)
        vector = np.zeros(pages, np.uint8)
        view = np.frombuffer(area, np.uint8)
        address, where = view.ctypes.data, vector.ctypes.data
        done = _LIBC.mincore(
            ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_void_p(where)
        )
        del view
        if done != 0:
            raise OSError(ctypes.get_errno(), f"mincore of {path}")
        return int((vector & 1).sum())
    finally:
        area.close()
