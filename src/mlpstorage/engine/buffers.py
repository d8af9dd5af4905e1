"""Page-aligned buffers, allocated once and faulted in before any clock starts."""

from __future__ import annotations

import mmap


def aligned_buffer(length: int) -> memoryview:
    """A writable, page-aligned view of at least `length` bytes, each page already in memory.

    The length is rounded up to whole pages, so that a direct read of a file's tail fits.
    """
    page = mmap.PAGESIZE
    size = max(page, -(-length // page) * page)
    area = mmap.mmap(-1, size)
    view = memoryview(area)
    for offset in range(0, size, page):
        view[offset] = 0
    return view
