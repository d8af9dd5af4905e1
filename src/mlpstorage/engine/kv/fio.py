"""The same I/O by fio, where it is installed: what the raw table is compared with."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# How often it is looked whether the user wants to stop.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class FioRun:
    """What fio did: bytes per second, and CPU seconds of all its threads per byte."""

    bytes_per_second: float
    cpu_seconds_per_byte: float


def find_fio() -> str | None:
    """The path of fio, None if it is not installed."""
    return shutil.which("fio")


def run_fio(
    fio: str,
    files: Sequence[str],
    *,
    write: bool,
    block_bytes: int,
    queue_depth: int,
    seconds: float,
    direct: bool,
    wants_stop: Callable[[], bool] = lambda: False,
) -> FioRun | None:
    """Read or write blocks of existing files at random, with a thread per block in flight.

    None if the user wanted to stop meanwhile: then fio was ended.

    It uses `psync`, which is what the engine does, into page-aligned memory, without hints to the
    kernel. That memory is fio's default, small pages; the engine's is huge pages where the kernel
    has them, and some devices are several times as fast with those. The ratio holds that as well.

    Raises:
        BenchmarkError: fio fails.
    """
    names = ":".join(name.replace(":", "\\:") for name in files)
    command = [
        fio, "--name=raw", "--output-format=json", f"--filename={names}", "--ioengine=psync",
        f"--rw={'randwrite' if write else 'randread'}", f"--bs={block_bytes}", "--thread",
        f"--numjobs={queue_depth}", "--group_reporting", "--time_based", f"--runtime={seconds:g}",
        f"--direct={int(direct)}", "--norandommap", "--randrepeat=0", "--invalidate=0",
        "--fadvise_hint=0", "--iomem_align=4k", "--file_service_type=random",
        "--allow_file_create=0",
    ]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, error = _waited_for(process, wants_stop)
        finally:
            process.kill()
    if out is None:
        return None
    if process.returncode:
        raise BenchmarkError(
            f"fio ended with {process.returncode}: {(error or out).strip()[-300:]}",
            why="the raw table compares each figure with fio's",
            fix="leave fio out, or see whether the same command runs by hand",
        )
    return _parsed(out, "write" if write else "read")


def _waited_for(
    process: subprocess.Popen[str], wants_stop: Callable[[], bool]
) -> tuple[str | None, str]:
    """What fio has said at its end; nothing if the user wanted to stop before."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_SECONDS)
        if wants_stop():
            return None, ""


def _parsed(text: str, direction: str) -> FioRun:
    """The figures of fio's JSON; notes may stand before the document."""
    try:
        job = json.loads(text[text.index("{") :])["jobs"][0]
        moved, rate = job[direction]["io_bytes"], job[direction]["bw_bytes"]
        # Percent of one thread's milliseconds; with group_reporting both are sums over threads.
        cpu_seconds = (job["usr_cpu"] + job["sys_cpu"]) * job["job_runtime"] / 1e5
    except (ValueError, KeyError, IndexError) as error:
        raise BenchmarkError(
            f"fio's output is not understood: {error}", why="its JSON has another form than known"
        ) from error
    return FioRun(float(rate), cpu_seconds / moved if moved else 0.0)
