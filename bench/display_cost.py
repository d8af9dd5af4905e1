"""What the display costs: CPU of its frames, and a training run with live, lines and off in turn.

    python bench/display_cost.py [--pairs 6] [--epochs 150]

The first part draws frames of a run of 64 hosts on a pseudo-terminal, without waiting in between.
The second runs `training run` on a small data set in the page cache with no compute time, so that
whatever the display takes is missing there; the faces take turns, and each turn is compared with
the `off` of its own round.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from rich.console import Console

from mlpstorage.core.events import Figure, Note, Progress, Stage
from mlpstorage.display.live import LiveDisplay

FACES = ("live", "lines", "off")
_FRAMES = 300
_HOSTS = 64
WORKLOAD = """\
model: cost
dataset:
  format: npz
  record_length_bytes: 200000
  record_length_bytes_stdev: 0
  num_samples_per_file: 1
reader: {batch_size: 4, read_threads: 1, file_shuffle: seed}
train: {epochs: EPOCHS, computation_time: 0.0}
metric: {au: 0.0}
accelerators:
  h100: {edition: "own", train: {computation_time: 0.0}}
"""


class Terminal:
    """A pseudo-terminal whose output somebody reads."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.taken = 0
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while True:
            try:
                read = os.read(self.master, 1 << 16)
            except OSError:
                return
            if not read:
                return
            self.taken += len(read)


def frame_cost() -> float:
    """CPU seconds of one second of the live face: the events of 64 hosts, and a frame."""
    terminal = Terminal()
    stream = os.fdopen(terminal.slave, "w", encoding="utf-8")
    now = [0.0]
    display = LiveDisplay(
        console=Console(file=stream, force_terminal=True, highlight=False),
        clock=lambda: now[0],
        ticks=False,
    )
    display.show(Stage("measuring", 4, 7))
    display.show(Note("the clock of node2 is 2.1 s ahead", "warning"))
    began = time.process_time()
    for second in range(_FRAMES):
        now[0] = float(second)
        for rank in range(_HOSTS):
            host = f"node{rank}"
            display.show(
                Progress(rank, "epoch 1/5", second, _FRAMES, "steps", second << 30, 1, 5, host)
            )
            display.show(Figure(rank, "AU", 91.0, "%", 90.0, host=host))
            display.show(
                Figure(
                    rank, "waits for data", 6.0, "%", None, "lower",
                    compares_hosts=True, host=host,
                )
            )  # fmt: skip
        display.tick()
    return (time.process_time() - began) / _FRAMES


def command(home: Path, verb: str, *more: str) -> list[str]:
    """A command of the workload."""
    return [
        *(sys.executable, "-m", "mlpstorage", "training", verb, "--model", "cost"),
        *("--workload-file", str(home / "cost.yaml"), "--data-dir", str(home / "data"), *more),
        *("--params", "dataset.num_files_train=1200"),
    ]


def run(home: Path, face: str) -> tuple[float, float]:
    """Samples per second of a run, and the controller's own CPU seconds per second."""
    words = command(
        home, "run", "-g", "h100", "-na", "2", "-aip", "--json", "--skip-timeseries",
        "--drop-caches", "off", "--progress", face, "--results-dir", str(home / "results"),
    )  # fmt: skip
    terminal = Terminal()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(words, stdout=out, stderr=terminal.slave)
        os.close(terminal.slave)
        began, used = time.monotonic(), 0.0
        while process.poll() is None:
            used = max(used, cpu_seconds(process.pid))
            time.sleep(0.1)
        seconds = time.monotonic() - began
        out.seek(0)
        document = json.load(out)
    os.close(terminal.master)
    metric = document["summary"]["metric"]
    return metric["train_throughput_mean_samples_per_second"], used / seconds


def cpu_seconds(pid: int) -> float:
    """What a process itself has used, its children left out; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=150)
    asked = parser.parse_args()
    cost = frame_cost()
    print(f"live face, {_HOSTS} hosts: {1000 * cost:.2f} ms of CPU a second,", end=" ")
    print(f"{100 * cost:.2f} % of a core")
    home = Path(tempfile.mkdtemp(prefix="display-cost-"))
    try:
        (home / "cost.yaml").write_text(WORKLOAD.replace("EPOCHS", str(asked.epochs)))
        made = command(home, "datagen", "-np", "2", "--results-dir", str(home / "results"))
        subprocess.run(made, check=True, capture_output=True)
        rates: dict[str, list[float]] = {face: [] for face in FACES}
        used: dict[str, list[float]] = {face: [] for face in FACES}
        for turn in range(asked.pairs):
            for face in FACES[turn % 3 :] + FACES[: turn % 3]:
                rate, cores = run(home, face)
                rates[face].append(rate)
                used[face].append(cores)
        for face in FACES:
            ratios = [a / b for a, b in zip(rates[face], rates["off"], strict=True)]
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            print(
                f"{face:>5}: {statistics.median(rates[face]):8.0f} samples/s, "
                f"{statistics.median(ratios):.3f} of off ({spread}), "
                f"controller {100 * statistics.median(used[face]):.1f} % of a core in all"
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
