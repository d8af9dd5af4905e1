"""What one rank does in a training run: one emulated accelerator, fed by its reader threads.

The timed part waits for a batch, sleeps for the compute time, and meets the other ranks at a
barrier that stands for the gradient exchange, as the reference engine does after each step.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.core.events import Progress
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import Manifest
from mlpstorage.engine.epoch import file_order, plan_epoch
from mlpstorage.engine.files import (
    DIRECT_ALIGNMENT,
    drop_files,
    drop_system_cache,
    may_drop_system_cache,
    prove_direct,
)
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.histogram import histogram
from mlpstorage.engine.reading import Extent, ReaderPool
from mlpstorage.kinds.training.record import EpochRecord
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.epoch import EpochPlan
    from mlpstorage.engine.formats import Layout

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


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted so far; bytes and seconds of this process, ticks of the host."""

    rchar: int
    read_bytes: int
    user_seconds: float
    system_seconds: float
    host_busy_ticks: int
    host_iowait_ticks: int

    @classmethod
    def now(cls) -> Counters:
        """Read them all."""
        io = dict(
            line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines()
        )
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123 (one line of it)
            ticks = [int(word) for word in stat.readline().split()[1:]]
        # user, nice, system, irq, softirq, steal; guest time is already part of user.
        busy, iowait = sum(ticks[:3]) + sum(ticks[5:8]), ticks[4]
        return cls(
            int(io["rchar"]), int(io["read_bytes"]), usage.ru_utime, usage.ru_stime, busy, iowait
        )


class _Rank:
    """One rank's state over all epochs: the data set's description and the reused buffers."""

    def __init__(self, argument: Argument, comm: Comm) -> None:
        self.argument = argument
        self.comm = comm
        self.folder = Path(argument.data_dir)
        self.manifest = Manifest.load(self.folder)
        spec = self.manifest.spec
        self._format = format_of(spec.format)
        self._sample_bytes = spec.sample_bytes()
        self.buffers = [self._buffer() for _ in range(argument.read_threads)]
        if argument.direct:
            prove_direct(self.folder / spec.relative_path(0), self.buffers[0])
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

    def layout(self, file: int) -> Layout:
        """Where the samples of a file stand."""
        record = int(self._sample_bytes[file])
        return self._format.layout(record, self.manifest.spec.samples_per_file)

    def extents(self, plan: EpochPlan) -> tuple[Callable[[int], Extent], int]:
        """The function from a visit to its bytes, and the bytes of all visits together."""
        spec = self.manifest.spec
        path = spec.namer(str(self.folder))
        files, sizes = plan.files.tolist(), self.manifest.file_bytes[plan.files].tolist()
        if spec.samples_per_file == 1:

            def whole(index: int) -> Extent:
                return Extent(path(files[index]), 0, sizes[index])

            return whole, sum(sizes)
        bounds = [
            _bounds(self.layout(file), int(first), int(samples))
            for file, first, samples in zip(files, plan.first, plan.samples, strict=True)
        ]

        def part(index: int) -> Extent:
            return Extent(path(files[index]), *bounds[index])

        return part, sum(end - begin for begin, end in bounds)

    def samples_in(self, plan: EpochPlan) -> Callable[[int, int], int]:
        """The function that tells how many samples of a visit its first n bytes complete."""
        if self.manifest.spec.samples_per_file == 1:
            # Such visits are counted whole; a layout of every file would cost seconds on millions.
            return lambda _index, _done: 1
        layouts = [self.layout(int(file)) for file in plan.files]
        firsts: list[int] = plan.first.tolist()
        counts: list[int] = plan.samples.tolist()

        def samples(index: int, done: int) -> int:
            layout, first = layouts[index], firsts[index]
            begin = layout.header_bytes + first * layout.sample_bytes if first else 0
            complete = layout.samples_after(begin + done) - first
            return min(max(complete, 0), counts[index])

        return samples

    def drop(self) -> str:
        """Get the data set out of this host's page cache; the method that was used.

        The ranks of a host share the work; nobody reads before all are done.
        """
        method, comm = self.argument.drop_caches, self.comm
        if method == "auto":
            method = "system" if may_drop_system_cache() else "files"
        if method == "system" and comm.local_rank == 0:
            drop_system_cache()
        if method == "files":
            spec = self.manifest.spec
            share = range(comm.local_rank, self.argument.files, comm.local_size)
            drop_files(self.folder / spec.relative_path(index) for index in share)
        return method


def _bounds(layout: Layout, first: int, samples: int) -> tuple[int, int]:
    """The bytes of some samples; the first and the last of a file take its edges along."""
    stride, header = layout.sample_bytes, layout.header_bytes
    begin = header + first * stride if first else 0
    last = first + samples
    return begin, layout.file_bytes if last == layout.samples else header + last * stride


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do all epochs of one rank; the epochs' records for the launcher.

    Raises:
        MlpstorageError: the data set or the environment is not as asked.
    """
    wanted = msgspec.convert(argument, Argument)
    # The default slack of 50 µs would be added to every emulated compute step.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    rank = _Rank(wanted, comm)
    records = [_epoch(rank, epoch, emit) for epoch in range(wanted.epochs)]
    return {"epochs": [msgspec.to_builtins(record) for record in records]}


def _epoch(rank: _Rank, epoch: int, emit: Callable[[Event], None]) -> EpochRecord:
    argument, comm = rank.argument, rank.comm
    plan = rank.plan(epoch)
    extent_of, planned = rank.extents(plan)
    samples_in = rank.samples_in(plan)
    comm.barrier()
    drop_began = time.perf_counter()
    method = rank.drop()
    comm.barrier()
    drop_seconds = time.perf_counter() - drop_began
    start, before, began = _utc(), Counters.now(), time.perf_counter()
    pool = ReaderPool(
        plan,
        extent_of,
        samples_in,
        rank.buffers,
        direct=argument.direct,
        ahead=argument.batches_ahead,
    )
    with pool:
        load, compute = _steps(rank, pool, plan, epoch, emit)
    comm.barrier()
    block_seconds = time.perf_counter() - began
    after = Counters.now()
    visits = np.frombuffer(pool.visit_ns, np.int64) // 1000
    ticks = os.sysconf("SC_CLK_TCK")
    return EpochRecord(
        start=start,
        end=_utc(),
        load_us=load,
        compute_us=compute,
        block_seconds=block_seconds,
        samples=plan.steps * plan.batch,
        bytes_planned=planned,
        rchar=after.rchar - before.rchar,
        read_bytes=after.read_bytes - before.read_bytes,
        user_seconds=after.user_seconds - before.user_seconds,
        system_seconds=after.system_seconds - before.system_seconds,
        host_busy_seconds=(after.host_busy_ticks - before.host_busy_ticks) / ticks,
        host_iowait_seconds=(after.host_iowait_ticks - before.host_iowait_ticks) / ticks,
        host_cpus=rank.cpus,
        reader_busy_seconds=sum(pool.busy_ns) / 1e9,
        readers=len(rank.buffers),
        visits=len(plan.files),
        visit_us={str(bucket): count for bucket, count in histogram(visits).items()},
        drop_method=method,
        drop_seconds=drop_seconds,
    )


def _steps(
    rank: _Rank, pool: ReaderPool, plan: EpochPlan, epoch: int, emit: Callable[[Event], None]
) -> tuple[list[int], list[int]]:
    """The timed loop: per step the microseconds of waiting and of computing."""
    seconds, barrier, clock = rank.argument.computation_time, rank.comm.barrier, time.perf_counter
    load, compute = [0] * plan.steps, [0] * plan.steps
    report_at = clock() + _PROGRESS_SECONDS
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
        barrier()
        if t2 >= report_at or step == plan.steps - 1:
            report_at = t2 + _PROGRESS_SECONDS
            emit(_progress(rank, pool, plan, epoch, step + 1))
    return load, compute


def _progress(rank: _Rank, pool: ReaderPool, plan: EpochPlan, epoch: int, done: int) -> Progress:
    return Progress(
        rank=rank.comm.rank,
        activity=f"epoch {epoch + 1}/{rank.argument.epochs}",
        done=done,
        total=plan.steps,
        unit="steps",
        bytes=sum(pool.bytes_read),
    )


def _utc() -> str:
    seconds, fraction = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction // 1000:06d}Z"
