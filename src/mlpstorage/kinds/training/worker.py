"""What one rank does in a training run: one emulated accelerator, fed by its reader threads.

The timed part waits for a batch, sleeps for the compute time, and meets the other ranks at a
barrier that stands for the gradient exchange, as the reference engine does after each step.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.core.events import Figure, Progress
from mlpstorage.engine.access import ReadSettings, access_of
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.counters import Counters, utc_now
from mlpstorage.engine.dataset import Manifest
from mlpstorage.engine.epoch import file_order, plan_epoch
from mlpstorage.engine.files import DIRECT_ALIGNMENT, prove_direct
from mlpstorage.engine.histogram import histogram
from mlpstorage.engine.links import busiest_share
from mlpstorage.kinds.training.cold import drop_data
from mlpstorage.kinds.training.record import EpochRecord
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.epoch import EpochPlan
    from mlpstorage.engine.reading import Pool

_PR_SET_TIMERSLACK = 29
_PROGRESS_SECONDS = 1.0


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; times in seconds, sizes in bytes."""

    data_dir: str
    files: int
    batch_size: int
    read_threads: int
    transfer_size: int
    batches_ahead: int
    direct: bool
    file_shuffle: str
    shuffle_seed: int
    epochs: int
    computation_time: float
    drop_caches: str
    columns: tuple[str, ...] = ()
    decode: str = "none"
    au_needed: float = 0.0


class _Rank:
    """One rank's state over all epochs: the data set's description and the reused buffers."""

    def __init__(self, argument: Argument, comm: Comm) -> None:
        self.argument = argument
        self.comm = comm
        self.folder = Path(argument.data_dir)
        self.manifest = Manifest.load(self.folder)
        self.buffers = [self._buffer() for _ in range(argument.read_threads)]
        if argument.direct:
            prove_direct(self.folder / self.manifest.spec.relative_path(0), self.buffers[0])
        settings = ReadSettings(
            self.buffers,
            direct=argument.direct,
            ahead=argument.batches_ahead,
            columns=argument.columns,
            decode=argument.decode == "full",
        )
        self.access = access_of(self.manifest, self.folder, settings)
        self.cpus = usable_cpus()

    def _buffer(self) -> memoryview:
        """A buffer for one read: the transfer size, or less when every file is smaller."""
        largest = int(self.manifest.file_bytes.max())
        aligned = -(-largest // DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT
        return aligned_buffer(min(self.argument.transfer_size, aligned))

    def plan(self, epoch: int) -> EpochPlan:
        """This rank's reads of an epoch (from 0)."""
        order = file_order(
            self.argument.files,
            shuffle=self.argument.file_shuffle,
            seed=self.argument.shuffle_seed,
            epoch=epoch,
        )
        return plan_epoch(
            order,
            samples_per_file=self.manifest.spec.samples_per_file,
            batch=self.argument.batch_size,
            rank=self.comm.rank,
            ranks=self.comm.size,
        )

    def drop(self) -> str:
        """Get the data set out of this host's page cache; the method that was used."""
        argument, spec = self.argument, self.manifest.spec
        return drop_data(argument.drop_caches, self.comm, spec, self.folder, argument.files)


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do all epochs of one rank; the epochs' records for the launcher.

    Raises:
        MlpstorageError: the data set or the environment is not as asked.
    """
    wanted = msgspec.convert(argument, Argument)
    # The default slack of 50 µs would be added to every emulated compute step.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    rank = _Rank(wanted, comm)
    records: list[EpochRecord] = []
    for epoch in range(wanted.epochs):
        record, planned = _epoch(rank, epoch, emit)
        if len(record.load_us) < planned:
            # Of an epoch that was left, only how far it got is kept.
            reached = f"epoch {epoch + 1}/{wanted.epochs}, step {len(record.load_us)}/{planned}"
            return {"epochs": _plain(records), "complete": epoch, "reached": reached}
        records.append(record)
        if comm.stopping.stopped:
            reached = f"epoch {epoch + 1}/{wanted.epochs}"
            return {"epochs": _plain(records), "complete": epoch + 1, "reached": reached}
    return {"epochs": _plain(records)}


def _plain(records: list[EpochRecord]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(record) for record in records]


def _epoch(rank: _Rank, epoch: int, emit: Callable[[Event], None]) -> tuple[EpochRecord, int]:
    """One epoch, or its beginning if the user wants to stop; and the steps that were planned."""
    comm = rank.comm
    readers = rank.access.epoch(rank.plan(epoch))
    plan, pool = readers.plan, readers.pool
    comm.barrier()
    drop_began = time.perf_counter()
    method = rank.drop()
    comm.barrier()
    drop_seconds = time.perf_counter() - drop_began
    start, before, began = utc_now(), Counters.now(), time.perf_counter()
    with pool:
        load, compute = _steps(rank, pool, plan, epoch, emit)
    comm.barrier()
    block_seconds = time.perf_counter() - began
    after = Counters.now()
    visits = np.frombuffer(pool.visit_ns, np.int64) // 1000
    ticks = os.sysconf("SC_CLK_TCK")
    whole = len(load) == plan.steps
    record = EpochRecord(
        start=start,
        end=utc_now(),
        load_us=load,
        compute_us=compute,
        block_seconds=block_seconds,
        samples=len(load) * plan.batch,
        bytes_planned=readers.planned() if whole else sum(pool.bytes_read),
        rchar=after.rchar - before.rchar,
        read_bytes=after.read_bytes - before.read_bytes,
        user_seconds=after.user_seconds - before.user_seconds,
        system_seconds=after.system_seconds - before.system_seconds,
        host_busy_seconds=(after.host_busy_ticks - before.host_busy_ticks) / ticks,
        host_iowait_seconds=(after.host_iowait_ticks - before.host_iowait_ticks) / ticks,
        host_cpus=rank.cpus,
        reader_busy_seconds=sum(pool.busy_ns) / 1e9,
        decode_seconds=sum(pool.decode_ns) / 1e9,
        readers=len(rank.buffers),
        visits=len(plan.files),
        visit_us={str(bucket): count for bucket, count in histogram(visits).items()},
        drop_method=method,
        drop_seconds=drop_seconds,
        network_share=busiest_share(before.links, after.links, block_seconds),
    )
    return record, plan.steps


def _steps(
    rank: _Rank, pool: Pool, plan: EpochPlan, epoch: int, emit: Callable[[Event], None]
) -> tuple[list[int], list[int]]:
    """The timed loop: per step the microseconds of waiting and of computing.

    Fewer steps than planned were done if the user wants the run to stop.
    """
    seconds, clock = rank.argument.computation_time, time.perf_counter
    barrier, step_done = rank.comm.barrier, rank.comm.stopping.step_done
    load, compute = [0] * plan.steps, [0] * plan.steps
    so_far = _SoFar(rank, load, compute, emit)
    last = plan.steps - 1
    # After the very last step there is nothing left to stop.
    asks_at_end = epoch + 1 < rank.argument.epochs
    emit(_progress(rank, pool, plan, epoch, 0))
    for step in range(plan.steps):
        t0 = clock()
        pool.batches.wait(step)
        t1 = clock()
        if seconds:
            time.sleep(seconds)
        t2 = clock()
        load[step] = round((t1 - t0) * 1e6)
        compute[step] = round((t2 - t1) * 1e6)
        if step < last or asks_at_end:
            stop = step_done()
        else:
            barrier()
            stop = False
        if t2 >= so_far.report_at or stop or step == last:
            emit(_progress(rank, pool, plan, epoch, step + 1))
            so_far.report(step + 1, t2)
        if stop:
            return load[: step + 1], compute[: step + 1]
    return load, compute


class _SoFar:
    """What can be said of an epoch before its end, at most once a second."""

    def __init__(
        self,
        rank: _Rank,
        load: list[int],
        compute: list[int],
        emit: Callable[[Event], None],
    ) -> None:
        self._rank, self._load, self._compute, self._emit = rank, load, compute, emit
        self._began = time.perf_counter()
        self._summed = self._load_us = self._compute_us = 0
        self.report_at = self._began + _PROGRESS_SECONDS

    def report(self, done: int, now: float) -> None:
        """Emit the AU (without the first step, as in the result) and the wait for data."""
        self.report_at = now + _PROGRESS_SECONDS
        self._load_us += sum(self._load[self._summed : done])
        self._compute_us += sum(self._compute[self._summed : done])
        self._summed = done
        first = self._load[0] + self._compute[0]
        window = (now - self._began) * 1e6 - first
        if done <= 1 or window <= 0:
            return
        number, needed = self._rank.comm.rank, self._rank.argument.au_needed
        utilisation = 100 * (self._compute_us - self._compute[0]) / window
        waiting = 100 * (self._load_us - self._load[0]) / window
        self._emit(Figure(number, "AU", utilisation, "%", 100 * needed or None))
        self._emit(
            Figure(number, "waits for data", waiting, "%", better="lower", compares_hosts=True)
        )


def _progress(rank: _Rank, pool: Pool, plan: EpochPlan, epoch: int, done: int) -> Progress:
    return Progress(
        rank=rank.comm.rank,
        activity=f"epoch {epoch + 1}/{rank.argument.epochs}",
        done=done,
        total=plan.steps,
        unit="steps",
        bytes=sum(pool.bytes_read),
        part=epoch + 1,
        parts=rank.argument.epochs,
    )
