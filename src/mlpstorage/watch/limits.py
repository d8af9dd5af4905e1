"""The limits that control groups set on a process: memory and processor time.

Version 1 has a hierarchy for each controller; version 2 has one without names. A container often
sees its own group as the root of the mount, so paths are taken relative to that. What a parent
group allows binds too. Everything is read through a function from a path (without its leading
slash) to a text, so that another host's groups are judged by the same code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlpstorage.watch.procfs import unescape_octal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[str], "str | None"]

_MEMORY_FILES = ("memory.max", "memory.limit_in_bytes")
_CPU_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
# A path goes to another host as a word of a line.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.,:@%+=/-]+")


@dataclass(frozen=True)
class Limits:
    """The tightest limits and the files that set them; None where nothing binds.

    `cpus` may be a fraction: 1.5 processors of time.
    """

    memory_bytes: int | None
    memory_set_by: str | None
    cpus: float | None
    cpus_set_by: str | None


def limits(read: Read, total_memory: int | None = None) -> Limits:
    """What binds the process whose `proc/self` is read; a limit above the memory binds nothing."""
    memory: tuple[int, str] | None = None
    for path in _files("memory", _MEMORY_FILES, read):
        word = (read(path) or "").strip()
        if not (word.isascii() and word.isdecimal()):  # "max" is no limit
            continue
        size = int(word)
        if (total_memory is None or size < total_memory) and (memory is None or size < memory[0]):
            memory = (size, f"/{path}")
    cpus: tuple[float, str] | None = None
    for directory in _directories("cpu", read):
        quota, path = _cpu_quota(directory, read)
        if quota is not None and (cpus is None or quota < cpus[0]):
            cpus = (quota, f"/{path}")
    return Limits(*(memory or (None, None)), *(cpus or (None, None)))


def limit_files(read: Read) -> list[str]:
    """The files that `limits` reads besides those of `proc/self`; names that no shell splits."""
    wanted = [
        *_files("memory", _MEMORY_FILES, read),
        *_files("cpu", _CPU_FILES, read),
    ]
    # A container may mount the groups many times over: once is enough.
    return [path for path in dict.fromkeys(wanted) if _PLAIN_PATH.fullmatch(path)]


def _cpu_quota(directory: PurePosixPath, read: Read) -> tuple[float | None, str]:
    path = str(directory / "cpu.max")  # version 2: "<quota> <period>"
    both = read(path)
    if both is None:
        path = str(directory / "cpu.cfs_quota_us")
        both = f"{read(path)} {read(str(directory / 'cpu.cfs_period_us'))}"
    words = both.split()
    # No limit is "max" in version 2 and -1 in version 1.
    if len(words) == 2 and all(w.isascii() and w.isdecimal() and int(w) > 0 for w in words):  # noqa: PLR2004
        return int(words[0]) / int(words[1]), path
    return None, path


def _files(controller: str, names: tuple[str, ...], read: Read) -> Iterator[str]:
    for directory in _directories(controller, read):
        yield from (str(directory / name) for name in names)


def _directories(controller: str, read: Read) -> list[PurePosixPath]:
    """The directories of the process's groups, own first, then the parents that bind it."""
    paths = _group_paths(read)
    directories = []
    for line in (read("proc/self/mountinfo") or "").splitlines():
        head, _, tail = line.partition(" - ")
        fields, described = head.split(" "), tail.split(" ")
        if len(fields) < 5 or len(described) < 3:  # noqa: PLR2004 - see proc(5), mountinfo
            continue
        if described[0] == "cgroup2":
            path = paths.get("")
        elif described[0] == "cgroup" and controller in described[2].split(","):
            path = paths.get(controller)
        else:
            continue
        mounted, point = (unescape_octal(word) for word in fields[3:5])
        inside = _relative(path or "/", mounted)
        top = PurePosixPath(point.lstrip("/"))
        directories += [top / part for part in (inside, *inside.parents)]
    return directories


def _group_paths(read: Read) -> dict[str, str]:
    """The process's group by controller; the one of version 2 is under the empty name."""
    paths = {}
    for line in (read("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _relative(path: str, mounted: str) -> PurePosixPath:
    own, top = PurePosixPath(path), PurePosixPath(mounted)
    if ".." in own.parts or top not in (own, *own.parents):
        return PurePosixPath()  # the group lies outside what is mounted: its top is all we see
    return own.relative_to(top)
