"""What one rank does in a generation by DLIO."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.events import Progress
from mlpstorage.engine.counters import Counters
from mlpstorage.engine.dataset import SpecRecord  # noqa: TC001 (msgspec resolves it)
from mlpstorage.engine.dlio import session
from mlpstorage.engine.dlio.prepare import Settings, prepare
from mlpstorage.engine.generation import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

_PROGRESS_SECONDS = 1.0


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; `complete` says that nothing is left to do."""

    run_dir: str
    folder: str
    document: dict[str, Any]
    spec: SpecRecord
    complete: bool
    dlio_path: str = ""


class _Reporter:
    """Progress of this rank's share, at most once a second; told of files before they are made."""

    def __init__(self, comm: Comm, files: int, emit: Callable[[Event], None]) -> None:
        self._rank = comm.rank
        self._stopping = comm.stopping
        self._files = len(range(comm.rank, files, comm.size))
        self._emit = emit
        self._begun = 0
        self._report_at = 0.0
        self._wchar = Counters.now().wchar

    def file_begins(self) -> bool:
        """One more file is about to be made; whether to leave it and all others."""
        if self._stopping.heard():
            return True
        self._begun += 1
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + _PROGRESS_SECONDS
            self.report(self._begun - 1)
        return False

    @property
    def made(self) -> int:
        """How many files are whole once DLIO has returned."""
        return self._begun

    def report(self, done: int) -> None:
        """So many files are made."""
        written = Counters.now().wchar - self._wchar
        self._emit(Progress(self._rank, "generating", done, self._files, "files", written))


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Have DLIO generate its files, or some of them, then make this rank's share durable.

    Raises:
        MlpstorageError: DLIO failed, or the storage refuses.
    """
    wanted = msgspec.convert(argument, Argument)
    spec, folder = wanted.spec.spec(), Path(wanted.folder)
    share = [folder / spec.relative_path(i) for i in range(comm.rank, spec.num_files, comm.size)]
    if wanted.complete:
        return _answer(0, 0, len(share), 0.0, ())
    with (
        session.output_folder(Path(wanted.run_dir), wanted.document, comm) as output,
        session.scratch_folder(output) as scratch,
    ):
        modifications = prepare(
            Settings(
                path=wanted.dlio_path,
                scratch=str(scratch),
                table=spec.table,
                records=spec.format == "tfrecord",
            )
        )
        from mlpstorage.engine.dlio.watch import follow_generation

        reporter = _Reporter(comm, spec.num_files, emit)
        follow_generation(reporter.file_begins)
        began = time.perf_counter()
        session.call(output)
        made = reporter.made if comm.stopping.stopped else len(share)
        written = _make_durable(share[:made], folder)
        reporter.report(made)
    modifications = (*modifications, "its files are made durable before they count as written")
    return _answer(written, made, 0, time.perf_counter() - began, modifications)


def _make_durable(share: list[Path], folder: Path) -> int:
    """Wait until the files are on storage; their bytes together."""
    total = 0
    for path in share:
        with storage_errors(folder, path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                total += os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
    return total


def _answer(
    written: int, made: int, kept: int, seconds: float, modifications: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "bytes_written": written,
        "files_written": made,
        "files_kept": kept,
        "seconds": seconds,
        "modifications": modifications,
    }
