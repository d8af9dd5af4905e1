"""A file per block: what the cache connectors of inference servers write."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.layouts import Places, storage_errors
from mlpstorage.engine.stamps import mixed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.plan import KvPlan

_DIGITS = "0123456789abcdef"
_BLOCK_FILE = re.compile(r"(?P<block>[0-9a-f]{16})\.kv")
_LIBC = ctypes.CDLL(None, use_errno=True)


class FilesLayout:
    """A file per block, in 16 × 16 directories chosen by a hash of the block's id.

    A block is written under a temporary name and renamed: whoever sees the name sees all of it.
    Ranks may share the directory. The place of a block is its id.

    Args:
        root: The directory; made, with all its directories, before the clock starts.
        block_bytes: The size of every file.
        direct: Open with O_DIRECT.
        durable: fdatasync each file before it is renamed, and fsync its directory afterwards.
    """

    name = "files"
    read = staticmethod(os.preadv)
    write = staticmethod(os.pwritev)
    close = staticmethod(os.close)

    def __init__(self, root: Path, block_bytes: int, *, direct: bool, durable: bool) -> None:
        self.root = root
        self.block_bytes = block_bytes
        self.direct = direct
        self._durable = durable
        self._base = str(root)
        # Process ids repeat from host to host, and names of hosts from container to container.
        self._writer = os.urandom(8).hex()
        flags = os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
        self._read_flags = os.O_RDONLY | flags
        self._write_flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags
        with storage_errors(root):
            for first, second in itertools.product(_DIGITS, _DIGITS):
                (root / first / second).mkdir(parents=True, exist_ok=True)

    def assign(self, plan: KvPlan, resident: NDArray[np.uint64]) -> Places:  # noqa: ARG002 (a protocol)
        """The block ids themselves; no place is ever used by two blocks."""
        return Places(plan.block, np.full(len(plan.block), -1, np.int64))

    def path_of(self, place: int) -> str:
        """The block's file."""
        mix = mixed(place)
        return f"{self._base}/{_DIGITS[mix & 15]}/{_DIGITS[mix >> 4 & 15]}/{place:016x}.kv"

    def offset_of(self, place: int) -> int:  # noqa: ARG002 (a protocol)
        """Every file is one block."""
        return 0

    def open(self, place: int) -> tuple[int, int]:
        """Open the block's file for reading."""
        return os.open(self.path_of(place), self._read_flags), 0

    def create(self, place: int) -> tuple[int, int]:
        """Make the block's file, under its temporary name."""
        return os.open(self._temporary(place), self._write_flags, 0o666), 0

    def commit(self, descriptor: int, place: int) -> None:
        """Close the block's file and give it its name."""
        temporary, path = self._temporary(place), self.path_of(place)
        try:
            try:
                if self._durable:
                    os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)  # noqa: PTH104 (no object per block)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                os.unlink(temporary)  # noqa: PTH108 (no object per block)
            raise
        if self._durable:
            _sync_folder(path.rpartition("/")[0])

    def discard(self, descriptor: int, place: int) -> None:
        """Close and remove the temporary file."""
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary(place))  # noqa: PTH108 (no object per block)

    def delete(self, place: int) -> None:
        """Unlink the block's file."""
        os.unlink(self.path_of(place))  # noqa: PTH108 (no object per block)

    def sync(self) -> None:
        """Write the whole filesystem out: files that were never synced are many, and closed."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _LIBC.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), self._base)
        finally:
            os.close(descriptor)

    def shut(self) -> None:
        """Nothing stays open."""

    def remove(self) -> None:
        """Delete the blocks, what is left of killed writers, and the directories."""
        for entry in list(self._entries()):
            if _BLOCK_FILE.fullmatch(entry.name) or entry.name.endswith(".part"):
                os.unlink(entry.path)  # noqa: PTH108 (no object per block)
        for first in _DIGITS:
            for second in _DIGITS:
                with contextlib.suppress(FileNotFoundError):
                    (self.root / first / second).rmdir()
            with contextlib.suppress(FileNotFoundError):
                (self.root / first).rmdir()

    def blocks(self) -> NDArray[np.uint64]:
        """The ids of the blocks that are there, by the names and sizes of the files; unordered."""
        found = [
            int(match["block"], 16)
            for entry in self._entries()
            if (match := _BLOCK_FILE.fullmatch(entry.name))
            and entry.stat().st_size == self.block_bytes
        ]
        return np.array(found, np.uint64)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for first, second in itertools.product(_DIGITS, _DIGITS):
            with (
                contextlib.suppress(FileNotFoundError),
                os.scandir(f"{self._base}/{first}/{second}") as entries,
            ):
                yield from entries

    def _temporary(self, place: int) -> str:
        """One per layout: ranks that write the same block do not write into each other's file."""
        return f"{self.path_of(place)}.{self._writer}.part"


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
