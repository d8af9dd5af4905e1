"""Writes one rank's files of one checkpoint; they get their names when all of them are durable."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mlpstorage.engine.checkpoint.failures import write_failure
from mlpstorage.engine.checkpoint.lanes import Blocks, Lanes
from mlpstorage.engine.checkpoint.preallocation import reserve
from mlpstorage.engine.writeback import start_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlpstorage.engine.checkpoint.lanes import Block, Buffers, Shard
    from mlpstorage.engine.checkpoint.stamps import StampedBuffer


@dataclass(frozen=True)
class Written:
    """What one rank wrote, and how long it took.

    `seconds` runs from before the first file is opened until the names of all are durable. The
    other times are summed over the threads: opening (with reserving blocks), write calls, fsync of
    the files, closing, naming (rename and fsync of the folder), and stamping, which is this
    program's own work beside the I/O.
    """

    bytes: int
    files: int
    seconds: float
    open_seconds: float
    write_seconds: float
    fsync_seconds: float
    close_seconds: float
    name_seconds: float
    stamp_seconds: float


def write_shards(
    folder: Path,
    shards: Sequence[Shard],
    buffers: Buffers,
    *,
    depth: int,
    direct: bool,
    fsync: bool = True,
    watch: Callable[[int], None] = lambda _bytes: None,
) -> Written:
    """Write files into a folder, which is made if it is not there.

    Args:
        folder: The checkpoint's folder.
        shards: The files of this rank.
        buffers: Filled buffers; their stamps are changed.
        depth: How many threads are in a write call at a time.
        direct: Whether to bypass the page cache.
        fsync: Whether files and folder are made durable.
        watch: Called about once a second with the bytes written so far.

    Raises:
        MlpstorageError: a file or the folder cannot be written; none of the files has its name.
    """
    return _Writing(folder, shards, buffers, depth, direct=direct, fsync=fsync).run(watch)


class _Writing:
    """The files of one rank while they are written under temporary names."""

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        buffers: Buffers,
        depth: int,
        *,
        direct: bool,
        fsync: bool,
    ) -> None:
        self._folder = folder
        self._shards = shards
        self._direct = direct
        self._fsync = fsync
        self._paths = [folder / shard.name for shard in shards]
        self._parts = [path.with_name(f".{path.name}.part") for path in self._paths]
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        # A filesystem lets one buffered write at a time into a file; those that wait for it spin
        # in the kernel, so they wait here. Direct writes go side by side.
        self._turns = [nullcontext() if direct else threading.Lock() for _ in shards]
        self._fsync_seconds = self._close_seconds = self._stamp_seconds = 0.0
        self._lanes = Lanes(
            Blocks([shard.bytes for shard in shards], buffers.block_bytes), buffers.all, depth
        )

    def run(self, watch: Callable[[int], None]) -> Written:
        began = time.perf_counter()
        try:
            self._open_all()
            opened = time.perf_counter()
            self._lanes.run(self._block, watch)
            written = time.perf_counter()
            self._name_all()
            ended = time.perf_counter()
        except BaseException:
            self._discard()
            raise
        return Written(
            bytes=sum(shard.bytes for shard in self._shards),
            files=len(self._shards),
            seconds=ended - began,
            open_seconds=opened - began,
            write_seconds=self._lanes.busy_seconds,
            fsync_seconds=self._fsync_seconds,
            close_seconds=self._close_seconds,
            name_seconds=ended - written,
            stamp_seconds=self._stamp_seconds,
        )

    def _open_all(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        flags |= os.O_DIRECT if self._direct else 0
        path = self._folder
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file, shard in enumerate(self._shards):
                path = self._paths[file]
                self._open[file] = os.open(self._parts[file], flags, 0o666)
                reserve(self._open[file], shard.bytes)
        except OSError as error:
            raise write_failure(error, path, direct=self._direct) from error

    def _block(self, lanes: Lanes, buffer: StampedBuffer, block: Block) -> None:
        """Stamp and write one block; the last of a file also makes the file durable."""
        began = time.perf_counter()
        buffer.stamp(self._shards[block.file].ident, block.offset, block.length)
        stamped = time.perf_counter() - began
        descriptor = self._open[block.file]
        data = buffer.view[: block.length]
        try:
            with self._turns[block.file]:
                lanes.io(partial(_write_all, descriptor, data, block.offset), block.length)
            if not self._direct:
                start_writeback(descriptor, block.offset, block.length)
            synced, closed = self._settle(block.file) if lanes.last_of_file(block.file) else (0, 0)
        except OSError as error:
            path = self._paths[block.file]
            raise write_failure(error, path, direct=self._direct) from error
        with self._lock:
            self._stamp_seconds += stamped
            self._fsync_seconds += synced
            self._close_seconds += closed

    def _settle(self, file: int) -> tuple[float, float]:
        """Make a written file durable and close it; the seconds of both."""
        began = time.perf_counter()
        if self._fsync:
            os.fsync(self._open[file])
        synced = time.perf_counter()
        os.close(self._open.pop(file))
        return synced - began, time.perf_counter() - synced

    def _name_all(self) -> None:
        """Give the files their names, now that all their bytes are durable."""
        path = self._folder
        try:
            for part, path in zip(self._parts, self._paths, strict=True):
                part.rename(path)
            if self._fsync:
                path = self._folder
                _sync_folder(self._folder)
                _sync_folder(self._folder.parent)
        except OSError as error:
            raise write_failure(error, path, direct=self._direct) from error

    def _discard(self) -> None:
        """Leave nothing behind of files that did not come about."""
        for descriptor in self._open.values():
            with contextlib.suppress(OSError):  # the first failure is the one to tell
                os.close(descriptor)
        for part in self._parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
