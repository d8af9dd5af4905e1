"""Restoring KV blocks with the engine against fio: 256 KiB to 32 MiB, direct, stamps verified.

    python bench/kvcache_vs_fio.py --dir /mnt/storage --pairs 7

What makes it fair:

- Both read the same files (layout `files`, a file per block), each once per measurement, with the
  same number of threads and reads of the same size: a block, or 4 MiB pieces of a larger one.
- The engine's side is what a rank does in a run: a compiled plan of restores (8 blocks each, 4
  requests in flight), opening and closing every block, latencies recorded, every sector's stamp
  compared and one block in a hundred as a whole. fio compares nothing.
- fio reads with `psync` from `thread`s, one file open at a time per thread, into page-aligned
  memory; it is given the files in the plan's order. Its threads have fixed shares of the files, the
  engine's take what comes next, and share the pieces of a block: that difference is the engine's
  own merit.
- The engine's buffers are huge pages where the kernel gives them, fio's are small ones by default.
  What that gains direct reads is a setting and not a merit: `--small-pages` takes it from the
  engine, and `--fio-iomem mmaphuge` gives fio the same, once pages are reserved (`sysctl
  vm.nr_hugepages=64`).
- Both times leave out start-up: fio's is the longest `runtime` of its threads, the engine's is from
  the plan's start to the last byte. CPU is that of the whole process in that time, and fio's
  `usr_cpu` + `sys_cpu`.
- Pairs alternate which side goes first; the median of the ratios counts. `--control` puts fio in
  both places and shows what noise alone gives; `--verify off` shows what verification costs.

The bars: 0.95 of fio's rate from 1 MiB on, 0.90 at 256 KiB, and at most 0.05 CPU seconds per GB
(cores per GB/s) at 1 MiB. They are printed, not enforced.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from fio_reader import FioReader, Reading
from mlpstorage.engine.kv.executor import execute
from mlpstorage.engine.kv.layouts import make_layout
from mlpstorage.engine.kv.plans import populate_plan, restore_plan
from mlpstorage.engine.kv.settings import Settings
from mlpstorage.engine.stamps import BlockPool, Origin

KIB, MIB = 1 << 10, 1 << 20
PIECE = 4 * MIB
BARS = {256 * KIB: 0.90, MIB: 0.95, 4 * MIB: 0.95, 32 * MIB: 0.95}
CPU_BARS = {MIB: 0.05}
IN_FLIGHT, BLOCKS_PER_REQUEST = 4, 8
_PR_SET_THP_DISABLE = 41


class EngineSide:
    """Blocks of one size, made here, and the plan that restores each of them once."""

    def __init__(self, root: Path, block_bytes: int, arguments: argparse.Namespace) -> None:
        blocks = max(arguments.total // block_bytes, IN_FLIGHT * BLOCKS_PER_REQUEST)
        self._resident = np.arange(1, blocks + 1, dtype=np.uint64)
        self._pool = BlockPool(Origin(1), seed=1)
        self._layout = make_layout("files", root, block_bytes, blocks=blocks)
        self._settings = Settings(readers=arguments.threads, verify=arguments.verify)
        execute(populate_plan(self._resident, block_bytes), self._layout, self._pool, Settings())
        self._plan = restore_plan(
            self._resident,
            block_bytes,
            concurrency=IN_FLIGHT,
            requests=blocks // BLOCKS_PER_REQUEST,
            blocks_per_request=BLOCKS_PER_REQUEST,
            seed=1,
        )

    def files(self) -> list[Path]:
        """The blocks' files in the order in which the plan reads them."""
        return [Path(self._layout.path_of(block)) for block in self._plan.block.tolist()]

    def read(self, *, direct: bool, passes: int) -> Reading:
        """Execute the plan.

        Raises:
            RuntimeError: it read something else than all blocks, or wrong ones.
        """
        if not direct or passes != 1:
            raise RuntimeError("the layout is direct, and the plan reads every block once")
        record = execute(
            self._plan, self._layout, self._pool, self._settings, resident=self._resident
        )
        if record.reads != len(self._plan.block) or record.verification.bad:
            raise RuntimeError(f"{record.reads} reads, {record.verification.bad} bad")
        return Reading(record.reads, record.read_bytes, record.window_ns / 1e9, record.cpu_seconds)


@dataclass(frozen=True)
class Case:
    """One block size, with the measurements of both sides."""

    block_bytes: int
    engine: list[Reading]
    fio: list[Reading]

    def report(self) -> str:
        """The figures as a line of the table."""
        ratios = [o.rate / t.rate for o, t in zip(self.engine, self.fio, strict=True)]
        middle, bar = median(ratios), BARS.get(self.block_bytes, 0.0)
        ours, theirs = (
            median(r.cpu_seconds / r.bytes * 1e9 for r in side) for side in (self.engine, self.fio)
        )
        cpu_bar = CPU_BARS.get(self.block_bytes)
        verdict = "met" if middle >= bar else "MISSED"
        if cpu_bar is not None:
            verdict += f"; CPU {cpu_bar:.2f} {'met' if ours <= cpu_bar else 'MISSED'}"
        return (
            f"{self.block_bytes // KIB:6} KiB {middle:6.2f} {min(ratios):5.2f} {max(ratios):5.2f}"
            f" {_mb_per_second(self.engine):8.0f} {_mb_per_second(self.fio):8.0f}"
            f" {ours:8.4f} {theirs:8.4f}   {bar:.2f} {verdict}"
        )


HEADER = "    block  ratio   min   max  engine MB/s  fio   CPU-s/GB eng.  fio   bar"


def main() -> None:
    arguments = _arguments()
    if arguments.small_pages:
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    root = Path(tempfile.mkdtemp(prefix="kvcache-vs-fio-", dir=arguments.dir))
    try:
        cases = [_measured(root, size * KIB, arguments) for size in arguments.kib]
    finally:
        shutil.rmtree(root)
    print(f"\n{HEADER}")
    for case in cases:
        print(case.report())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--kib", type=int, nargs="+", default=[size // KIB for size in BARS])
    parser.add_argument("--total", type=int, default=2 << 30, help="bytes of one measurement")
    parser.add_argument("--verify", choices=("stamps", "full", "off"), default="stamps")
    parser.add_argument("--small-pages", action="store_true", help="no huge pages for the engine")
    parser.add_argument("--fio-iomem", default="malloc", help="kind of memory that fio reads into")
    parser.add_argument("--control", action="store_true", help="fio against fio")
    return parser.parse_args()


def _measured(root: Path, block_bytes: int, arguments: argparse.Namespace) -> Case:
    folder = root / str(block_bytes)
    ours = EngineSide(folder, block_bytes, arguments)
    fio = FioReader(
        folder / "links", ours.files(), arguments.threads, min(block_bytes, PIECE),
        iomem=arguments.fio_iomem,
    )  # fmt: skip
    engine = fio if arguments.control else ours
    case = Case(block_bytes, [], [])
    for pair in range(arguments.pairs):
        sides = [(engine, case.engine), (fio, case.fio)]
        for side, readings in sides if pair % 2 else sides[::-1]:
            readings.append(side.read(direct=True, passes=1))
        first, second = case.engine[-1].rate / 1e6, case.fio[-1].rate / 1e6
        print(
            f"  {block_bytes // KIB} KiB pair {pair + 1}: engine {first:.0f} MB/s, fio"
            f" {second:.0f} MB/s, ratio {first / second:.2f}, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    shutil.rmtree(folder)
    return case


def _mb_per_second(side: list[Reading]) -> float:
    return median(reading.rate for reading in side) / 1e6


if __name__ == "__main__":
    main()
