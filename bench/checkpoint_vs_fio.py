"""The engine's checkpoint bandwidth against fio's, and against torch.save and torch.load.

    python bench/checkpoint_vs_fio.py --dir /mnt/storage --pairs 7

What makes it fair:

- --ranks processes write or read one file of --size each, with --threads threads per file and calls
  of --block bytes, with O_DIRECT, on both sides. The engine's side is `write_shards` and
  `read_shards`, as a checkpointing rank uses them, to the rename and the fsync of the folder.
- fio runs as many threads on as many files (`psync`), block by block in turn like the engine's
  (sequential with a skip), with `end_fsync=1`. It reserves the blocks of a file before its clock
  runs (its default); the engine does so while its own clock runs.
- Both sides' buffers are transparent huge pages where the kernel gives them: the engine asks for
  them itself, fio's C library by a tunable (glibc 2.35). `--small-pages` leaves fio without.
- Both times leave out start-up: fio's is the longest `runtime` of its threads, the engine's the
  longest time of its ranks, which start at a barrier. CPU is that of the ranks in the timed part,
  stamping and verifying included, and fio's `usr_cpu` + `sys_cpu`.
- Files are new before each write; before each read the page cache is dropped (as root the host's,
  otherwise the files').
- Pairs alternate which side goes first. On a virtual machine only the medians of several pairs mean
  something; `--control` puts fio in both places and shows what noise alone gives.

The bars are a ratio of 0.95 for writing and reading, and 0.1 CPU-seconds per GB with verification
off. What verification costs is measured beside it. They are printed, not enforced.

Where torch can be imported, the same number of processes save and load a tensor of the same size
(torch.save, fsync, torch.load), and the ratios are printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mlpstorage.engine.checkpoint.lanes import Buffers, Shard
from mlpstorage.engine.checkpoint.reading import read_shards
from mlpstorage.engine.checkpoint.stamps import file_ident
from mlpstorage.engine.checkpoint.writing import write_shards
from mlpstorage.engine.files import drop_files, drop_system_cache, may_drop_system_cache
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
SEED = 1
BAR_RATE = 0.95
BAR_CPU = 0.1


@dataclass(frozen=True)
class Moved:
    """One measurement: bytes in a time, for how much CPU of all processes together."""

    bytes: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds

    @property
    def cpu_per_gb(self) -> float:
        """CPU-seconds per 10⁹ bytes."""
        return self.cpu_seconds / (self.bytes / 1e9)


@dataclass(frozen=True)
class Setting:
    """What both sides do."""

    folder: Path
    ranks: int
    size: int
    threads: int
    block: int
    small_pages: bool

    @property
    def total(self) -> int:
        """Bytes of all ranks."""
        return self.ranks * self.size


def _rank(
    prepare: Callable[[Setting, int], Callable[[], float]],
    setting: Setting,
    rank: int,
    meet: multiprocessing.synchronize.Barrier,
    results: multiprocessing.Queue[tuple[float, float]],
) -> None:
    work = prepare(setting, rank)
    meet.wait()
    before = _cpu_seconds()
    seconds = work()
    results.put((seconds, _cpu_seconds() - before))


def ranks(prepare: Callable[[Setting, int], Callable[[], float]], setting: Setting) -> Moved:
    """Do a work in one process per rank; what it took until the last was done."""
    context = multiprocessing.get_context("spawn")
    meet, results = context.Barrier(setting.ranks), context.Queue()
    processes = [
        context.Process(target=_rank, args=(prepare, setting, rank, meet, results))
        for rank in range(setting.ranks)
    ]
    for process in processes:
        process.start()
    told = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return Moved(setting.total, max(seconds for seconds, _ in told), sum(cpu for _, cpu in told))


def _shard(setting: Setting, rank: int) -> Shard:
    return Shard(f"rank{rank}.pt", setting.size, file_ident(1, rank, 0))


def engine_write(setting: Setting, rank: int) -> Callable[[], float]:
    """A rank that writes with the engine."""
    buffers = Buffers(setting.threads, setting.block)
    for index, buffer in enumerate(buffers.all):
        buffer.fill(Payload(SEED, (rank << 16) | index), SEED)
    folder, shards = setting.folder / "engine", [_shard(setting, rank)]
    return lambda: write_shards(folder, shards, buffers, depth=setting.threads, direct=True).seconds


def engine_read(setting: Setting, rank: int) -> Callable[[], float]:
    """A rank that reads with the engine, unverified."""
    buffers = Buffers(setting.threads, setting.block)
    folder, shards = setting.folder / "engine", [_shard(setting, rank)]
    return lambda: (
        read_shards(
            folder, shards, buffers, depth=setting.threads, direct=True, seed=SEED, check="off"
        ).seconds
    )


def engine_verify(setting: Setting, rank: int) -> Callable[[], float]:
    """A rank that reads with the engine and verifies all stamps."""
    buffers = Buffers(setting.threads, setting.block)
    folder, shards = setting.folder / "engine", [_shard(setting, rank)]

    def work() -> float:
        back = read_shards(folder, shards, buffers, depth=setting.threads, direct=True, seed=SEED)
        if back.mismatches:
            raise RuntimeError(f"{back.first_file} at {back.first_offset} {back.first_what}")
        return back.seconds

    return work


def torch_save(setting: Setting, rank: int) -> Callable[[], float]:
    """A rank that saves a tensor with torch, and makes it durable."""
    import torch

    tensor = torch.randint(0, 256, (setting.size,), dtype=torch.uint8)
    path = setting.folder / "torch" / f"rank{rank}.pt"
    path.parent.mkdir(exist_ok=True)

    def work() -> float:
        began = time.perf_counter()
        with path.open("wb") as file:
            torch.save({"tensor": tensor}, file)
            file.flush()
            os.fsync(file.fileno())
        return time.perf_counter() - began

    return work


def torch_load(setting: Setting, rank: int) -> Callable[[], float]:
    """A rank that loads a tensor with torch."""
    import torch

    path = setting.folder / "torch" / f"rank{rank}.pt"

    def work() -> float:
        began = time.perf_counter()
        loaded = torch.load(path)
        seconds = time.perf_counter() - began
        if loaded["tensor"].numel() != setting.size:
            raise RuntimeError(f"{path} holds another tensor")
        return seconds

    return work


def fio(setting: Setting, verb: str) -> Moved:
    """The same by fio.

    Raises:
        RuntimeError: fio failed, or moved something else than all of the files.
    """
    folder = setting.folder / "fio"
    folder.mkdir(exist_ok=True)
    skip = (setting.threads - 1) * setting.block
    lines = [
        "[global]", f"directory={folder}", "thread", "ioengine=psync", f"rw={verb}:{skip}",
        f"bs={setting.block}", "direct=1", "iomem_align=4k", "invalidate=0", "fadvise_hint=0",
        f"size={setting.size - skip}", f"io_size={setting.size // setting.threads}",
        f"offset_increment={setting.block}", f"numjobs={setting.threads}",
        *(["end_fsync=1"] if verb == "write" else []),
    ]  # fmt: skip
    for rank in range(setting.ranks):
        lines += [f"[rank{rank}]", f"filename=rank{rank}.pt"]
    job = setting.folder / "job.fio"
    job.write_text("\n".join(lines) + "\n", "utf-8")
    pages = {} if setting.small_pages else {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run(
        ["fio", "--output-format=json", str(job)],
        capture_output=True, text=True, check=False, env={**os.environ, **pages},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"fio failed: {done.stderr or done.stdout}")
    jobs = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    moved = Moved(
        bytes=sum(job[verb]["io_bytes"] for job in jobs),
        seconds=max(job["job_runtime"] for job in jobs) / 1e3,
        cpu_seconds=sum((j["usr_cpu"] + j["sys_cpu"]) * j["job_runtime"] for j in jobs) / 1e5,
    )
    if moved.bytes != setting.total:
        raise RuntimeError(f"fio moved {moved.bytes} of {setting.total} bytes")
    return moved


@dataclass(frozen=True)
class Case:
    """One direction, with the measurements of both sides and of what else is compared."""

    name: str
    verb: str
    engine: Callable[[Setting], Moved]
    ours: list[Moved] = field(default_factory=list)
    theirs: list[Moved] = field(default_factory=list)

    def pair(self, setting: Setting, *, engine_first: bool) -> None:
        """Measure both sides, one after the other."""
        for ours in (engine_first, not engine_first):
            _prepare(setting, self.verb, "engine" if ours else "fio")
            if ours:
                self.ours.append(self.engine(setting))
            else:
                self.theirs.append(fio(setting, self.verb))

    def report(self) -> str:
        """The figures as a line of the table."""
        ratios = [a.rate / b.rate for a, b in zip(self.ours, self.theirs, strict=True)]
        cpu = median(moved.cpu_per_gb for moved in self.ours)
        bars = (
            ""
            if self.name == "verify"
            else (
                f" {'met' if median(ratios) >= BAR_RATE else 'MISSED'}"
                f" {'met' if cpu <= BAR_CPU else 'MISSED'}"
            )
        )
        return (
            f"{self.name:7} {median(ratios):6.2f} {min(ratios):5.2f} {max(ratios):5.2f}"
            f" {_rate(self.ours):9.0f} {_rate(self.theirs):9.0f} {cpu:9.3f}"
            f" {median(moved.cpu_per_gb for moved in self.theirs):9.3f}{bars}"
        )


HEADER = "         ratio   min   max engine MB/s  fio MB/s CPU-s/GB  fio's    rate, CPU"


def main() -> None:
    arguments = _arguments()
    with _scratch(arguments.dir) as folder:
        setting = Setting(
            folder, arguments.ranks, arguments.size * MIB, arguments.threads, arguments.block,
            arguments.small_pages,
        )  # fmt: skip
        cases = _cases(control=arguments.control)
        for pair in range(arguments.pairs):
            for case in cases:
                case.pair(setting, engine_first=bool(pair % 2))
                ours, theirs = case.ours[-1], case.theirs[-1]
                print(
                    f"  pair {pair + 1} {case.name}: engine {ours.rate / 1e6:.0f} MB/s, "
                    f"fio {theirs.rate / 1e6:.0f} MB/s, ratio {ours.rate / theirs.rate:.2f}",
                    flush=True,
                )
        print("\n" + HEADER)
        for case in cases:
            print(case.report())
        _verification(cases)
        _torch(setting, arguments.pairs)


def _cases(*, control: bool) -> list[Case]:
    if control:
        return [Case(verb, verb, lambda s, verb=verb: fio(s, verb)) for verb in ("write", "read")]
    return [
        Case("write", "write", lambda s: ranks(engine_write, s)),
        Case("read", "read", lambda s: ranks(engine_read, s)),
        Case("verify", "read", lambda s: ranks(engine_verify, s)),
    ]


def _prepare(setting: Setting, verb: str, side: str) -> None:
    """New files before writing, cold ones before reading."""
    folder = setting.folder / side
    if verb == "write":
        shutil.rmtree(folder, ignore_errors=True)
        os.sync()
    elif may_drop_system_cache():
        drop_system_cache()
    else:
        drop_files(folder.iterdir())


def _verification(cases: list[Case]) -> None:
    """What comparing all stamps costs beside reading alone."""
    named = {case.name: case.ours for case in cases}
    if "verify" not in named:
        return
    ratio = median(a.rate / b.rate for a, b in zip(named["verify"], named["read"], strict=True))
    cpu = [median(moved.cpu_per_gb for moved in named[name]) for name in ("verify", "read")]
    print(
        f"verifying all stamps: {ratio:.2f} of the rate without, "
        f"{cpu[0] - cpu[1]:.3f} CPU-seconds per GB more"
    )


def _torch(setting: Setting, pairs: int) -> None:
    """The engine against torch.save and torch.load, alternated."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: not compared")
        return
    for name, verb, ours, theirs in (
        ("torch.save", "write", engine_write, torch_save),
        ("torch.load", "read", engine_read, torch_load),
    ):
        rates: list[float] = []
        costs: list[float] = []
        for pair in range(pairs):
            found: dict[bool, Moved] = {}
            for engine in (bool(pair % 2), not pair % 2):
                _prepare(setting, verb, "engine" if engine else "torch")
                (setting.folder / "torch").mkdir(exist_ok=True)
                found[engine] = ranks(ours if engine else theirs, setting)
            rates.append(found[True].rate / found[False].rate)
            costs.append(found[False].cpu_per_gb)
        print(
            f"{name}: the engine has {median(rates):.1f} times its rate "
            f"({min(rates):.1f} to {max(rates):.1f}); torch takes {median(costs):.2f} "
            "CPU-seconds per GB"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--size", type=int, default=1024, help="MiB per rank")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--block", type=int, default=8 * MIB, help="bytes of one call")
    parser.add_argument("--small-pages", action="store_true", help="for fio's buffers")
    parser.add_argument("--control", action="store_true", help="fio against fio")
    return parser.parse_args()


def _rate(side: list[Moved]) -> float:
    return median(moved.rate for moved in side) / 1e6


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder for the data, removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix="checkpoint_vs_fio.", dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
