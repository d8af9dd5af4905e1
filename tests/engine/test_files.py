"""Direct reading is proved, and caches are dropped, on real files."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.files import drop_files, prove_direct, read_flags

if TYPE_CHECKING:
    from pathlib import Path


def test_buffers_are_page_aligned_and_whole_pages() -> None:
    """A buffer starts on a page and is at least as long as asked, in whole pages."""
    import numpy as np

    for length in (1, 4096, 100_000):
        buffer = aligned_buffer(length)
        assert np.frombuffer(buffer, np.uint8).ctypes.data % mmap.PAGESIZE == 0
        assert length <= len(buffer) < length + mmap.PAGESIZE
        assert not buffer.readonly


def test_a_direct_read_gives_the_bytes_of_the_file(tmp_path: Path) -> None:
    """The proof reads the first block, also of a file shorter than a block."""
    path = tmp_path / "data"
    path.write_bytes(b"x" * 1000)
    buffer = aligned_buffer(4096)
    try:
        os.close(os.open(path, read_flags(direct=True)))
    except OSError:
        pytest.skip("this filesystem refuses O_DIRECT")
    prove_direct(path, buffer)
    assert bytes(buffer[:1000]) == b"x" * 1000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Proof and drop both name the file that is not there."""
    with pytest.raises(BenchmarkError, match="gone is missing"):
        prove_direct(tmp_path / "gone", aligned_buffer(4096))
    with pytest.raises(BenchmarkError, match="gone is missing"):
        drop_files([tmp_path / "gone"])


def test_dropped_files_are_read_from_the_device_again(tmp_path: Path) -> None:
    """After a drop the kernel counts device reads for the file, where it counts them at all."""
    path = tmp_path / "data"
    path.write_bytes(os.urandom(1 << 22))
    if drop_files([path]) != 1 or not _device_bytes_of_reading(path):
        pytest.skip("device reads are not counted on this filesystem")
    assert _device_bytes_of_reading(path) == 0
    drop_files([path])
    assert _device_bytes_of_reading(path) >= 1 << 22


def _device_bytes_of_reading(path: Path) -> int:
    def counted() -> int:
        with open("/proc/self/io", encoding="ascii") as file:  # noqa: PTH123 (a counter)
            return int(dict(line.split(": ") for line in file)["read_bytes"])

    before = counted()
    path.read_bytes()
    return counted() - before
