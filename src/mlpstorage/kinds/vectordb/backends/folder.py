"""What embedded backends do alike with a collection's folder: empty it, keep a record, size it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.generation import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

_RECORD_NAME = "collection.json"
# With less free space than this, a write that failed has failed for it.
_FULL_BYTES = 8 << 20


class CollectionFolder:
    """The folder of one collection, with the record that `Backend.keep` puts in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self) -> bytes | None:
        """The record; None if there is none."""
        path = self.path / _RECORD_NAME
        return path.read_bytes() if path.is_file() else None

    def keep(self, record: bytes) -> None:
        """Write the record whole."""
        with storage_errors(self.path):
            write_whole(self.path / _RECORD_NAME, record)

    def empty(self) -> None:
        """Make it, with nothing in it."""
        with storage_errors(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)

    def disk_bytes(self) -> int:
        """Allocated bytes of all files."""
        return sum(path.stat().st_blocks * 512 for path in self.path.rglob("*") if path.is_file())

    def failed(self, backend: str, told: str) -> BenchmarkError:
        """The error for a refusal of an engine, which may not say that a disk is full."""
        full = shutil.disk_usage(self.path).free < _FULL_BYTES
        return BenchmarkError(
            f"{backend} failed on {self.path}: {told}",
            why="the file system there is full" if full else "",
            fix="free space there, or choose another --storage-root; then run with --rebuild"
            if full
            else "see its message; --rebuild makes the collection anew",
        )
