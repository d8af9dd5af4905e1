"""The native engine beside DLIO on the same files: what is read, opened and counted, AU, and speed.

Small data sets like unet3d's, resnet50's and cosmoflow's, and a table, are generated once and run
by both engines in turn, by MPI, with the same accelerators and compute time; then once more from
page cache without compute, for samples per second and core (CPU of all processes of a rank).
DLIO runs with the formatting of its index map defused, and once as it is (`--dlio-stock`).

Bars: bytes and samples equal within 1 %; AU within 2 points where storage or compute set both;
native 10 times stock DLIO and 5 times the defused one on small samples. Where a known property of
DLIO explains a difference, the run's own findings are printed below the table.

    python bench/engine_parity.py --folder /mnt/storage --pairs 3
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

IN_OPEN = 0x20
IN_Q_OVERFLOW = 0x4000
ENGINES = {
    "native": [],
    "dlio": ["--engine", "dlio"],
    "stock": ["--engine", "dlio", "--dlio-stock"],
}
SMALL_BYTES = 500_000
BARS = {"dlio": 5.0, "stock": 10.0}
BYTES_BAR, AU_BAR = 0.01, 2.0


@dataclass(frozen=True)
class Case:
    """A workload and how much of it: figures as in a workload file."""

    name: str
    format: str
    record: int
    files: int
    per_file: int
    batch: int
    threads: int
    seconds: float

    def text(self, seconds: float) -> str:
        """The workload file, with that compute time."""
        return (
            f"model: {self.name}\n"
            f"dataset: {{format: {self.format}, record_length_bytes: {self.record},"
            f" num_samples_per_file: {self.per_file},"
            " parquet: {row_group_size: 64}}\n"
            f"reader: {{batch_size: {self.batch}, read_threads: {self.threads}}}\n"
            "train: {epochs: 2}\n"
            "metric: {au: 0}\n"
            f"accelerators: {{any: {{edition: own, train: {{computation_time: {seconds}}}}}}}\n"
        )


CASES = (
    Case("unet3d-like", "npz", 16 << 20, 64, 1, 2, 4, 0.4),
    Case("cosmoflow-like", "npz", 2_828_486, 256, 1, 1, 4, 0.1),
    Case("resnet50-like", "npy", 114_660, 4096, 1, 64, 4, 0.3),
    Case("parquet", "parquet", 114_660, 64, 64, 64, 4, 0.3),
)


class Opens:
    """Counts, by inotify, how often the files of a directory are opened."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC)
        if self._libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        self.count = 0
        self.lost = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:  # closed
                return
            position = 0
            while position < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, position)
                self.count += length > 0  # the directory itself has no name
                self.lost |= bool(mask & IN_Q_OVERFLOW)
                position += 16 + length


@dataclass
class Measured:
    """One run of one engine."""

    rank_bytes: list[int]
    samples: int
    opens: int
    au: float
    verdict: str
    per_core: float
    findings: list[str] = field(default_factory=list)


def run(home: Path, case: Case, engine: str, ranks: int, *, cached: bool) -> Measured:
    """One run of two epochs, of which the second counts."""
    path = home / f"{case.name}.yaml"
    path.write_text(case.text(0 if cached else case.seconds))
    opens = Opens(home / "data" / case.name / "train")
    done = subprocess.run(
        [
            sys.executable, "-m", "mlpstorage", "training", "run", "--model", case.name,
            "--workload-file", path.name, "-g", "any", "-na", str(ranks), "--data-dir", "data",
            "--json", "-aip", "--exec-type", "mpi", "--allow-run-as-root", "--oversubscribe",
            "--drop-caches", "off" if cached else "auto", "--skip-timeseries",
            "-p", f"dataset.num_files_train={case.files}", *ENGINES[engine],
        ],
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{engine} on {case.name} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    return measured(result, ranks, opens)


def measured(result: dict[str, Any], ranks: int, opens: Opens) -> Measured:
    """What the run directory says of the second epoch."""
    directory = Path(result["result_dir"])
    documents = [json.loads((directory / f"{r}_output.json").read_text()) for r in range(ranks)]
    counters = [document["2"]["counters"] for document in documents]
    cpu = sum(c["user_seconds"] + c["system_seconds"] for c in counters)
    samples = sum(c["samples"] for c in counters)
    summary = result["summary"]
    return Measured(
        rank_bytes=[c["rchar"] for c in counters],
        samples=samples,
        opens=-1 if opens.lost else opens.count // 2,
        au=summary["metric"]["train_au_percentage"][-1],
        verdict=summary["bottleneck"]["verdict"],
        per_core=samples / cpu,
        findings=list(summary.get("dlio_findings", [])),
    )


def compare(home: Path, case: Case, ranks: int, pairs: int) -> list[str]:
    """Print the rows of one case; DLIO's own findings."""
    subprocess.run(
        [
            sys.executable, "-m", "mlpstorage", "training", "datagen", "--model", case.name,
            "--workload-file", f"{case.name}.yaml", "--data-dir", "data",
            "-p", f"dataset.num_files_train={case.files}",
        ],
        cwd=home, check=True, capture_output=True,
    )  # fmt: skip
    cold: dict[str, list[Measured]] = {"native": [], "dlio": []}
    warm: dict[str, list[Measured]] = {name: [] for name in ENGINES}
    for _ in range(pairs):
        for engine, found in cold.items():
            found.append(run(home, case, engine, ranks, cached=False))
    for _ in range(pairs):
        for engine, found in warm.items():
            found.append(run(home, case, engine, ranks, cached=True))
    for engine, found in cold.items():
        row(case, engine, found, cold["native"], warm[engine], warm["native"])
    row(case, "stock", [], cold["native"], warm["stock"], warm["native"])
    return cold["dlio"][0].findings


def row(
    case: Case, engine: str, cold: list[Measured], native: list[Measured],
    warm: list[Measured], native_warm: list[Measured],
) -> None:  # fmt: skip
    """One line of the table: medians, and the bars that apply."""
    rate = median(m.per_core for m in warm)
    ratio = median(n.per_core / m.per_core for n, m in zip(native_warm, warm, strict=True))
    if cold:
        rank_mb = median(max(m.rank_bytes) for m in cold) / 1e6
        total = median(sum(m.rank_bytes) for m in cold)
        au = median(m.au for m in cold)
        verdicts = {m.verdict for m in cold}
        figures = f"{rank_mb:>10.1f} {cold[0].opens:>7} {cold[0].samples:>8} {au:>6.1f}"
        shown = "/".join(sorted(verdicts))
    else:
        figures, shown = f"{'':>34}", ""
    bars = []
    if cold and engine == "dlio":
        ours = median(sum(m.rank_bytes) for m in native)
        bars += [judged("bytes", abs(total / ours - 1) <= BYTES_BAR)]
        bars += [judged("samples", cold[0].samples == native[0].samples)]
        fair = {"storage-bound", "compute-bound"}
        if {m.verdict for m in (*cold, *native)} <= fair:
            bars += [judged("AU", abs(au - median(m.au for m in native)) <= AU_BAR)]
    if engine in BARS and case.record < SMALL_BYTES:
        bars += [judged(f"{BARS[engine]:.0f}×", ratio >= BARS[engine])]
    print(
        f"{case.name:<15} {engine:<7} {figures} {rate:>11,.0f} {ratio:>7.1f}  "
        f"{shown} {' '.join(bars)}",
        flush=True,
    )


def judged(name: str, met: bool) -> str:
    """A bar and whether it was met."""
    return f"[{name} {'met' if met else 'MISSED'}]"


def main() -> None:
    """Compare all cases, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where data go; a temporary folder by default")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", default="", help="the cases whose name contains this")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.ranks} ranks")
    print(
        f"{'':<23} {'MB/rank':>10} {'opened':>7} {'samples':>8} {'AU %':>6} "
        f"{'samples/s/core':>11} {'native ×':>7}"
    )
    home = Path(tempfile.mkdtemp(prefix="parity-", dir=options.folder))
    try:
        for case in CASES:
            if options.only in case.name:
                (home / f"{case.name}.yaml").write_text(case.text(case.seconds))
                for text in compare(home, case, options.ranks, options.pairs):
                    print(f"    DLIO: {text}")
                shutil.rmtree(home / "data")
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
