"""What a host is: its record in the cluster information, and the share of it that is ours."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.watch import procfs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.watch.records import Cpu, Disk, Interface, Memory

_T = TypeVar("_T")
_ROOT = Path("/")
# What `host_record` reads; a transport to another host brings the same files' text.
SOURCES = (
    "proc/sys/kernel/hostname",
    "proc/meminfo",
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/net/dev",
    "proc/version",
    "proc/loadavg",
    "proc/uptime",
    "etc/os-release",
)
_REQUIRED = frozenset({"proc/meminfo", "proc/cpuinfo"})
_MOST_MEMORY_SPREAD = 0.10


@dataclass(frozen=True)
class SystemRecord:
    """The operating system and its load; None for what the host does not tell."""

    hostname: str
    kernel_version: str | None
    os_release: dict[str, str]
    uptime_seconds: float | None
    load_average_1min: float | None
    load_average_5min: float | None
    load_average_15min: float | None
    running_processes: int | None
    total_processes: int | None


@dataclass(frozen=True)
class HostRecord:
    """One host as the cluster information shows it; the time stamp is UTC."""

    hostname: str
    memory: Memory
    cpu: Cpu
    disks: tuple[Disk, ...]
    network: tuple[Interface, ...]
    system: SystemRecord
    collection_timestamp: str


@dataclass(frozen=True)
class ClusterRecord:
    """All hosts together; `total_cores` counts physical cores."""

    total_memory_bytes: int
    total_cores: int
    num_hosts: int
    min_memory_bytes: int
    max_memory_bytes: int
    collection_method: str
    collection_timestamp: str
    hosts: tuple[HostRecord, ...]
    host_consistency_issues: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values, in the keys of the cluster information file."""
        return dataclasses.asdict(self)


def collect_local() -> ClusterRecord:
    """This host, as a cluster of one.

    Raises:
        ConfigurationError: /proc is missing, or says something that no known kernel says.
    """
    now = datetime.now(timezone.utc)
    try:
        host = host_record(read_sources(), architecture=os.uname().machine, when=now)
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the record of this host: {error}",
            why="memory and cores decide the size of the data set and are part of every result",
            fix="run on Linux with /proc mounted and readable",
        ) from error
    return cluster_record([host], method="local", when=now)


def read_sources(root: Path = _ROOT) -> dict[str, str]:
    """The text of each of `SOURCES` that this host has; containers lack some."""
    texts = {}
    for name in SOURCES:
        text = _text_or_none(root / name)
        if text is not None:
            texts[name] = text
    return texts


def host_record(texts: Mapping[str, str], *, architecture: str, when: datetime) -> HostRecord:
    """The record of the host that has these files, by their names in `SOURCES`.

    Raises:
        ValueError: memory or processors are missing, or a file is malformed; the message names it.
    """
    hostname = texts.get("proc/sys/kernel/hostname", "").strip()
    memory = _parsed(texts, "proc/meminfo", procfs.parse_meminfo)
    cpu = _parsed(texts, "proc/cpuinfo", lambda text: procfs.parse_cpuinfo(text, architecture))
    if memory is None or cpu is None:
        raise ValueError(f"{hostname or 'the host'} lacks one of {', '.join(sorted(_REQUIRED))}")
    return HostRecord(
        hostname=hostname,
        memory=memory,
        cpu=cpu,
        disks=_parsed(texts, "proc/diskstats", procfs.parse_diskstats) or (),
        network=_parsed(texts, "proc/net/dev", procfs.parse_net_dev) or (),
        system=_system_record(texts, hostname),
        collection_timestamp=_utc(when),
    )


def _system_record(texts: Mapping[str, str], hostname: str) -> SystemRecord:
    load = _parsed(texts, "proc/loadavg", procfs.parse_loadavg)
    return SystemRecord(
        hostname=hostname,
        kernel_version=_parsed(texts, "proc/version", procfs.parse_kernel_version),
        os_release=_parsed(texts, "etc/os-release", procfs.parse_os_release) or {},
        uptime_seconds=_parsed(texts, "proc/uptime", procfs.parse_uptime),
        load_average_1min=load.load_1min if load else None,
        load_average_5min=load.load_5min if load else None,
        load_average_15min=load.load_15min if load else None,
        running_processes=load.running_processes if load else None,
        total_processes=load.total_processes if load else None,
    )


def cluster_record(hosts: Sequence[HostRecord], *, method: str, when: datetime) -> ClusterRecord:
    """The hosts as one cluster; `method` says how they were asked: local, ssh or mpi."""
    memory = [host.memory.total for host in hosts]
    return ClusterRecord(
        total_memory_bytes=sum(memory),
        total_cores=sum(host.cpu.num_cores for host in hosts),
        num_hosts=len(hosts),
        min_memory_bytes=min(memory, default=0),
        max_memory_bytes=max(memory, default=0),
        collection_method=method,
        collection_timestamp=_utc(when),
        hosts=tuple(hosts),
        host_consistency_issues=tuple(_differences(hosts)),
    )


def _differences(hosts: Sequence[HostRecord]) -> list[str]:
    """How hosts that should be alike differ, a sentence each."""
    if not hosts:
        return []
    found = []
    least = min(hosts, key=lambda host: host.memory.total)
    most = max(hosts, key=lambda host: host.memory.total)
    spread = (most.memory.total - least.memory.total) / max(1, least.memory.total)
    if spread > _MOST_MEMORY_SPREAD:
        found.append(
            f"memory differs by {spread:.0%}: {least.hostname} has {least.memory.total} bytes,"
            f" {most.hostname} has {most.memory.total}"
        )
    aspects: dict[str, Callable[[HostRecord], object]] = {
        "core counts": lambda host: host.cpu.num_cores,
        "operating system versions": lambda host: host.system.os_release.get("VERSION_ID"),
        "kernel versions": lambda host: host.system.kernel_version,
    }
    for name, aspect in aspects.items():
        groups: dict[object, list[str]] = {}
        for host in hosts:
            groups.setdefault(aspect(host), []).append(host.hostname)
        if len(groups) > 1:
            shown = (f"{value or 'unknown'} on {', '.join(on)}" for value, on in groups.items())
            found.append(f"{name} differ: {'; '.join(shown)}")
    return found


def memory_bytes(root: Path = _ROOT) -> int:
    """The memory of this host.

    Raises:
        ConfigurationError: /proc/meminfo cannot be read.
    """
    try:
        return procfs.parse_meminfo(_text_or_none(root / "proc/meminfo") or "").total
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the memory of this host: {error}",
            fix="state it with --client-host-memory-in-gb, or mount /proc",
        ) from error


def memory_limit_bytes(root: Path = _ROOT) -> int:
    """The memory that this process may use: the host's, or its control group's where that is less.

    Page cache counts against a group's limit too, so this bounds what can be cached.
    """
    limits = [memory_bytes(root)]
    for directory in _own_groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            word = (_text_or_none(directory / name) or "").strip()
            limits += [int(word)] if word.isdecimal() else []  # "max" is none; v1 has a huge number
    return min(limits)


def usable_cpus(root: Path = _ROOT) -> float:
    """How many processors this process may keep busy: its affinity or its quota, whichever is less.

    A quota can be a fraction (1.5 processors of time).
    """
    cpus = float(len(os.sched_getaffinity(0)))
    for directory in _own_groups("cpu", root):
        both = _text_or_none(directory / "cpu.max")  # v2: "<quota> <period>"
        if both is None:
            quota = _text_or_none(directory / "cpu.cfs_quota_us")
            period = _text_or_none(directory / "cpu.cfs_period_us")
            both = f"{quota} {period}"
        words = both.split()
        # No limit is "max" in v2 and -1 in v1.
        if len(words) == 2 and all(w.isdecimal() and int(w) > 0 for w in words):  # noqa: PLR2004
            cpus = min(cpus, int(words[0]) / int(words[1]))
    return cpus


def _own_groups(controller: str, root: Path) -> list[Path]:
    """The directories of this process's control groups, own first, then the parents that bind it.

    Version 1 has a hierarchy for each controller; version 2 has one without names. A container
    often sees its own group as the root of the mount, so paths are taken relative to that.
    """
    paths = _group_paths(root)
    directories = []
    for line in (_text_or_none(root / "proc/self/mountinfo") or "").splitlines():
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
        mounted, point = (procfs.unescape_octal(word) for word in fields[3:5])
        inside = _relative(path or "/", mounted)
        top = root / point.lstrip("/")
        directories += [top / part for part in (inside, *inside.parents)]
    return directories


def _group_paths(root: Path) -> dict[str, str]:
    """The process's group by controller; the one of version 2 is under the empty name."""
    paths = {}
    for line in (_text_or_none(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _relative(path: str, mounted: str) -> PurePosixPath:
    own, top = PurePosixPath(path), PurePosixPath(mounted)
    if ".." in own.parts or top not in (own, *own.parents):
        return PurePosixPath()  # the group lies outside what is mounted: its top is all we see
    return own.relative_to(top)


def _parsed(texts: Mapping[str, str], name: str, parser: Callable[[str], _T]) -> _T | None:
    if name not in texts:
        return None
    try:
        return parser(texts[name])
    except ValueError as error:
        raise ValueError(f"/{name}: {error}") from error


def _text_or_none(path: Path) -> str | None:
    """The file's text; None where this kernel or container has no such file for us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return None


def _utc(when: datetime) -> str:
    return when.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
