"""What one rank does in a run by DLIO: it calls DLIO, follows it, and hands over what it measured.

The figures come from DLIO's own file of this rank; what the kernel counts comes from around it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.events import Progress
from mlpstorage.engine.counters import Counters, utc_now
from mlpstorage.engine.dataset import NATIVE, Manifest
from mlpstorage.engine.dlio import session
from mlpstorage.engine.dlio.prepare import Settings, prepare
from mlpstorage.engine.dlio.usage import Usage
from mlpstorage.engine.dlio.workers import usage_of_workers
from mlpstorage.kinds.training.cold import drop_data
from mlpstorage.kinds.training.record import EpochRecord
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

_PROGRESS_SECONDS = 1.0


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; `document` is DLIO's own workload file."""

    run_dir: str
    data_dir: str
    document: dict[str, Any]
    files: int
    epochs: int
    steps: int
    batch_size: int
    read_threads: int
    workers: int
    drop_caches: str
    dlio_path: str = ""
    stock: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """What was counted around one epoch: this process and its workers, and the host."""

    start: str
    end: str
    block_seconds: float
    used: Usage
    host_busy_ticks: int
    host_iowait_ticks: int
    drop_method: str
    drop_seconds: float


class _Rank:
    """One rank, told by DLIO of its epochs and steps."""

    def __init__(
        self, argument: Argument, comm: Comm, emit: Callable[[Event], None], scratch: Path
    ) -> None:
        self._argument = argument
        self._comm = comm
        self._emit = emit
        self._scratch = scratch
        self._folder = Path(argument.data_dir)
        self.manifest = Manifest.load(self._folder)
        self.spans: list[_Span] = []
        self._report_at = 0.0
        self._drop = ("", 0.0)
        self._start = ""
        self._before = (Usage(), Counters.now())

    def _used(self) -> Usage:
        return Usage.of(os.getpid()) + usage_of_workers(self._scratch)

    def epoch_begins(self, epoch: int) -> None:
        """Nobody reads before the data set is out of every page cache."""
        argument, comm = self._argument, self._comm
        comm.barrier()
        began = time.perf_counter()
        method = drop_data(
            argument.drop_caches, comm, self.manifest.spec, self._folder, argument.files
        )
        comm.barrier()
        self._drop = (method, time.perf_counter() - began)
        self._start = utc_now()
        self._before = (self._used(), Counters.now())
        self._report(epoch, 0)

    def step_done(self, epoch: int, step: int) -> None:
        """Report at most once a second, and the last step."""
        if time.monotonic() >= self._report_at or step == self._argument.steps:
            self._report(epoch, step)

    def epoch_ends(self, epoch: int, seconds: float) -> None:
        """Count once more: the workers live on, and wait for the next epoch."""
        del epoch
        used, host = self._used(), Counters.now()
        used_before, host_before = self._before
        self.spans.append(
            _Span(
                start=self._start,
                end=utc_now(),
                block_seconds=seconds,
                used=used - used_before,
                host_busy_ticks=host.host_busy_ticks - host_before.host_busy_ticks,
                host_iowait_ticks=host.host_iowait_ticks - host_before.host_iowait_ticks,
                drop_method=self._drop[0],
                drop_seconds=self._drop[1],
            )
        )

    def _report(self, epoch: int, step: int) -> None:
        self._report_at = time.monotonic() + _PROGRESS_SECONDS
        self._emit(
            Progress(
                rank=self._comm.rank,
                activity=f"epoch {epoch}/{self._argument.epochs}",
                done=step,
                total=self._argument.steps,
                unit="steps",
                bytes=(self._used() - self._before[0]).rchar,
                part=epoch,
                parts=self._argument.epochs,
            )
        )


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do all epochs of one rank by DLIO; the epochs' records, and what DLIO says of itself.

    Raises:
        MlpstorageError: the data set is not as asked, or DLIO did not do its steps.
    """
    wanted = msgspec.convert(argument, Argument)
    with (
        session.output_folder(Path(wanted.run_dir), wanted.document, comm) as output,
        session.scratch_folder(output) as scratch,
    ):
        rank = _Rank(wanted, comm, emit, scratch)
        modifications = prepare(
            Settings(
                path=wanted.dlio_path,
                stock=wanted.stock,
                scratch=str(scratch),
                table=rank.manifest.spec.table,
                columns=wanted.columns,
                headerless=_is_headerless(rank.manifest),
            )
        )
        from mlpstorage.engine.dlio.watch import follow

        follow(rank)
        session.call(output)
        own = _read(output / f"{comm.rank}_output.json")
        summary = _read(output / "summary.json") if comm.rank == 0 else {}
        planned = planned_bytes(rank.manifest, wanted, comm)
        records = [
            _record(span, _Epoch.of(own, number), wanted, planned)
            for number, span in enumerate(rank.spans, 1)
        ]
    return {
        "epochs": [msgspec.to_builtins(record) for record in records],
        "dlio": {"modifications": modifications, "summary": _small(summary)},
    }


def _is_headerless(manifest: Manifest) -> bool:
    return manifest.spec.format == "csv" and manifest.producer == NATIVE


def _read(path: Path) -> dict[str, Any]:
    """A file that DLIO wrote in the end.

    Raises:
        BenchmarkError: it did not.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"DLIO ended, but left no {path.name}: {error}",
            why="its figures are taken from that file",
            fix=f"see {path.with_name('dlio.log')}",
        ) from error
    return found


def _small(summary: dict[str, Any]) -> dict[str, Any]:
    """DLIO's summary without what it copies of /proc, which our record has anyway."""
    return {name: value for name, value in summary.items() if not isinstance(value, dict)} | {
        "metric": summary.get("metric", {})
    }


@dataclass(frozen=True)
class _Epoch:
    """One epoch in DLIO's file of a rank: seconds of each step over all blocks."""

    load: list[float]
    both: list[float]

    @classmethod
    def of(cls, own: dict[str, Any], number: int) -> _Epoch:
        """The epoch of this number, from 1."""
        epoch = own.get(str(number), {})
        return cls(_flat(epoch.get("load", {})), _flat(epoch.get("proc", {})))


def _flat(blocks: dict[str, list[float]]) -> list[float]:
    return [seconds for steps in blocks.values() for seconds in steps]


def _record(span: _Span, epoch: _Epoch, wanted: Argument, planned: int) -> EpochRecord:
    """One epoch as the native engine records it; computing is what a step took beside loading.

    Raises:
        BenchmarkError: not every step was done.
    """
    steps = len(epoch.both)
    if steps != wanted.steps or len(epoch.load) != steps:
        raise BenchmarkError(
            f"DLIO did {steps} of {wanted.steps} steps in an epoch",
            why="its exit code does not tell; the steps in its own files do",
            fix="see dlio.log in the run's directory",
        )
    ticks = os.sysconf("SC_CLK_TCK")
    return EpochRecord(
        start=span.start,
        end=span.end,
        load_us=[round(load * 1e6) for load in epoch.load],
        compute_us=[
            round((both - load) * 1e6) for both, load in zip(epoch.both, epoch.load, strict=True)
        ],
        block_seconds=span.block_seconds,
        samples=steps * wanted.batch_size,
        bytes_planned=planned,
        rchar=span.used.rchar,
        read_bytes=span.used.read_bytes,
        user_seconds=span.used.user_seconds,
        system_seconds=span.used.system_seconds,
        host_busy_seconds=span.host_busy_ticks / ticks,
        host_iowait_seconds=span.host_iowait_ticks / ticks,
        host_cpus=usable_cpus(),
        reader_busy_seconds=None,
        readers=wanted.read_threads,
        visits=0,
        visit_us={},
        drop_method=span.drop_method,
        drop_seconds=span.drop_seconds,
        processes=1 + wanted.workers,
    )


def planned_bytes(manifest: Manifest, wanted: Argument, comm: Comm) -> int:
    """The bytes of the samples that are this rank's in an epoch.

    DLIO deals the samples to ranks in the order of the files, in equal shares.
    """
    per_file = manifest.spec.samples_per_file
    share = wanted.files * per_file // comm.size
    first = comm.rank * share
    begin, end = first // per_file, -(-(first + share) // per_file)
    inside = np.arange(begin, end)
    samples = np.minimum((inside + 1) * per_file, first + share) - np.maximum(
        inside * per_file, first
    )
    whole = float((manifest.file_bytes[begin:end] * (samples / per_file)).sum())
    if manifest.spec.table is not None:
        from mlpstorage.engine.dlio.parquet import read_share

        path = Path(wanted.data_dir) / manifest.spec.relative_path(int(begin))
        whole *= read_share(str(path), wanted.columns)
    return round(whole * wanted.steps * wanted.batch_size / share)
