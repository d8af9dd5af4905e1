"""Reads one rank's files of one checkpoint back, and shows that they are what was written."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from mlpstorage.engine.checkpoint.failures import read_failure, wrong_length
from mlpstorage.engine.checkpoint.lanes import Blocks, Lanes
from mlpstorage.engine.checkpoint.stamps import SECTOR_BYTES
from mlpstorage.engine.files import read_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlpstorage.engine.checkpoint.lanes import Block, Buffers, Shard
    from mlpstorage.engine.checkpoint.stamps import Mismatch, StampedBuffer

Check = Literal["off", "stamps", "full"]
# Of the sectors of a block, one whose bytes are compared with their checksum too: spread by a
# multiplier that is odd, so that all sectors have their turn.
_SPREAD = 2_654_435_761


@dataclass(frozen=True)
class ReadBack:
    """What one rank read, how long it took, and what was not as it was written.

    `seconds` runs from before the first file is opened until the last is closed; verifying the last
    blocks comes after it. The other times are summed over the threads. `mismatches` counts the
    blocks that differ; the first is named.
    """

    bytes: int
    files: int
    seconds: float
    open_seconds: float
    read_seconds: float
    close_seconds: float
    verify_seconds: float
    sectors_verified: int
    payloads_verified: int
    mismatches: int
    first_file: str
    first_offset: int
    first_what: str


def read_shards(
    folder: Path,
    shards: Sequence[Shard],
    buffers: Buffers,
    *,
    depth: int,
    direct: bool,
    seed: int,
    check: Check = "stamps",
    watch: Callable[[int], None] = lambda _bytes: None,
) -> ReadBack:
    """Read files whole.

    Args:
        folder: The checkpoint's folder.
        shards: The files, with the stamps they must have.
        buffers: What is read into, again and again.
        depth: How many threads are in a read call at a time.
        direct: Whether to bypass the page cache.
        seed: The seed of the run that wrote them.
        check: `stamps` compares all stamps, and one checksum per block; `full` every checksum.
        watch: Called about once a second with the bytes read so far.

    Raises:
        MlpstorageError: a file is missing, cannot be read, or has another length.
    """
    return _Reading(folder, shards, buffers, depth, direct=direct, seed=seed, check=check).run(
        watch
    )


class _Reading:
    """The files of one rank while they are read."""

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        buffers: Buffers,
        depth: int,
        *,
        direct: bool,
        seed: int,
        check: Check,
    ) -> None:
        self._shards = shards
        self._direct = direct
        self._seed = seed
        self._check = check
        self._paths = [folder / shard.name for shard in shards]
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self._close_seconds = self._verify_seconds = 0.0
        self._sectors = self._payloads = self._mismatches = 0
        self._first: tuple[int, Mismatch] | None = None
        self._ended = 0.0
        self._block_bytes = buffers.block_bytes
        self._lanes = Lanes(
            Blocks([shard.bytes for shard in shards], buffers.block_bytes), buffers.all, depth
        )

    def run(self, watch: Callable[[int], None]) -> ReadBack:
        began = time.perf_counter()
        try:
            self._open_all()
            opened = time.perf_counter()
            self._lanes.run(self._block, watch)
        finally:
            self._close_rest()
        file, first = self._first or (0, None)
        return ReadBack(
            bytes=sum(shard.bytes for shard in self._shards),
            files=len(self._shards),
            seconds=max(self._ended, opened) - began,
            open_seconds=opened - began,
            read_seconds=self._lanes.busy_seconds,
            close_seconds=self._close_seconds,
            verify_seconds=self._verify_seconds,
            sectors_verified=self._sectors,
            payloads_verified=self._payloads,
            mismatches=self._mismatches,
            first_file=str(self._paths[file]) if first else "",
            first_offset=first.offset if first else 0,
            first_what=first.what if first else "",
        )

    def _open_all(self) -> None:
        for file, (path, shard) in enumerate(zip(self._paths, self._shards, strict=True)):
            try:
                self._open[file] = os.open(path, read_flags(direct=self._direct))
                length = os.fstat(self._open[file]).st_size
            except OSError as error:
                raise read_failure(error, path, direct=self._direct) from error
            if length != shard.bytes:
                raise wrong_length(path, length, shard.bytes)

    def _block(self, lanes: Lanes, buffer: StampedBuffer, block: Block) -> None:
        """Read one block, close its file after the last, then verify what came."""
        path, data = self._paths[block.file], buffer.view[: block.length]
        try:
            read = partial(self._read_all, self._open[block.file], data, block, path)
            lanes.io(read, block.length)
            if lanes.last_of_file(block.file):
                self._close(block.file)
        except OSError as error:
            raise read_failure(error, path, direct=self._direct) from error
        if self._check != "off":
            self._verify(buffer, block)

    def _read_all(self, descriptor: int, data: memoryview, block: Block, path: Path) -> None:
        done = os.preadv(descriptor, [data], block.offset)
        while done < len(data):
            got = os.preadv(descriptor, [data[done:]], block.offset + done)
            if not got:
                raise wrong_length(path, block.offset + done, self._shards[block.file].bytes)
            done += got

    def _close(self, file: int) -> None:
        began = time.perf_counter()
        os.close(self._open.pop(file))
        ended = time.perf_counter()
        with self._lock:
            self._close_seconds += ended - began
            self._ended = max(self._ended, ended)

    def _verify(self, buffer: StampedBuffer, block: Block) -> None:
        began = time.perf_counter()
        shard = self._shards[block.file]
        sectors = block.length // SECTOR_BYTES
        found = buffer.check(self._seed, shard.ident, block.offset, block.length)
        chosen = range(sectors)
        if self._check == "stamps":
            one = (block.offset // self._block_bytes + shard.ident) * _SPREAD % sectors
            chosen = range(one, one + 1)
        found = found or buffer.check_payload(chosen, block.offset)
        took = time.perf_counter() - began
        with self._lock:
            self._verify_seconds += took
            self._sectors += sectors
            self._payloads += len(chosen)
            if found:
                self._mismatches += 1
                self._first = min(
                    self._first or (block.file, found),
                    (block.file, found),
                    key=lambda at: (at[0], at[1].offset),
                )

    def _close_rest(self) -> None:
        for descriptor in self._open.values():
            with contextlib.suppress(OSError):  # only read from: nothing can be lost
                os.close(descriptor)
        self._open.clear()
