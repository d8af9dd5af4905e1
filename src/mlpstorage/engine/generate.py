"""What one rank does to generate its share of a data set, resumable and safe against a crash.

A file is written under a temporary name, made durable, then renamed: a file with its final name and
its exact size is whole, and so are its companions, which come before it. See
`mlpstorage.engine.generation` for what comes before and after.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.engine.flusher import Flusher, WrittenFile
from mlpstorage.engine.generation import require_begun, storage_errors
from mlpstorage.engine.payload import Payload
from mlpstorage.engine.writeback import start_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlpstorage.engine.dataset import DatasetSpec

    OnProgress = Callable[[int, int, int], None]

# From 128 KiB to 1 MiB there was no difference: it fits the L2 cache.
BUFFER_BYTES = 1 << 20
# One large file was written 1.4 times as fast as without; 32 MiB gained less.
WRITEBACK_BYTES = 8 << 20


@dataclass(frozen=True)
class GeneratedShare:
    """What one rank did.

    Args:
        files_written: Files made now.
        files_kept: Files that an earlier, interrupted generation had finished.
        bytes_written: Bytes of the former.
        bytes_kept: Bytes of the latter.
        seconds: From the first file to the last rename.
        stalled_seconds: The part of it in which the storage kept the producer waiting for fsync.
    """

    files_written: int
    files_kept: int
    bytes_written: int
    bytes_kept: int
    seconds: float
    stalled_seconds: float


def generate_share(
    spec: DatasetSpec,
    folder: Path,
    rank: int,
    size: int,
    *,
    on_progress: OnProgress = lambda _done, _total, _bytes: None,
    progress_seconds: float = 0.5,
    flushers: int = 4,
    wants_stop: Callable[[], bool] = lambda: False,
) -> GeneratedShare:
    """Generate every file whose index is `rank` modulo `size`; keep those that are whole.

    Args:
        spec: The data set, as given to `begin_generation`.
        folder: The data folder.
        rank: This rank, from 0.
        size: How many ranks share the work; the bytes do not depend on it.
        on_progress: Called with files done, files total and bytes done of this rank, from the
            calling thread, about every `progress_seconds` and once at the end.
        progress_seconds: See there.
        flushers: How many files are made durable at a time.
        wants_stop: Asked before each file that is still to be made; the share ends early if so.

    Raises:
        NotFoundError: the generation was not begun in this folder, as seen from this host.
        AccessError: a folder cannot be written.
        BenchmarkError: the storage is full or failed; running again resumes.
    """
    require_begun(spec, folder)
    share = _Share(spec, folder, range(rank, spec.num_files, size), on_progress, progress_seconds)
    return share.generate(flushers, wants_stop)


class _Share:
    """The progress of one rank through its files."""

    def __init__(
        self,
        spec: DatasetSpec,
        folder: Path,
        indexes: range,
        on_progress: OnProgress,
        progress_seconds: float,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._indexes = indexes
        self._report = on_progress
        self._period = progress_seconds
        self._reported = time.perf_counter()
        self._format = spec.file_format
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._written = self._kept = self._bytes_written = self._bytes_kept = 0

    def generate(self, flushers: int, wants_stop: Callable[[], bool]) -> GeneratedShare:
        start = time.perf_counter()
        records, sizes = self._spec.sample_bytes(), self._spec.file_bytes()
        with Flusher(threads=flushers, queued=flushers) as flusher:
            for index in self._indexes:
                path = self._folder / self._spec.relative_path(index)
                kept = self._whole_bytes(path, int(sizes[index]))
                if kept is not None:
                    self._kept += 1
                    self._bytes_kept += kept
                elif wants_stop():
                    break
                else:
                    flusher.submit(self._write(index, path, int(records[index])))
                    self._written += 1
                    _raise(flusher, self._folder)
                self._progress()
        _raise(flusher, self._folder)
        self._progress(last=True)
        return GeneratedShare(
            self._written, self._kept, self._bytes_written, self._bytes_kept,
            time.perf_counter() - start, flusher.stalled_seconds,
        )  # fmt: skip

    def _whole_bytes(self, path: Path, size: int) -> int | None:
        """The bytes of a file and its companions if they are all whole."""
        found = _size_of(path)
        if found != size:
            return None
        for companion in self._format.companions:
            wanted = companion.file_bytes(self._spec.samples_per_file)
            if _size_of(path.with_name(companion.name_of(path.name))) != wanted:
                return None
            found += wanted
        return found

    def _write(self, index: int, path: Path, record_bytes: int) -> WrittenFile:
        samples, buffer = self._spec.samples_per_file, self._buffer
        companions: list[WrittenFile] = []
        try:
            for companion in self._format.companions:
                pieces = companion.pieces(record_bytes, samples, buffer)
                beside = path.with_name(companion.name_of(path.name))
                companions.append(self._make(beside, pieces))
            payload = Payload(self._spec.seed, index)
            pieces = self._format.pieces(record_bytes, samples, payload, buffer)
            return self._make(path, pieces, tuple(companions))
        except BaseException:
            for made in companions:
                made.discard()
            raise

    def _make(
        self,
        path: Path,
        pieces: Iterator[tuple[int, memoryview]],
        companions: tuple[WrittenFile, ...] = (),
    ) -> WrittenFile:
        temporary = path.with_name(f".{path.name}.part")
        with storage_errors(self._folder, path):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                self._write_pieces(descriptor, pieces)
            except BaseException:
                os.close(descriptor)
                temporary.unlink(missing_ok=True)
                raise
        return WrittenFile(descriptor, temporary, path, companions)

    def _write_pieces(self, descriptor: int, pieces: Iterator[tuple[int, memoryview]]) -> None:
        size = started = 0
        for offset, piece in pieces:
            done = 0
            while done < len(piece):
                done += os.pwrite(descriptor, piece[done:], offset + done)
            # A header that is mended at the end adds nothing.
            grown = max(offset + done - size, 0)
            size += grown
            self._bytes_written += grown
            if size - started >= WRITEBACK_BYTES:
                start_writeback(descriptor, started, size - started)
                started = size
            self._progress()

    def _progress(self, *, last: bool = False) -> None:
        now = time.perf_counter()
        if last or now - self._reported >= self._period:
            self._reported = now
            done = self._written + self._kept
            self._report(done, len(self._indexes), self._bytes_written + self._bytes_kept)


def _size_of(path: Path) -> int | None:
    """The size of a regular file, None if there is none."""
    try:
        status = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _raise(flusher: Flusher, folder: Path) -> None:
    if flusher.failure is not None:
        path, error = flusher.failure
        with storage_errors(folder, path):
            raise error
