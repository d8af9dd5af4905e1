"""What a process has read and computed, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from pathlib import Path

# Fields of /proc/<pid>/stat after the name in parentheses: the 14th and 15th of proc(5).
_USER_TICKS, _SYSTEM_TICKS = 11, 12


@dataclass(frozen=True)
class Usage:
    """Counters of one process, or sums and differences of such; bytes and seconds.

    `rchar` counts what read calls returned, `read_bytes` what came from block devices.
    """

    rchar: int = 0
    read_bytes: int = 0
    user_seconds: float = 0.0
    system_seconds: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Usage:
        """The counters of a process of this user.

        Raises:
            OSError: there is no such process.
        """
        folder = Path(f"/proc/{pid}")
        lines = (folder / "io").read_text("ascii").splitlines()
        io = dict(line.split(": ") for line in lines)
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        tick = os.sysconf("SC_CLK_TCK")
        user, system = int(fields[_USER_TICKS]) / tick, int(fields[_SYSTEM_TICKS]) / tick
        return cls(int(io["rchar"]), int(io["read_bytes"]), user, system)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def as_list(self) -> list[float]:
        """The counters in the order of the fields, for JSON."""
        return list(astuple(self))

    @classmethod
    def from_list(cls, values: list[float]) -> Usage:
        """The counters that `as_list` gave.

        >>> Usage.from_list(Usage(7, 5, 0.5, 0.25).as_list())
        Usage(rchar=7, read_bytes=5, user_seconds=0.5, system_seconds=0.25)
        """
        rchar, read_bytes, user, system = values
        return cls(int(rchar), int(read_bytes), user, system)
