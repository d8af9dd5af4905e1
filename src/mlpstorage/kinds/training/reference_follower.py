"""What a rank of DLIO does beside DLIO: it counts, drops caches, reports, and stops when told."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.events import Figure, Progress
from mlpstorage.engine.counters import Counters, utc_now
from mlpstorage.engine.dataset import Manifest
from mlpstorage.engine.dlio.halt import asking_after_steps
from mlpstorage.engine.dlio.usage import Usage
from mlpstorage.engine.dlio.workers import usage_of_workers
from mlpstorage.engine.links import busiest_share
from mlpstorage.kinds.training.cold import drop_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.dlio.watch import Noted

_PROGRESS_SECONDS = 1.0


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; `document` is DLIO's own workload file.

    `nominal` says that this DLIO's AU is of `computation_time` (seconds), not of what was measured.
    """

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
    computation_time: float = 0.0
    nominal: bool = True
    au_needed: float = 0.0


@dataclass(frozen=True)
class Span:
    """What was counted around one epoch: this process and its workers, and the host."""

    start: str
    end: str
    block_seconds: float
    used: Usage
    host_busy_ticks: int
    host_iowait_ticks: int
    drop_method: str
    drop_seconds: float
    network_share: float | None


class Rank:
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
        self.spans: list[Span] = []
        self._is_over = asking_after_steps(comm)
        self._report_at = 0.0
        self._drop = ("", 0.0)
        self._start = ""
        self._before = (Usage(), Counters.now())
        self._so_far = _SoFar(argument, comm.rank)

    def _used(self) -> Usage:
        return Usage.of(os.getpid()) + usage_of_workers(self._scratch)

    def wants(self, epoch: int) -> bool:
        """Ask once more before an epoch, where nobody is timed; DLIO cannot sum up no epoch."""
        stopping = self._comm.stopping
        return epoch == 1 or not (stopping.stopped or stopping.agreed())

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
        self._so_far = _SoFar(argument, comm.rank)
        self._report(epoch, 0)

    def step_done(self, epoch: int, step: int, noted: Noted) -> bool:
        """Report at most once a second, and the last step; whether to stop after this one."""
        is_last = step == self._argument.steps
        # After the very last step there is nothing left to stop.
        stop = not (is_last and epoch == self._argument.epochs) and self._is_over()
        if time.monotonic() >= self._report_at or is_last or stop:
            self._report(epoch, step)
            for figure in self._so_far.figures(noted):
                self._emit(figure)
        return stop

    def epoch_ends(self, epoch: int, seconds: float) -> None:
        """Count once more: the workers live on, and wait for the next epoch."""
        del epoch
        used, host = self._used(), Counters.now()
        used_before, host_before = self._before
        self.spans.append(
            Span(
                start=self._start,
                end=utc_now(),
                block_seconds=seconds,
                used=used - used_before,
                host_busy_ticks=host.host_busy_ticks - host_before.host_busy_ticks,
                host_iowait_ticks=host.host_iowait_ticks - host_before.host_iowait_ticks,
                drop_method=self._drop[0],
                drop_seconds=self._drop[1],
                network_share=busiest_share(host_before.links, host.links, seconds),
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


class _SoFar:
    """What can be said of an epoch before its end, by the formula of its result."""

    def __init__(self, argument: Argument, rank: int) -> None:
        self._argument = argument
        self._rank = rank
        self._summed = 0
        self._load = self._both = 0.0

    def figures(self, noted: Noted) -> list[Figure]:
        """The AU and the wait for data, both without the first step; none before the second."""
        load, both = noted.load, noted.both
        steps = min(len(load), len(both))
        self._load += sum(load[self._summed : steps])
        self._both += sum(both[self._summed : steps])
        self._summed = steps
        window = noted.seconds - (both[0] if both else 0.0)
        if steps <= 1 or window <= 0:
            return []
        waited = self._load - load[0]
        computed = self._both - both[0] - waited
        if self._argument.nominal:
            computed = self._argument.computation_time * (steps - 1)
        needed = 100 * self._argument.au_needed or None
        return [
            Figure(self._rank, "AU", 100 * computed / window, "%", needed),
            Figure(
                self._rank,
                "waits for data",
                100 * waited / window,
                "%",
                better="lower",
                compares_hosts=True,
            ),
        ]
