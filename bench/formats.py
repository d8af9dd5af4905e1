"""What the native engine costs over plain reads, format by format, from the page cache.

Per format a data set is generated, read once to warm the cache, then read in turn by the engine
(one reader thread) and by a loop that opens the same files and only `pread`s the same bytes into
the same buffer. Ratios are of wall time, the median of several pairs; CPU is of the whole process.
Bar: 0.8 of the loop without decoding. Decoding is shown beside, by the engine's own count.

    python bench/formats.py --folder /dev/shm/formats
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.access import ReadSettings, access_of
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import DatasetSpec
from mlpstorage.engine.epoch import plan_epoch
from mlpstorage.engine.footers import Footers
from mlpstorage.engine.formats.parquet.schema import Column, Table
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import begin_generation, finish_generation
from mlpstorage.kinds.training.workload import resolve_workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.dataset import Manifest

BAR = 0.8
READ_BYTES = 2 << 20


@dataclass(frozen=True)
class Case:
    """A data set to read: `files` files of `samples` samples of `record` bytes."""

    name: str
    format: str
    files: int
    samples: int
    record: int
    table: Table | None = None
    columns: tuple[str, ...] = ()
    decode: bool = True


def cases(scale: float) -> Iterator[Case]:
    """One sample per file of 150 kB where pictures are usual, and many per file where they are."""
    few = max(8, round(1500 * scale))
    for fmt in ("npz", "npy", "hdf5", "tfrecord", "jpeg", "png", "csv"):
        yield Case(f"{fmt}, 1 per file", fmt, few, 1, 150_000)
    yield Case("npz, 128 MiB, 1 per file", "npz", max(2, round(4 * scale)), 1, 128 << 20)
    for fmt in ("npz", "npy", "hdf5", "tfrecord"):
        yield Case(f"{fmt}, 512 per file", fmt, max(2, round(4 * scale)), 512, 115_000)
    yield Case(
        "indexed_binary, 65536 per file", "indexed_binary", max(2, round(16 * scale)), 65_536, 160
    )
    blob = Table((Column("data", "binary", 115_000),), 64)
    yield Case(
        "parquet, one column", "parquet", max(2, round(4 * scale)), 512, 115_000, blob, ("data",)
    )
    for model, files, samples in (("dlrm", 16, round(20 * scale) * 6144), ("flux", 2, 48)):
        workload = resolve_workload(model, "b200").workload
        yield Case(
            f"parquet, {model}", "parquet", files, samples, workload.record_bytes,
            workload.table, workload.read_columns,
        )  # fmt: skip


def generated(case: Case, folder: Path) -> Manifest:
    """The data set of a case."""
    spec = DatasetSpec(
        "bench", case.format, case.files, 0, case.samples, case.record, 0.0, 10, case.table
    )
    begin_generation(spec, folder)
    generate_share(spec, folder, 0, 1)
    return finish_generation(spec, folder, "2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class Spent:
    """Wall and CPU seconds of one pass, and the CPU share that the engine counts as decoding."""

    wall: float
    cpu: float
    decode: float = 0.0


def engine_pass(manifest: Manifest, folder: Path, case: Case, *, decode: bool) -> Spent:
    """One epoch by one reader thread; batches of a tenth of the data."""
    spec = manifest.spec
    batch = max(1, spec.num_files * spec.samples_per_file // 10)
    settings = ReadSettings(
        [aligned_buffer(READ_BYTES)], ahead=4, columns=case.columns, decode=decode
    )
    plan = plan_epoch(
        np.arange(spec.num_files), samples_per_file=spec.samples_per_file, batch=batch,
        rank=0, ranks=1,
    )  # fmt: skip
    epoch = access_of(manifest, folder, settings).epoch(plan)
    wall, cpu = time.perf_counter(), time.process_time()
    with epoch.pool:
        for step in range(epoch.plan.steps):
            epoch.pool.batches.wait(step)
    return Spent(
        time.perf_counter() - wall, time.process_time() - cpu, sum(epoch.pool.decode_ns) / 1e9
    )


def loop_ranges(
    manifest: Manifest, folder: Path, case: Case
) -> list[tuple[str, list[tuple[int, int]]]]:
    """The same bytes as the engine reads, file by file (without footers and indexes)."""
    spec = manifest.spec
    path = spec.namer(str(folder))
    if spec.table is None:
        return [(path(i), [(0, int(manifest.file_bytes[i]))]) for i in range(spec.num_files)]
    footers = Footers(path, spec.table, spec.samples_per_file, case.columns)
    found = []
    for index in range(spec.num_files):
        reads = footers.of(index).reads
        found.append(
            (path(index), [r for g in range(len(reads.group_first)) for r in reads.ranges(g)])
        )
    return found


def loop_pass(ranges: list[tuple[str, list[tuple[int, int]]]], buffer: memoryview) -> Spent:
    """Open, `preadv`, close; nothing else."""
    length = len(buffer)
    wall, cpu = time.perf_counter(), time.process_time()
    for path, parts in ranges:
        fd = os.open(path, os.O_RDONLY)
        for begin, end in parts:
            position = begin
            while position < end:
                view = buffer if end - position >= length else buffer[: end - position]
                position += os.preadv(fd, [view], position)
        os.close(fd)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def measure(case: Case, folder: Path, pairs: int) -> None:
    """Print one row."""
    manifest = generated(case, folder)
    ranges = loop_ranges(manifest, folder, case)
    count = sum(end - begin for _, parts in ranges for begin, end in parts)
    samples = manifest.spec.num_files * manifest.spec.samples_per_file
    buffer = aligned_buffer(READ_BYTES)
    loop_pass(ranges, buffer)
    engine_pass(manifest, folder, case, decode=False)
    engine, loop = [], []
    for _ in range(pairs):
        engine.append(engine_pass(manifest, folder, case, decode=False))
        loop.append(loop_pass(ranges, buffer))
    ratios = sorted(b.wall / a.wall for a, b in zip(engine, loop, strict=True))
    ratio = statistics.median(ratios)
    cpu = statistics.median(a.cpu for a in engine)
    cpu_loop = statistics.median(b.cpu for b in loop)
    decoded = engine_pass(manifest, folder, case, decode=True)
    print(
        f"{case.name:<31} {samples / cpu:>12,.0f} {count / cpu / 1e6:>8,.0f} "
        f"{count / cpu_loop / 1e6:>8,.0f} {ratio:>6.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        f" {'met' if ratio >= BAR else 'MISSED':<7}"
        f"{samples / decoded.decode:>12,.0f} {count / decoded.decode / 1e6:>8,.0f}",
        flush=True,
    )


def main() -> None:
    """Measure all formats, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="where the data go; a temporary folder if not given"
    )
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the data sets' sizes (0.2-0.5 GB each)"
    )
    parser.add_argument("--only", default="", help="the cases whose name contains this")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPUs, load {load:.1f}; one reader thread, per core of CPU time")
    print(
        f"{'':<31} {'samples/s':>12} {'MB/s':>8} {'loop':>8} {'wall ratio to loop':>18}  bar"
        f"    {'decoding: samples/s':>16} {'MB/s':>6}"
    )
    for case in cases(options.scale):
        if options.only in case.name:
            folder = Path(tempfile.mkdtemp(prefix="formats-", dir=options.folder))
            try:
                measure(case, folder, options.pairs)
            finally:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
