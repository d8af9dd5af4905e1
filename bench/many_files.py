"""How long a run over very many small files takes to start, and what memory a rank needs for it.

Makes a data set of sparse 4 KiB files (retinanet's count by default), runs the installed command
(a part of it under strace), and prints the time to the first step, the largest resident memory of
any process of the run, and how many directories it listed. Bars: 10 s, 300 MB, none.

    python bench/many_files.py --folder /dev/shm
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from mlpstorage.engine.dataset import DatasetSpec, Manifest

FILE_BYTES = 4096
TRACED_FILES = 2400
MOST_SECONDS = 10.0
MOST_MEMORY_BYTES = 300e6
WORKLOAD = f"""\
model: many
dataset: {{format: jpeg, record_length_bytes: {FILE_BYTES}}}
reader: {{batch_size: 24, read_threads: 8, file_shuffle: seed}}
train: {{epochs: 1}}
metric: {{au: 0}}
accelerators:
  b200: {{edition: "own", train: {{computation_time: 0}}}}
"""


def make(folder: Path, files: int) -> None:
    """Sparse files of the right names and sizes, and their manifest."""
    spec = DatasetSpec("many", "jpeg", files, -(-files // 10_000), 1, FILE_BYTES, 0.0, 10)
    for name in spec.subfolders():
        (folder / name).mkdir(parents=True)
    path = spec.namer(str(folder))
    for index in range(files):
        fd = os.open(path(index), os.O_WRONLY | os.O_CREAT)
        os.ftruncate(fd, FILE_BYTES)
        os.close(fd)
    Manifest.of(spec, "2026-01-01T00:00:00Z").save(folder)


def first_step(results: Path) -> tuple[float, float]:
    """When the first rank reported its first epoch, and when the run ended; seconds since 1970."""
    (journal,) = results.rglob("events.jsonl")
    events = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    begun = next(e for e in events if str(e.get("activity", "")).startswith("epoch"))
    times = [datetime.fromisoformat(e["time"]).timestamp() for e in (begun, events[-1])]
    return times[0], times[1]


def command(files: int) -> list[str]:
    """The run over the first so many of the files."""
    return [
        sys.executable, "-m", "mlpstorage", "training", "run", "--model", "many",
        "--workload-file", "many.yaml", "-g", "b200", "-na", "1", "--data-dir", "data",
        "--results-dir", "results", "--drop-caches", "off", "--quiet", "--allow-invalid-params",
        "-p", f"dataset.num_files_train={files}",
    ]  # fmt: skip


def listings(home: Path) -> list[str]:
    """What of the data directories is listed in a run that reads some of the files.

    Under strace a run is a hundred times as slow; which directories it lists is the same.
    """
    trace = home / "strace"
    strace = ["strace", "-f", "-qq", "-e", "trace=getdents64,getdents", "-y", "-o", str(trace)]
    subprocess.run(
        [*strace, *command(TRACED_FILES)], cwd=home, check=True, stdout=subprocess.DEVNULL
    )
    return [line for line in trace.read_text().splitlines() if str(home / "data") in line]


def main() -> None:
    """Make, run, print, clear up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_200_000)
    parser.add_argument(
        "--folder", type=Path, help="where to make them; a temporary folder if not given"
    )
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="many-", dir=options.folder))
    try:
        began = time.perf_counter()
        make(home / "data" / "many", options.files)
        print(f"{options.files} files made in {time.perf_counter() - began:.1f} s")
        (home / "many.yaml").write_text(WORKLOAD)
        began = time.time()
        subprocess.run(command(options.files), cwd=home, check=True, stdout=subprocess.DEVNULL)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        started, ended = first_step(home / "results")
        seconds = started - began
        print(f"first step after {seconds:.1f} s ({'met' if seconds < MOST_SECONDS else 'MISSED'})")
        print(f"memory {memory / 1e6:.0f} MB ({'met' if memory < MOST_MEMORY_BYTES else 'MISSED'})")
        print(f"{options.files / (ended - started):,.0f} files/s from then on")
        listed = listings(home)
        print(f"listings of data directories: {len(listed)} ({'MISSED' if listed else 'met'})")
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
