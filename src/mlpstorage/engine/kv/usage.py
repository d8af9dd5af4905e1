"""What the kernel counts of this process."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """CPU seconds and bytes of this process so far; see proc(5) for the bytes."""

    user_seconds: float
    system_seconds: float
    rchar: int
    read_bytes: int
    wchar: int
    write_bytes: int

    @classmethod
    def now(cls) -> Usage:
        """Read all of them."""
        text = Path("/proc/self/io").read_text("ascii")
        io = dict(line.split(": ") for line in text.splitlines())
        times = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            user_seconds=times.ru_utime,
            system_seconds=times.ru_stime,
            rchar=int(io["rchar"]),
            read_bytes=int(io["read_bytes"]),
            wchar=int(io["wchar"]),
            write_bytes=int(io["write_bytes"]),
        )
