"""The speed of data generation against what fio writes to the same directory.

    python bench/datagen_vs_fio.py --dir /mnt/storage --pairs 5 --processes 2

Each pair writes the same number of files of the same size with the same number of processes, one
side after the other, alternating which goes first. Both sides end with every file on the device:
the generator fsyncs each file before it gets its name, fio runs with `fsync_on_close=1`. The
generator's time is that of its slowest process, from the first file to the last rename; fio's is
the longest `runtime` of its jobs; both leave out start-up. In a directory in memory (tmpfs) the
figure that matters is the rate per process: payload, checksums and framing included.

The bars: 0.9 of fio where the disk is the limit; 1 GB/s per process where it is not. They are
printed, not enforced.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mlpstorage.engine.dataset import DatasetSpec
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import begin_generation

if TYPE_CHECKING:
    from mlpstorage.engine.generate import GeneratedShare

SHAPES = {
    "unet3d": ("npz", 146_600_628, 1),
    "cosmoflow": ("tfrecord", 2_828_486, 1),
    "resnet50": ("tfrecord", 114_660, 1251),
}


def spec_of(model: str, total_bytes: int) -> DatasetSpec:
    """A data set of the model's files, all of the mean size, of about this many bytes."""
    form, record, per_file = SHAPES[model]
    files = max(2, round(total_bytes / (record * per_file)))
    return DatasetSpec(model, form, files, 0, per_file, record, 0.0, seed=1)


def _share(spec: DatasetSpec, folder: Path, rank: int, size: int) -> GeneratedShare:
    return generate_share(spec, folder, rank, size)


def generate(spec: DatasetSpec, folder: Path, processes: int) -> float:
    """Bytes per second of a generation; its files are removed again."""
    begin_generation(spec, folder)
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(_share, spec, folder, rank, processes) for rank in range(processes)]
        shares = [job.result() for job in jobs]
    shutil.rmtree(folder)
    return sum(s.bytes_written for s in shares) / max(s.seconds for s in shares)


def fio(spec: DatasetSpec, folder: Path, processes: int) -> float:
    """Bytes per second of fio writing as many files of the same size; they are removed again."""
    folder.mkdir()
    size, files = int(spec.file_bytes()[0]), spec.num_files // processes
    command = [
        "fio", "--name=write", f"--directory={folder}", "--rw=write", "--bs=1M",
        f"--numjobs={processes}", f"--nrfiles={files}", f"--filesize={size}",
        f"--size={size * files}", "--openfiles=1", "--file_service_type=sequential",
        "--create_on_open=1", "--fallocate=none", "--ioengine=psync", "--iomem_align=4k",
        "--fsync_on_close=1", "--output-format=json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    jobs = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    return sum(j["write"]["io_bytes"] for j in jobs) / max(j["job_runtime"] for j in jobs) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--gib", type=float, default=2.0, help="what one side of a pair writes")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="datagen_vs_fio.", dir=arguments.dir))
    try:
        print("model      ratio   min   max   ours GB/s  per process  fio GB/s")
        for model in arguments.models:
            spec = spec_of(model, round(arguments.gib * (1 << 30)))
            ours, theirs = [], []
            for pair in range(arguments.pairs):
                sides = [(generate, ours), (fio, theirs)]
                for write, rates in sides if pair % 2 else sides[::-1]:
                    rates.append(write(spec, scratch / "data", arguments.processes))
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            rate = median(ours) / 1e9
            print(
                f"{model:9} {median(ratios):6.2f} {min(ratios):5.2f} {max(ratios):5.2f}"
                f" {rate:10.2f} {rate / arguments.processes:12.2f} {median(theirs) / 1e9:9.2f}",
                flush=True,
            )
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
