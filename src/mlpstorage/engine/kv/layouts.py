"""How blocks lie on storage: what the executor knows of it, and the layouts there are.

    files   a file per block in two levels of directories, written under a temporary name and
            renamed, unlinked when deleted: what the cache connectors of inference servers do
    slab    a few preallocated files cut into slots of one block; deleting frees the slot and costs
            no I/O: what the stores with a log or an allocator of their own do

A place is the number by which a layout finds a block: its id for `files`, a slot for `slab`.
Places are known from the plan before the clock starts, so the timed path looks nothing up.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    NotFoundError,
)
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.files import DIRECT_ALIGNMENT, free_space, prove_direct

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.core.errors import MlpstorageError
    from mlpstorage.engine.kv.plan import KvPlan

LAYOUTS = ("files", "slab")


@dataclass(frozen=True)
class Places:
    """Where the operations of a plan find their blocks; arrays of the operations' length.

    Args:
        place: The place of each operation's block, uint64.
        freed_by: For a WRITE into a place that held another block: the DELETE that frees it, which
            must come first; otherwise -1; int64.
    """

    place: NDArray[np.uint64]
    freed_by: NDArray[np.int64]


class Layout(Protocol):
    """Where blocks are read, written and deleted; the calls of the timed path raise OSError.

    `read` and `write` are `os.preadv` and `os.pwritev` for real storage. Wrappers that inject
    faults replace them: see `mlpstorage.engine.kv.selftest`.
    """

    name: str
    root: Path
    block_bytes: int
    direct: bool

    def read(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Read into the views; how many bytes."""

    def write(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Write the views; how many bytes."""

    def assign(self, plan: KvPlan, resident: NDArray[np.uint64]) -> Places:
        """The places of a plan's operations, when the `resident` blocks are there before it.

        The resident blocks must stand in the order in which the plan that wrote them did.
        """

    def open(self, place: int) -> tuple[int, int]:
        """For reading: a descriptor, and where in it the block begins.

        Raises:
            FileNotFoundError: the block is not there.
        """

    def close(self, descriptor: int) -> None:
        """Give back what `open` gave."""

    def create(self, place: int) -> tuple[int, int]:
        """For writing: a descriptor, and where in it the block begins."""

    def commit(self, descriptor: int, place: int) -> None:
        """Make a written block visible, and give back what `create` gave."""

    def discard(self, descriptor: int, place: int) -> None:
        """Give up a block that was not written to its end."""

    def delete(self, place: int) -> None:
        """Remove a block.

        Raises:
            FileNotFoundError: the block is not there.
        """

    def path_of(self, place: int) -> str:
        """The file that holds the block."""

    def offset_of(self, place: int) -> int:
        """Where in its file the block begins."""

    def blocks(self) -> NDArray[np.uint64] | None:
        """The ids of the blocks that are there, unordered; None if the layout cannot tell."""

    def sync(self) -> None:
        """Return when everything written is on the device."""

    def shut(self) -> None:
        """Close long-lived descriptors; the blocks stay."""

    def remove(self) -> None:
        """Delete everything that the layout has made below its root."""


def make_layout(
    name: str,
    root: Path,
    block_bytes: int,
    *,
    blocks: int,
    direct: bool = True,
    durable: bool = False,
) -> Layout:
    """The layout of this name below a directory, which is made; what is there already is kept.

    Args:
        name: One of `LAYOUTS`.
        root: The directory, the rank's own or (`files` only) shared by all ranks.
        block_bytes: The size of a block, a multiple of 4096.
        blocks: The most blocks that are there at a time (see `schedule.most_blocks`); a slab is
            preallocated for them and a few more.
        direct: Read and write past the page cache. It is tried first; nothing falls back.
        durable: Make each block durable before it becomes visible. Inference servers do not.

    Raises:
        ConfigurationError: the filesystem refuses direct I/O.
        MlpstorageError: the directory cannot be made or written, or has too little room.
    """
    from mlpstorage.engine.kv.files_layout import FilesLayout
    from mlpstorage.engine.kv.slab_layout import SlabLayout

    if block_bytes <= 0 or block_bytes % DIRECT_ALIGNMENT:
        raise ConfigurationError(
            f"a block of {block_bytes} bytes is not a multiple of {DIRECT_ALIGNMENT}",
            why="blocks are read and written directly, in whole sectors",
        )
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    if direct:
        require_direct(root)
    if name == "files":
        return FilesLayout(root, block_bytes, direct=direct, durable=durable)
    if name == "slab":
        return SlabLayout(root, block_bytes, blocks=blocks, direct=direct, durable=durable)
    raise ConfigurationError(f"no layout {name!r}", fix=f"use one of: {', '.join(LAYOUTS)}")


def require_direct(root: Path) -> None:
    """Write and read one sector directly in a directory.

    Raises:
        ConfigurationError: the filesystem refuses it.
        MlpstorageError: the directory cannot be written.
    """
    probe = root / f".direct-io-{os.urandom(8).hex()}"  # process ids repeat from host to host
    buffer = aligned_buffer(DIRECT_ALIGNMENT)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_DIRECT
    try:
        with storage_errors(root, probe):
            descriptor = os.open(probe, flags, 0o666)
            try:
                os.pwritev(descriptor, [buffer[:DIRECT_ALIGNMENT]], 0)
            finally:
                os.close(descriptor)
        prove_direct(probe, buffer)
    except ConfigurationError as error:
        raise _refused(root) from error
    finally:
        probe.unlink(missing_ok=True)


def _refused(root: Path) -> ConfigurationError:
    return ConfigurationError(
        f"the filesystem of {root} refuses O_DIRECT",
        why="blocks are read and written past the page cache unless buffered I/O is asked for",
        fix="use buffered I/O (an OPEN run), or a directory on a filesystem with direct I/O",
    )


@contextmanager
def storage_errors(root: Path, path: Path | str | None = None) -> Iterator[None]:
    """Turn the operating system's refusals into errors that name the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise explained(error, root, path) from error


def explained(error: OSError, root: Path, path: Path | str | None = None) -> MlpstorageError:
    """The error for a block or directory that cannot be made, written, read or deleted."""
    what = f"{path or error.filename or root}: {os.strerror(error.errno or 0)}"
    if error.errno == errno.EINVAL:
        return _refused(root)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BenchmarkError(
            what,
            why=f"the file system or the quota of {root} is full ({free_space(root)} free)",
            fix="free space there, or use fewer blocks",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return AccessError(
            what,
            why=f"KV blocks are kept in {root}",
            fix=f"make {root} writable for this user, or choose another directory",
        )
    if error.errno == errno.ENOENT:
        return NotFoundError(what, fix="mount the same storage at the same path on every host")
    if error.errno == errno.EMFILE:
        return ConfigurationError(what, fix="allow more open files (ulimit -n)")
    return BenchmarkError(
        what,
        why=f"the storage of {root} failed",
        fix="see the kernel's log (dmesg) of this host",
    )
