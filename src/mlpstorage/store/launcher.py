"""Which process launched a run, precisely enough to tell later whether it still lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ENDED = frozenset("ZX")  # a zombie has ended; its parent has not asked yet
_STATE, _START = 0, 19  # columns of /proc/<pid>/stat after the name: fields 3 and 22 of proc(5)


@dataclass(frozen=True)
class Launcher:
    """A process of one boot of one host; the start time tells it from a later one of its pid."""

    pid: int
    host: str
    boot_id: str
    start_ticks: int


def this_launcher() -> Launcher:
    """The running process; `start_ticks` counts clock ticks since boot."""
    pid = os.getpid()
    _, start_ticks = _state_and_start(pid) or ("", 0)
    return Launcher(pid, os.uname().nodename, _boot_id(), start_ticks)


def is_alive(launcher: Launcher) -> bool | None:
    """Whether the launcher still runs; None when nobody here can know.

    That is so on another host, and for other users' processes where /proc hides them.
    """
    if launcher.host != os.uname().nodename:
        return None
    if launcher.boot_id != _boot_id():
        return False
    found = _state_and_start(launcher.pid)
    if found is None:
        return None if _is_hidden(launcher.pid) else False
    return found[0] not in _ENDED and found[1] == launcher.start_ticks


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:  # not Linux, or a sandbox without it: every boot looks the same
        return ""


def _state_and_start(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[_STATE], int(fields[_START])


def _is_hidden(pid: int) -> bool:
    """Whether the process exists although /proc (mounted with hidepid) does not show it."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
