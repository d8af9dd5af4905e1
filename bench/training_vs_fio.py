"""The engine's read bandwidth against fio's: large and small files, direct, cold, from page cache.

    python bench/training_vs_fio.py --dir /mnt/storage --pairs 7

What makes it fair:

- One process reads with --threads threads on each side, the same files in the same order, whole,
  with reads of the same size. The engine's side is `ReaderPool` over an `EpochPlan`, as a training
  rank uses it, with names and sizes from the data set's specification, and no emulated compute.
- fio reads with `psync` (the engine's `pread`) from `thread`s, one file open at a time per thread
  (`openfiles=1`), into page-aligned memory (`iomem_align=4k`: its buffered reads cost twice the CPU
  without). It gives the kernel no hint (`fadvise_hint=0`) and does not empty the cache itself
  (`invalidate=0`), because the engine does neither.
- The engine's buffers are huge pages where the kernel gives them, fio's are small ones by default.
  What that gains direct reads is a setting and not a merit: `--fio-iomem mmaphuge` gives fio the
  same, once the pages are reserved (`sysctl vm.nr_hugepages=64`).
- Every file is a multiple of 4 KiB long: fio leaves out a tail that is shorter than its block. A
  small file is one read of its exact size.
- fio's threads have fixed shares of the files, the engine's take the next file: that difference is
  the engine's own merit. A share of fio's differs by one file at most.
- Both times leave out start-up: fio's is the longest `runtime` of its threads, the engine's is from
  the start of the reader threads to their end. fio reports milliseconds, so cached files are read
  in several passes (fio's `loops`), an epoch that names each file several times for the engine.
- CPU is that of the engine's process while it reads, and fio's `usr_cpu` + `sys_cpu`.
- Before each cold or direct measurement the page cache is dropped (as root the host's, otherwise
  the files'); before cached ones the files are read once. Both stand in the same page cache.
- Pairs alternate which side goes first. On a virtual machine only the medians of several pairs mean
  something; `--control` puts fio in both places and shows what noise alone gives.

The bar is a ratio of 0.95 for large and 0.9 for small files. It is printed, not enforced.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from fio_reader import FioReader, Reading
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import DatasetSpec
from mlpstorage.engine.epoch import plan_epoch
from mlpstorage.engine.files import drop_files, drop_system_cache, may_drop_system_cache
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import begin_generation, finish_generation
from mlpstorage.engine.reading import Extent, ReaderPool

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
MODES = ("direct", "cold", "cached")
# Enough for about a second on a core that copies some GB/s.
CACHED_BYTES = 8 << 30


@dataclass(frozen=True)
class FileSet:
    """Files of one size, how they make batches, and what the engine has to reach on them."""

    name: str
    files: int
    file_bytes: int
    batch: int
    bar: float

    def spec(self) -> DatasetSpec:
        """TFRecord files of exactly that size: the format has no gaps in the sizes it can take."""
        record = self.file_bytes
        for _ in range(3):
            made = format_of("tfrecord").file_bytes(np.asarray(record, np.int64), 1)
            record += self.file_bytes - int(made)
        return DatasetSpec(self.name, "tfrecord", self.files, 0, 1, record, 0.0, seed=1)


FULL = (FileSet("large", 64, 64 * MIB, 8, 0.95), FileSet("small", 4000, 28 * 4096, 400, 0.9))
QUICK = (FileSet("large", 16, 16 * MIB, 8, 0.95), FileSet("small", 1000, 28 * 4096, 100, 0.9))


class EngineReader:
    """Reads a data set as a training rank does.

    Args:
        spec: The data set.
        folder: Where it lies.
        batch: Samples per batch.
        threads: Reader threads.
        block: The bytes of one read.
    """

    def __init__(
        self, spec: DatasetSpec, folder: Path, batch: int, threads: int, block: int
    ) -> None:
        self._spec = spec
        self._folder = str(folder)
        self._sizes: list[int] = spec.file_bytes().tolist()
        self._batch = batch
        self._buffers = [aligned_buffer(block) for _ in range(threads)]

    def read(self, *, direct: bool, passes: int) -> Reading:
        """Read every file `passes` times.

        Raises:
            RuntimeError: something else than all of the files was read.
        """
        order = np.tile(np.arange(self._spec.num_files), passes)
        plan = plan_epoch(order, samples_per_file=1, batch=self._batch, rank=0, ranks=1)
        files: list[int] = plan.files.tolist()
        path, sizes = self._spec.namer(self._folder), self._sizes

        def whole(visit: int) -> Extent:
            file = files[visit]
            return Extent(path(file), 0, sizes[file])

        pool = ReaderPool(plan, whole, lambda _visit, _n: 1, self._buffers, direct=direct, ahead=8)
        cpu, began = _cpu_seconds(), time.perf_counter()
        with pool:
            for step in range(plan.steps):
                pool.batches.wait(step)
        seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
        if sum(pool.bytes_read) != passes * sum(sizes):
            raise RuntimeError(f"{sum(pool.bytes_read)} of {passes * sum(sizes)} bytes were read")
        return Reading(len(files), sum(pool.bytes_read), seconds, cpu)


@dataclass(frozen=True)
class Case:
    """A file set in one mode of reading, with the measurements of both sides."""

    set: FileSet
    mode: str
    engine: list[Reading]
    fio: list[Reading]

    def report(self) -> str:
        """The figures as a line of the table."""
        pairs = zip(self.engine, self.fio, strict=True)
        ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
        middle = median(ratios)
        small = self.set.file_bytes < MIB
        unit = "file" if small else "MiB"
        ours, theirs = (
            median(r.cpu_seconds * 1e6 / (r.files if small else r.bytes / MIB) for r in side)
            for side in (self.engine, self.fio)
        )
        return (
            f"{self.set.name:6} {self.mode:7} {middle:6.2f} {min(ratios):5.2f} {max(ratios):5.2f}"
            f" {_mb_per_second(self.engine):8.0f} {_mb_per_second(self.fio):8.0f}"
            f" {ours:7.1f} {theirs:7.1f} µs/{unit:5}"
            f" {self.set.bar:.2f} {'met' if middle >= self.set.bar else 'MISSED'}"
        )

    def per_core(self) -> str:
        """Samples per second of CPU: what a core can do when storage costs nothing."""
        ours, theirs = (
            median(r.files / r.cpu_seconds for r in side) for side in (self.engine, self.fio)
        )
        return (
            f"{self.set.name} files from page cache, samples/s per core: "
            f"engine {ours:,.0f}, fio {theirs:,.0f}"
        )


HEADER = "files  mode    ratio   min   max  engine MB/s  fio  CPU eng.    fio           bar"


def main() -> None:
    arguments = _arguments()
    cases = []
    with _scratch(arguments.dir) as scratch:
        for files in QUICK if arguments.quick else FULL:
            if files.name not in arguments.files:
                continue
            print(f"generating {files.files} files of {files.file_bytes} bytes", flush=True)
            cases += _measured(files, scratch, arguments)
    print("\n" + HEADER)
    for case in cases:
        print(case.report())
    for case in cases:
        if case.mode == "cached" and case.set.name == "small":
            print(case.per_core())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument(
        "--transfer-size", type=int, default=2 * MIB, help="of a large file's reads"
    )
    parser.add_argument(
        "--files", nargs="+", choices=("large", "small"), default=("large", "small")
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--quick", action="store_true", help="less data, for a look")
    parser.add_argument("--fio-iomem", default="malloc", help="kind of memory that fio reads into")
    parser.add_argument("--control", action="store_true", help="fio against fio")
    return parser.parse_args()


def _measured(files: FileSet, scratch: Path, arguments: argparse.Namespace) -> list[Case]:
    """All modes of one file set, on data that is made here and removed afterwards."""
    folder = scratch / files.name
    spec = files.spec()
    begin_generation(spec, folder)
    generate_share(spec, folder, 0, 1)
    finish_generation(spec, folder, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    paths = [folder / spec.relative_path(index) for index in range(files.files)]
    block = min(files.file_bytes, arguments.transfer_size)
    fio = FioReader(folder / "links", paths, arguments.threads, block, iomem=arguments.fio_iomem)
    engine: EngineReader | FioReader = fio
    if not arguments.control:
        engine = EngineReader(spec, folder, files.batch, arguments.threads, block)
    cases = [Case(files, mode, [], []) for mode in arguments.modes]
    for case in cases:
        for pair in range(arguments.pairs):
            sides = [(engine, case.engine), (fio, case.fio)]
            for reader, readings in sides if pair % 2 else sides[::-1]:
                readings.append(_once(reader, paths, case.mode, files))
            ours, theirs = case.engine[-1].rate / 1e6, case.fio[-1].rate / 1e6
            print(
                f"  {files.name} {case.mode} pair {pair + 1}: engine {ours:.0f} MB/s,"
                f" fio {theirs:.0f} MB/s, ratio {ours / theirs:.2f}",
                flush=True,
            )
    shutil.rmtree(folder)
    return cases


def _once(
    reader: EngineReader | FioReader, paths: list[Path], mode: str, files: FileSet
) -> Reading:
    if mode != "cached":
        if may_drop_system_cache():
            drop_system_cache()
        else:
            drop_files(paths)
        return reader.read(direct=mode == "direct", passes=1)
    passes = max(1, round(CACHED_BYTES / (files.files * files.file_bytes)))
    reader.read(direct=False, passes=1)
    return reader.read(direct=False, passes=passes)


def _mb_per_second(side: list[Reading]) -> float:
    return median(reading.rate for reading in side) / 1e6


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder for the data, removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix="training_vs_fio.", dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
