"""A control group around a run's processes: it caps their memory, and counts what they read.

Memory of a group includes the page cache that its processes fill, so a cap keeps a page-cache
engine from becoming a memory engine. Versions 1 and 2 of the kernel's interface. Making one needs
the right to write below the own group (root, or delegation by systemd).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOUNTINFO = Path("/proc/self/mountinfo")
_MEMBERSHIPS = Path("/proc/self/cgroup")
# An interpreter and an engine need this much, whatever the index.
LEAST_CAP_BYTES = 16 << 20
_PREFIX = "mlpstorage-"
_V1_CONTROLLERS = ("memory", "blkio")
# Newer kernels count a group's reads on version 1 only where a limit is set: one that never
# binds.
_NO_LIMIT_IOPS = (1 << 32) - 2


def parse_homes(mountinfo: str, memberships: str) -> dict[str, Path]:
    """The own group's folder by controller: memory and blkio (version 1), or v2.

    >>> text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
    >>> parse_homes(text, "0::/user.slice")
    {'v2': PosixPath('/sys/fs/cgroup/user.slice')}
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
            if name in ("v2", *_V1_CONTROLLERS):
                below = Path(mountpoint) / os.path.relpath(mine.get(name, "/"), root)
                found.setdefault(name, below)
    return found


@dataclass
class ControlGroup:
    """One group of this host, by the folders of its controllers; made by one rank, for all of it.

    Args:
        folders: The folder of each controller that could be made: memory, blkio or v2.
        homes: The groups that its processes come from, by the same names.
        device: The block device whose reads count, as major:minor; empty for the busiest.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    device: str = ""

    @classmethod
    def named(cls, token: str, device: str = "") -> ControlGroup:
        """The group of a run on this host, whether it exists or not."""
        homes = parse_homes(
            _MOUNTINFO.read_text("utf-8"),
            _MEMBERSHIPS.read_text("utf-8"),
        )
        version1 = {name: homes[name] for name in _V1_CONTROLLERS if name in homes}
        if version1:
            folders = {n: home / (_PREFIX + token) for n, home in version1.items()}
            return cls(folders, version1, device)
        if "v2" in homes:
            # A group with processes of its own cannot divide itself, but the root: a sibling it is.
            root = not (homes["v2"] / "cgroup.type").exists()
            parent = homes["v2"] if root else homes["v2"].parent
            return cls({"v2": parent / (_PREFIX + token)}, {"v2": homes["v2"]}, device)
        return cls()

    def make(self, cap_bytes: int | None) -> None:
        """Create it as far as this user may; a cap must succeed.

        Raises:
            ConfigurationError: memory is to be capped, and cannot be.
        """
        failure: OSError | None = None
        for name, folder in self.folders.items():
            _clear_stale(folder.parent)
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                failure = error
                continue
            if name == "blkio" and self.device:
                with contextlib.suppress(OSError):
                    limit = folder / "blkio.throttle.read_iops_device"
                    limit.write_text(f"{self.device} {_NO_LIMIT_IOPS}", encoding="ascii")
            if cap_bytes is not None and name in ("memory", "v2"):
                file = "memory.limit_in_bytes" if name == "memory" else "memory.max"
                try:
                    (folder / file).write_text(str(cap_bytes), encoding="ascii")
                except OSError as error:
                    failure = error
        capped = self.cap_bytes()
        if cap_bytes is not None and (capped is None or capped > cap_bytes):
            raise ConfigurationError(
                f"memory cannot be capped to {format_bytes(cap_bytes)} here"
                + (f": {failure}" if failure else ""),
                why="--memory-cap makes a control group, which needs the right to",
                fix="run as root, or under systemd-run --user --scope -p Delegate=yes; or leave "
                "--memory-cap out and use vectors of 5 × the memory",
            )

    def cap_bytes(self) -> int | None:
        """The cap in force; None where there is none, or no group."""
        for name, file in (("memory", "memory.limit_in_bytes"), ("v2", "memory.max")):
            text = _text(self.folders.get(name), file)
            if text.isdecimal() and int(text) < 1 << 60:
                return int(text)
        return None

    def join(self, process: int) -> None:
        """Put a process into the group, as far as the group exists."""
        for folder in self.folders.values():
            with contextlib.suppress(FileNotFoundError, PermissionError):
                (folder / "cgroup.procs").write_text(str(process), encoding="ascii")

    def leave(self, process: int) -> None:
        """Put a process back into the group that it came from."""
        for name in self.folders:
            with contextlib.suppress(OSError):
                (self.homes[name] / "cgroup.procs").write_text(str(process), encoding="ascii")

    def reads(self) -> tuple[int, int] | None:
        """Reads of block devices and their bytes so far; None where they are not counted."""
        if "v2" in self.folders:
            return self._version2()
        folder = self.folders.get("blkio")
        counts = _by_device(_text(folder, "blkio.throttle.io_serviced"))
        moved = _by_device(_text(folder, "blkio.throttle.io_service_bytes"))
        if not moved:
            counting = bool(_text(folder, "blkio.throttle.read_iops_device"))
            return (0, 0) if counting else None
        name = self._device(moved)
        return counts.get(name, 0), moved[name]

    def _version2(self) -> tuple[int, int] | None:
        folder = self.folders["v2"]
        if not (folder / "io.stat").exists():
            return None
        found: dict[str, tuple[int, int]] = {}
        for line in _text(folder, "io.stat").splitlines():
            device, *words = line.split()
            values = dict(word.split("=", 1) for word in words if "=" in word)
            found[device] = int(values.get("rios", 0)), int(values.get("rbytes", 0))
        if not found:
            return 0, 0
        return found[self._device({name: moved for name, (_, moved) in found.items()})]

    def _device(self, moved: dict[str, int]) -> str:
        if self.device in moved:
            return self.device
        return max(moved, key=lambda name: moved[name])

    @property
    def source(self) -> str:
        """What `reads` are counted by, for people."""
        return "control group, io.stat" if "v2" in self.folders else "control group, blkio"

    def memory_bytes(self) -> int | None:
        """Memory of the group with its page cache; None where it is not known."""
        for name, file in (("memory", "memory.usage_in_bytes"), ("v2", "memory.current")):
            text = _text(self.folders.get(name), file)
            if text.isdecimal():
                return int(text)
        return None

    def remove(self) -> None:
        """Remove it, when its processes have left."""
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                folder.rmdir()


def device_of(path: Path) -> str:
    """The whole block device that holds a path, as major:minor; empty where there is none.

    A partition's reads are counted on its disk.
    """
    number = path.stat().st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    folder = Path("/sys/dev/block") / name
    if not folder.exists():
        return ""
    if (folder / "partition").exists():
        return _text(folder.resolve().parent, "dev")
    return name


def _clear_stale(home: Path) -> None:
    """Remove groups of runs that were killed: those without processes."""
    with contextlib.suppress(OSError):
        for folder in home.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _text(folder: Path | None, name: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / name).read_text("ascii").strip()
    except OSError:
        return ""


def _by_device(text: str) -> dict[str, int]:
    r"""The reads in blkio's lines, by device.

    >>> _by_device("8:0 Read 12\n8:0 Write 7\nTotal 19")
    {'8:0': 12}
    """
    return {device: int(count) for device, count in _read_lines(text.splitlines())}


def _read_lines(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[1] == "Read":  # noqa: PLR2004 (device, direction, count)
            yield words[0], words[2]
