"""Page-aligned buffers, allocated once and faulted in before any clock starts."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

# Of a transparent huge page on x86 and on ARM with 4 KiB pages.
HUGE_PAGE_BYTES = 2 << 20


def aligned_buffer(length: int) -> memoryview:
    """A writable view of at least `length` bytes at a page's start, each page already in memory.

    The length is rounded up to whole pages, so that a direct read of a file's tail fits.

    It lies in huge pages where the kernel has them. A direct read of 1 MiB into small pages pins
    256 of them, and is split when the device takes fewer segments; into a huge page it is one.
    """
    page = mmap.PAGESIZE
    size = max(page, -(-length // page) * page)
    room = -(-size // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    area = mmap.mmap(-1, room + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Refused where the kernel was built without; small pages serve as well, only slower.
    with contextlib.suppress(OSError):
        area.madvise(mmap.MADV_HUGEPAGE)
    skip = -int(np.frombuffer(area, np.uint8).ctypes.data) % HUGE_PAGE_BYTES
    view = memoryview(area)[skip : skip + size]
    for offset in range(0, size, page):
        view[offset] = 0
    return view
