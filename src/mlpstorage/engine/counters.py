"""What the kernel counts of a rank and of its host, read around a timed span."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.engine.links import links_now

if TYPE_CHECKING:
    from mlpstorage.engine.links import Link

# Filesystems whose reads the kernel counts in read_bytes of /proc/<pid>/io.
COUNTED_FILESYSTEMS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "nfs", "nfs4", "tmpfs", "ramfs"}
)


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted so far: bytes and seconds are this process's.

    Ticks and links are the host's.
    """

    rchar: int
    read_bytes: int
    wchar: int
    write_bytes: int
    user_seconds: float
    system_seconds: float
    host_busy_ticks: int
    host_iowait_ticks: int
    links: dict[str, Link] = field(default_factory=dict)

    @classmethod
    def now(cls) -> Counters:
        """Read them all."""
        io = dict(
            line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines()
        )
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123 (one line of it)
            ticks = [int(word) for word in stat.readline().split()[1:]]
        # user, nice, system, irq, softirq, steal; guest time is already part of user.
        busy, iowait = sum(ticks[:3]) + sum(ticks[5:8]), ticks[4]
        return cls(
            rchar=int(io["rchar"]),
            read_bytes=int(io["read_bytes"]),
            wchar=int(io["wchar"]),
            write_bytes=int(io["write_bytes"]),
            user_seconds=usage.ru_utime,
            system_seconds=usage.ru_stime,
            host_busy_ticks=busy,
            host_iowait_ticks=iowait,
            links=links_now(),
        )


def utc_now() -> str:
    """The moment in UTC, to the microsecond, as the records of ranks have it."""
    seconds, fraction = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction // 1000:06d}Z"
