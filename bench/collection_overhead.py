"""What sampling the hosts costs a training run: its throughput with collection on against off.

    python bench/collection_overhead.py --dir /mnt/storage --pairs 6

A round is three runs of the same workload, in an order that is shuffled: off, off again, and on
(one sample a second meanwhile, ten times as often as by default). on/off shows the effect, off/off
what chance alone does. The files are read from the page cache and no computing is emulated, so the
run is bound by the processors: where it waits for storage or for emulated accelerators, collection
has more room. The bar: the median of on/off is within 1 %, and within the spread of off/off.
It is printed, not enforced: on a shared machine the spread is wider than the bar.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

WORKLOAD = """\
model: overhead
dataset:
  format: npz
  record_length_bytes: 1000000
  record_length_bytes_stdev: 0
  num_samples_per_file: 1
reader: {{batch_size: 4, read_threads: 1, file_shuffle: seed}}
train: {{epochs: {epochs}}}
metric: {{au: 0.5}}
accelerators:
  h100: {{edition: "own", train: {{computation_time: 0.0}}}}
"""


class Training:
    """A training run on cached files."""

    def __init__(self, folder: Path, files: int, epochs: int) -> None:
        self._folder, self._files = folder, files
        (folder / "workload.yaml").write_text(WORKLOAD.format(epochs=epochs), encoding="utf-8")
        self._call("datagen", "-np", "1")

    def _call(self, command: str, *words: str) -> str:
        argv = [
            sys.executable, "-m", "mlpstorage", "training", command, "--model", "overhead",
            "--workload-file", "workload.yaml", "--data-dir", "data",
            "--params", f"dataset.num_files_train={self._files}", *words,
        ]  # fmt: skip
        done = subprocess.run(argv, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1}:  # 1: so small a data set is never valid
            raise SystemExit(done.stderr)
        return done.stdout

    def samples_per_second(self, *watching: str) -> float:
        """The throughput of one run: the median of its epochs."""
        words = ("run", "-g", "h100", "-na", "1", "--drop-caches", "off", "--json", *watching)
        summary = json.loads(self._call(*words))["summary"]
        return median(summary["metric"]["train_throughput_samples_per_second"])


def show(name: str, ratios: list[float]) -> None:
    low, middle, high = quantiles(ratios, n=4)
    print(f"{name:8} median {middle:.4f}  quartiles {low:.4f} .. {high:.4f}"
          f"  range {min(ratios):.4f} .. {max(ratios):.4f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--interval", default="1", help="seconds between samples")
    parser.add_argument("--files", type=int, default=200, help="of 1 MB")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="collection-overhead-", dir=options.dir))
    try:
        training = Training(folder, options.files, options.epochs)
        off, on = ("--skip-timeseries",), ("--timeseries-interval", options.interval)
        training.samples_per_second(*off)  # brings the files into the page cache
        effect, chance = [], []
        for number in range(options.pairs):
            order = ["off", "again", "on"]
            random.shuffle(order)
            figures = {
                way: training.samples_per_second(*(on if way == "on" else off)) for way in order
            }
            effect.append(figures["on"] / figures["off"])
            chance.append(figures["again"] / figures["off"])
            print(f"round {number + 1}: off {figures['off']:.1f}, off {figures['again']:.1f},"
                  f" on {figures['on']:.1f} samples/s (order {' '.join(order)})")  # fmt: skip
        show("on/off", effect)
        show("off/off", chance)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
