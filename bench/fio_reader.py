"""Reads a set of files once with fio, so that the engine can be measured against it.

See `training_vs_fio.py` for what makes the comparison a fair one.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """One measurement: what was read, in which time, for how much CPU of all threads together."""

    files: int
    bytes: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds


class FioReader:
    """A fio thread per share of the files; each reads whole files, one after the other.

    Args:
        folder: Where the job file and the hard links lie; fio numbers files without leading zeros,
            so the data gets second names. On the filesystem of the data.
        files: What is read, all of one size.
        threads: How many fio threads; thread t reads the files t, t + threads and so on.
        block: The bytes of one read; the files' size is a multiple of it.
        iomem: The kind of memory that fio reads into.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], threads: int, block: int, *, iomem: str
    ) -> None:
        self._folder = folder
        self._iomem = iomem
        self._block = block
        self._shares = [files[thread::threads] for thread in range(threads)]
        folder.mkdir()
        for thread, share in enumerate(self._shares):
            for number, file in enumerate(share):
                os.link(file, folder / f"{thread}.{number}")

    def read(self, *, direct: bool, passes: int) -> Reading:
        """Read every file `passes` times.

        Raises:
            RuntimeError: fio failed or read something else than all of the files.
        """
        job = self._folder / "job.fio"
        job.write_text(self._job(direct=direct, passes=passes), "utf-8")
        command = ["fio", "--output-format=json", str(job)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"fio failed: {done.stderr or done.stdout}")
        # Notes may stand before the document.
        jobs = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
        reading = Reading(
            files=passes * sum(len(share) for share in self._shares),
            bytes=sum(job["read"]["io_bytes"] for job in jobs),
            seconds=max(job["read"]["runtime"] for job in jobs) / 1e3,
            # Percent of the thread's milliseconds.
            cpu_seconds=sum(
                (job["usr_cpu"] + job["sys_cpu"]) * job["job_runtime"] for job in jobs
            ) / 1e5,
        )  # fmt: skip
        wanted = passes * sum(file.stat().st_size for share in self._shares for file in share)
        if reading.bytes != wanted:
            raise RuntimeError(f"fio read {reading.bytes} of {wanted} bytes")
        return reading

    def _job(self, *, direct: bool, passes: int) -> str:
        lines = [
            "[global]",
            f"directory={self._folder}",
            "thread",
            "ioengine=psync",
            "rw=read",
            f"bs={self._block}",
            f"direct={int(direct)}",
            f"loops={passes}",
            "openfiles=1",
            "file_service_type=sequential",
            f"iomem={self._iomem}",
            "iomem_align=4k",
            "invalidate=0",
            "fadvise_hint=0",
        ]
        for thread, share in enumerate(self._shares):
            lines += [f"[reader{thread}]", f"filename_format={thread}.$filenum"]
            lines += [f"nrfiles={len(share)}"]
        return "\n".join(lines) + "\n"
