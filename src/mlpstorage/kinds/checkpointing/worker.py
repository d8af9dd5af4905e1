"""What one rank does in a checkpointing run: its files of each checkpoint, written and read back.

All ranks meet before each checkpoint. The clock of one runs until its files are durable under
their names, or read and closed; making data, dropping caches and verifying lie outside of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mlpstorage.core.events import Progress
from mlpstorage.engine.checkpoint.lanes import Buffers, Shard
from mlpstorage.engine.checkpoint.reading import read_shards
from mlpstorage.engine.checkpoint.stamps import file_ident
from mlpstorage.engine.checkpoint.writing import write_shards
from mlpstorage.engine.counters import Counters, utc_now
from mlpstorage.engine.files import drop_files, drop_method, drop_system_cache
from mlpstorage.engine.links import busiest_share
from mlpstorage.engine.payload import Payload
from mlpstorage.kinds.checkpointing.folder import (
    FolderRecord,
    advance,
    begin,
    require_checkpoints,
    step_folder,
)
from mlpstorage.kinds.checkpointing.layout import Layout, rank_files  # noqa: TC001 (msgspec needs it)
from mlpstorage.kinds.checkpointing.record import CheckpointRecord, RankRecord
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.checkpoint.reading import ReadBack
    from mlpstorage.engine.checkpoint.writing import Written
    from mlpstorage.engine.comm import Comm


# How often the ranks ask in a pause whether the user wants to stop.
_LOOK_SECONDS = 1.0


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; times in seconds, sizes in bytes."""

    folder: str
    model: str
    layout: Layout
    seed: int
    writes: int
    reads: int
    pause_seconds: float
    fsync: bool
    direct: bool
    write_threads: int
    read_threads: int
    block_bytes: int
    rank_shift: int
    drop_caches: str
    verify: Literal["off", "stamps", "full"]


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Write and read all checkpoints of one rank; their records for the launcher.

    Raises:
        MlpstorageError: storage refuses, or a file is not as it was written.
    """
    wanted = msgspec.convert(argument, Argument)
    rank = _Rank(wanted, comm, emit)
    comm.barrier()
    began = time.perf_counter()
    records = rank.write_all() if wanted.writes else []
    if wanted.reads and not comm.stopping.stopped:
        records += rank.read_all()
    record = RankRecord(checkpoints=records, total_seconds=time.perf_counter() - began)
    return dict(msgspec.to_builtins(record))


class _Rank:
    """One rank over all checkpoints; its memory is allocated once."""

    def __init__(self, argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> None:
        self.argument = argument
        self._comm = comm
        self._emit = emit
        self._folder = Path(argument.folder)
        most = max(
            argument.write_threads if argument.writes else 1,
            argument.read_threads if argument.reads else 1,
        )
        self._buffers = Buffers(most, argument.block_bytes)
        self._cpus = usable_cpus()

    def _shards(self, number: int, rank: int) -> list[Shard]:
        files = rank_files(self.argument.layout, rank)
        return [
            Shard(file.name, file.bytes, file_ident(number, rank, index))
            for index, file in enumerate(files)
        ]

    def write_all(self) -> list[CheckpointRecord]:
        """Write every checkpoint; rank 0 keeps the folder's record."""
        comm, hosts = self._comm, self._comm.gather(self._comm.host)
        record = FolderRecord(
            model=self.argument.model,
            layout=self.argument.layout,
            seed=self.argument.seed,
            planned=self.argument.writes,
            complete=0,
            hosts=hosts or [],
            ended_unix_seconds=time.time(),
        )
        if comm.rank == 0:
            begin(self._folder, record)
        records = []
        for number in range(1, self.argument.writes + 1):
            if self._pause(number):
                break
            records.append(self._write(number))
            comm.barrier()
            if comm.rank == 0:
                record = msgspec.structs.replace(
                    record, complete=number, ended_unix_seconds=time.time()
                )
                advance(self._folder, record)
            left = self.argument.writes - number + self.argument.reads
            if left and comm.stopping.agreed():
                break
        return records

    def _pause(self, number: int) -> bool:
        """Wait before all checkpoints but the first; whether the user wants to stop meanwhile."""
        left = self.argument.pause_seconds if number > 1 else 0.0
        while left > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            left -= _LOOK_SECONDS
            if left > 0 and self._comm.stopping.agreed():
                return True
        return False

    def _write(self, number: int) -> CheckpointRecord:
        argument, rank = self.argument, self._comm.rank
        for index, buffer in enumerate(self._buffers.all):
            stream = (number << 40) | (rank << 16) | index
            buffer.fill(Payload(argument.seed, stream), argument.seed)
        shards = self._shards(number, rank)
        span = self._begin("write", number, argument.writes, shards)
        written = write_shards(
            step_folder(self._folder, number),
            shards,
            self._buffers,
            depth=argument.write_threads,
            direct=argument.direct,
            fsync=argument.fsync,
            watch=span.watch,
        )
        return span.saved(written)

    def read_all(self) -> list[CheckpointRecord]:
        """Read as many checkpoints as asked, from the first on, and again when there are fewer."""
        seed, complete, hosts = self._written()
        records = []
        for turn in range(1, self.argument.reads + 1):
            if self._pause(turn):
                break
            records.append(self._read(turn, (turn - 1) % complete + 1, seed, hosts))
            if turn < self.argument.reads and self._comm.stopping.agreed():
                break
        return records

    def _written(self) -> tuple[int, int, list[str]]:
        """The seed of what is read, how many checkpoints there are, and the ranks' hosts then.

        What this very run wrote is known without the folder's record, which a network filesystem
        may still show as it was; the hosts are then those of this run, and the list is empty.
        """
        argument = self.argument
        if argument.writes:
            return argument.seed, argument.writes, []
        record = require_checkpoints(self._folder, argument.model, argument.layout)
        return record.seed, record.complete, record.hosts

    def _read(self, turn: int, number: int, seed: int, hosts: list[str]) -> CheckpointRecord:
        argument = self.argument
        source = (self._comm.rank + argument.rank_shift) % argument.layout.processes
        shards = self._shards(number, source)
        folder = step_folder(self._folder, number)
        method = self._drop(folder, shards)
        span = self._begin("read", turn, argument.reads, shards)
        span.source(source, hosts[source] if hosts else "", method)
        back = read_shards(
            folder,
            shards,
            self._buffers,
            depth=argument.read_threads,
            direct=argument.direct,
            seed=seed,
            check="off" if argument.verify == "off" else "stamps",
            watch=span.watch,
        )
        found = span.loaded(back)
        return self._in_full(found, folder, shards, seed)

    def _in_full(
        self, found: CheckpointRecord, folder: Path, shards: list[Shard], seed: int
    ) -> CheckpointRecord:
        """Where every byte is to be verified, read the files once more, off the clock."""
        argument = self.argument
        if argument.verify != "full":
            return found
        back = read_shards(
            folder, shards, self._buffers, depth=argument.read_threads, direct=argument.direct,
            seed=seed, check="full",
        )  # fmt: skip
        return msgspec.structs.replace(found, **_verified(back))

    def _drop(self, folder: Path, shards: list[Shard]) -> str:
        """Get what will be read out of this host's page cache; the method that was used."""
        argument, comm = self.argument, self._comm
        method = "direct" if argument.direct else drop_method(argument.drop_caches)
        comm.barrier()
        if method == "system" and comm.local_rank == 0:
            drop_system_cache()
        if method == "files":
            drop_files(folder / shard.name for shard in shards)
        comm.barrier()
        return method

    def _begin(self, verb: str, number: int, of: int, shards: list[Shard]) -> _Span:
        total = sum(shard.bytes for shard in shards)

        def show(done: int) -> None:
            self._emit(
                Progress(
                    rank=self._comm.rank,
                    activity=f"{verb} checkpoint {number}/{of}",
                    done=done >> 20,
                    total=total >> 20,
                    unit="MiB",
                    bytes=done,
                    part=number + (self.argument.writes if verb == "read" else 0),
                    parts=self.argument.writes + self.argument.reads,
                )
            )

        depth = self.argument.write_threads if verb == "write" else self.argument.read_threads
        show(0)
        self._comm.barrier()
        return _Span(number, depth, self._comm.rank, self._comm.host, self._cpus, show)


class _Span:
    """The timed part of one checkpoint: what the kernel counted before it, and the record after."""

    def __init__(
        self,
        number: int,
        depth: int,
        rank: int,
        host: str,
        cpus: float,
        watch: Callable[[int], None],
    ) -> None:
        self.watch = watch
        self._number, self._depth, self._cpus = number, depth, cpus
        self._source, self._wrote_on, self._method = rank, host, ""
        self._start = utc_now()
        self._before, self._began = Counters.now(), time.perf_counter()

    def source(self, rank: int, host: str, method: str) -> None:
        """Say whose files are read, which host wrote them, and how the caches were dropped."""
        self._source, self._wrote_on, self._method = rank, host, method

    def saved(self, written: Written) -> CheckpointRecord:
        """The record of a checkpoint that was written."""
        after = Counters.now()
        return self._record(
            "save",
            written,
            after,
            io_seconds=written.write_seconds,
            fsync_seconds=written.fsync_seconds,
            name_seconds=written.name_seconds,
            own_seconds=written.stamp_seconds,
            char_bytes=after.wchar - self._before.wchar,
            device_bytes=after.write_bytes - self._before.write_bytes,
            **_UNVERIFIED,
        )

    def loaded(self, back: ReadBack) -> CheckpointRecord:
        """The record of a checkpoint that was read."""
        after = Counters.now()
        return self._record(
            "load",
            back,
            after,
            io_seconds=back.read_seconds,
            fsync_seconds=0.0,
            name_seconds=0.0,
            own_seconds=back.verify_seconds,
            char_bytes=after.rchar - self._before.rchar,
            device_bytes=after.read_bytes - self._before.read_bytes,
            **_verified(back),
        )

    def _record(
        self,
        phase: str,
        done: Written | ReadBack,
        after: Counters,
        **more: Any,  # noqa: ANN401 (fields of CheckpointRecord)
    ) -> CheckpointRecord:
        before, ticks = self._before, os.sysconf("SC_CLK_TCK")
        span = time.perf_counter() - self._began
        self.watch(done.bytes)
        return CheckpointRecord(
            phase=phase,
            number=self._number,
            start=self._start,
            end=utc_now(),
            seconds=done.seconds,
            span_seconds=span,
            bytes=done.bytes,
            files=done.files,
            depth=self._depth,
            open_seconds=done.open_seconds,
            close_seconds=done.close_seconds,
            source_rank=self._source,
            wrote_on=self._wrote_on,
            user_seconds=after.user_seconds - before.user_seconds,
            system_seconds=after.system_seconds - before.system_seconds,
            host_busy_seconds=(after.host_busy_ticks - before.host_busy_ticks) / ticks,
            host_iowait_seconds=(after.host_iowait_ticks - before.host_iowait_ticks) / ticks,
            host_cpus=self._cpus,
            peak_bytes=_peak_bytes(),
            drop_method=self._method,
            network_share=busiest_share(before.links, after.links, span),
            **more,
        )


_UNVERIFIED: dict[str, Any] = {
    "sectors_verified": 0,
    "payloads_verified": 0,
    "mismatches": 0,
    "first_file": "",
    "first_offset": 0,
    "first_what": "",
}


def _verified(back: ReadBack) -> dict[str, Any]:
    return {name: getattr(back, name) for name in _UNVERIFIED}


def _peak_bytes() -> int:
    """The most memory that this process has ever had resident."""
    status = Path("/proc/self/status").read_text("ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10
