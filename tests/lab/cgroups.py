"""The cgroup of each host: all of its processes, their CPU time, freezing. Versions 1 and 2.

A machine has version 2 only, version 1 only, or both (hybrid: the controllers on version 1 and an
empty version 2 beside them). Freezing is done by version 2 where it is there, since a process
that version 2 froze can be killed; CPU time is read where it is counted in nanoseconds.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlpstorage.core.errors import MlpstorageError

_V1 = ("cpuacct", "freezer")


def homes() -> dict[str, Path]:
    """Where this process may make cgroups: folders by `v2`, `cpuacct` and `freezer`.

    They lie below the process's own cgroup, so that limits set on it hold for the hosts too.

    Raises:
        OSError: none is there, or one of them cannot be written.
    """
    found = parse_homes(
        Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
        Path("/proc/self/cgroup").read_text(encoding="utf-8"),
    )
    if "v2" not in found and "freezer" not in found:
        raise FileNotFoundError("no cgroup file system is mounted")
    for home in found.values():
        if not os.access(home, os.W_OK):
            raise PermissionError(f"{home} is read-only")
    return found


def parse_homes(mountinfo: str, memberships: str) -> dict[str, Path]:
    """As `homes`, from the text of /proc/self/mountinfo and /proc/self/cgroup.

    >>> text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
    >>> parse_homes(text, "0::/absent-from-this-machine")
    {'v2': PosixPath('/sys/fs/cgroup')}
    """
    mine: dict[str, str] = {}
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        mine |= dict.fromkeys(controllers.split(",") if controllers else ["v2"], path)
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, mountpoint = left.split()[3:5]
        kind, _, options = right.split()[:3]
        names = ["v2"] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            if name in ("v2", *_V1):
                below = Path(mountpoint) / os.path.relpath(mine.get(name, "/"), root)
                found.setdefault(name, below if below.is_dir() else Path(mountpoint))
    return found


@dataclass(frozen=True)
class Cgroup:
    """The folders of one host's cgroup, by `v2`, `cpuacct` and `freezer`."""

    folders: dict[str, Path]

    @classmethod
    def named(cls, lab: str, host: str) -> Cgroup:
        """The cgroup of a host of a lab, which need not exist."""
        return cls({name: home / lab / host for name, home in homes().items()})

    def make(self) -> None:
        """Create the folders."""
        for folder in self.folders.values():
            folder.mkdir(parents=True)

    @property
    def doors(self) -> list[Path]:
        """The files into which a process writes `0` to join."""
        return [folder / "cgroup.procs" for folder in self.folders.values()]

    def cpu_ns(self) -> int:
        """CPU time that the processes used so far, of living and dead ones (ns)."""
        if "cpuacct" in self.folders:
            return int((self.folders["cpuacct"] / "cpuacct.usage").read_text())
        stat = (self.folders["v2"] / "cpu.stat").read_text().split()
        return int(stat[stat.index("usage_usec") + 1]) * 1000

    def freeze(self, frozen: bool) -> None:
        """Stop all processes, or let them go on; returns when it is so.

        Raises:
            MlpstorageError: the kernel did not do it within ten seconds.
        """
        if "v2" in self.folders:
            (self.folders["v2"] / "cgroup.freeze").write_text(str(int(frozen)))
            state, wanted = self.folders["v2"] / "cgroup.events", f"frozen {int(frozen)}"
        else:
            wanted = "FROZEN" if frozen else "THAWED"
            state = self.folders["freezer"] / "freezer.state"
            state.write_text(wanted)
        end = time.monotonic() + 10
        while wanted not in state.read_text().splitlines():
            if time.monotonic() > end:
                raise MlpstorageError(f"{state} does not become {wanted}")
            time.sleep(0.005)

    def remove(self, patience: float = 10.0) -> None:
        """Remove the folders, and the lab's if this was its last host; absent ones are no error.

        Args:
            patience: Seconds to wait for processes that are still leaving.

        Raises:
            OSError: a process stayed.
        """
        end = time.monotonic() + patience
        for folder in self.folders.values():
            while not _removed(folder, last_try=time.monotonic() > end):
                time.sleep(0.01)
            with suppress(OSError):  # not empty: other hosts are there; absent: was the last
                folder.parent.rmdir()


def _removed(folder: Path, *, last_try: bool) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # EBUSY: killed processes need a moment to leave
        if last_try:
            raise
        return False
    return True
