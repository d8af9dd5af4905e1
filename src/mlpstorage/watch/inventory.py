"""What a host is: its record in the cluster information, and the share of it that is ours."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.watch import devices, mountstats, procfs, sources
from mlpstorage.watch.limits import limits
from mlpstorage.watch.sources import read_sources, text_or_none
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.watch.clock import ClockOffset
    from mlpstorage.watch.limits import Limits
    from mlpstorage.watch.records import (
        Cgroup,
        Cpu,
        CpuTicks,
        Disk,
        FileSystem,
        Interface,
        Load,
        Memory,
        Mount,
        Pressure,
        SystemCounters,
    )

_T = TypeVar("_T")
_ROOT = Path("/")
_REQUIRED = frozenset({"proc/meminfo", "proc/cpuinfo"})
_MOST_MEMORY_SPREAD = 0.10
_PRESSURES = ("cpu", "io", "memory")


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
    """One host as the cluster information shows it; the time stamp is UTC.

    The first seventeen fields are the keys that other tools of the field read, the rest are ours.
    `address` is the name by which the host was asked; `errors` says what of it could not be read,
    by file. None and empty stand for what a host does not tell.
    """

    hostname: str
    memory: Memory
    cpu: Cpu
    disks: tuple[Disk, ...]
    network: tuple[Interface, ...]
    system: SystemRecord
    collection_timestamp: str
    vmstat: dict[str, int]
    mounts: tuple[Mount, ...]
    filesystems: tuple[FileSystem, ...]
    cgroups: tuple[Cgroup, ...]
    chassis_model: str | None
    errors: dict[str, str]
    address: str
    boot_id: str | None
    clock: ClockOffset | None
    clock_ticks_per_second: int | None
    page_bytes: int | None
    cpu_ticks: CpuTicks | None
    counters: SystemCounters | None
    pressure: tuple[Pressure, ...]
    limits: Limits
    block_devices: tuple[devices.BlockDevice, ...]
    numa_nodes: tuple[devices.NumaNode, ...]
    network_links: tuple[devices.NetworkLink, ...]
    nfs_mounts: tuple[mountstats.NfsMount, ...]


@dataclass(frozen=True)
class HostFailure:
    """A host that could not be asked, and why."""

    host: str
    cause: str
    fix: str = ""


@dataclass(frozen=True)
class ClusterRecord:
    """All hosts that answered; `total_cores` counts physical cores."""

    total_memory_bytes: int
    total_cores: int
    num_hosts: int
    min_memory_bytes: int
    max_memory_bytes: int
    collection_method: str
    collection_timestamp: str
    hosts: tuple[HostRecord, ...]
    host_consistency_issues: tuple[str, ...]
    failed_hosts: tuple[HostFailure, ...] = ()

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
        host = host_record(read_sources(), when=now, read=_reader(_ROOT))
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the record of this host: {error}",
            why="memory and cores decide the size of the data set and are part of every result",
            fix="run on Linux with /proc mounted and readable",
        ) from error
    return cluster_record([host], method="local", when=now)


@dataclass
class _Texts:
    """A host's files, parsed on demand; what is malformed is noted and left out."""

    texts: Mapping[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    def parsed(self, name: str, parser: Callable[[str], _T]) -> _T | None:
        text = self.texts.get(name)
        if text is None:
            return None
        try:
            return parser(text)
        except ValueError as error:
            self.errors[f"/{name}"] = printable(str(error))
            return None

    def word(self, name: str) -> str | None:
        return printable((self.texts.get(name) or "").strip()) or None

    def number(self, name: str) -> int | None:
        word = self.word(name) or ""
        return int(word) if word.isascii() and word.isdecimal() else None


def host_record(
    texts: Mapping[str, str],
    *,
    when: datetime,
    address: str = "",
    clock: ClockOffset | None = None,
    read: Callable[[str], str | None] | None = None,
) -> HostRecord:
    """The record of the host that has these files, by their names in `sources`.

    Args:
        texts: The files' texts; a file that the host lacks leaves a gap in the record.
        when: The moment of the reading.
        address: The name by which the host was asked; its own name if not given.
        clock: Its clock's offset, where it was measured.
        read: Reads more of the host's files, for the limits of control groups; `texts.get` if not
            given.

    Raises:
        ValueError: memory or processors are missing or malformed; the message names them.
    """
    known = _Texts(texts)
    hostname = known.word("proc/sys/kernel/hostname") or address
    memory = known.parsed("proc/meminfo", procfs.parse_meminfo)
    architecture = known.word(sources.MACHINE) or ""
    cpu = known.parsed("proc/cpuinfo", lambda text: procfs.parse_cpuinfo(text, architecture))
    if memory is None or cpu is None:
        wrong = "; ".join(f"{name}: {error}" for name, error in known.errors.items())
        lacks = f"{hostname or 'the host'} lacks one of {', '.join(sorted(_REQUIRED))}"
        raise ValueError(wrong or lacks)
    load = known.parsed("proc/loadavg", procfs.parse_loadavg)
    return HostRecord(
        hostname=hostname,
        memory=memory,
        cpu=cpu,
        disks=known.parsed("proc/diskstats", procfs.parse_diskstats) or (),
        network=known.parsed("proc/net/dev", procfs.parse_net_dev) or (),
        system=_system_record(known, hostname, load),
        collection_timestamp=_utc(when),
        vmstat=known.parsed("proc/vmstat", procfs.parse_vmstat) or {},
        mounts=known.parsed("proc/mounts", procfs.parse_mounts) or (),
        filesystems=known.parsed("proc/filesystems", procfs.parse_filesystems) or (),
        cgroups=known.parsed("proc/cgroups", procfs.parse_cgroups) or (),
        chassis_model=known.word("sys/class/dmi/id/product_name"),
        errors=known.errors,
        address=address or hostname,
        boot_id=known.word("proc/sys/kernel/random/boot_id"),
        clock=clock,
        clock_ticks_per_second=known.number(sources.CLOCK_TICKS),
        page_bytes=known.number(sources.PAGE_SIZE),
        cpu_ticks=known.parsed("proc/stat", procfs.parse_cpu_ticks),
        counters=known.parsed("proc/stat", procfs.parse_system_counters),
        pressure=tuple(line for name in _PRESSURES for line in _pressure(known, name)),
        limits=limits(read or texts.get, memory.total),
        block_devices=devices.block_devices(texts),
        numa_nodes=devices.numa_nodes(texts),
        network_links=devices.network_links(texts),
        nfs_mounts=known.parsed("proc/self/mountstats", mountstats.parse_mountstats) or (),
    )


def _pressure(known: _Texts, name: str) -> tuple[Pressure, ...]:
    path = f"proc/pressure/{name}"
    return known.parsed(path, lambda text: procfs.parse_pressure(text, name)) or ()


def _system_record(known: _Texts, hostname: str, load: Load | None) -> SystemRecord:
    return SystemRecord(
        hostname=hostname,
        kernel_version=known.parsed("proc/version", procfs.parse_kernel_version),
        os_release=known.parsed("etc/os-release", procfs.parse_os_release) or {},
        uptime_seconds=known.parsed("proc/uptime", procfs.parse_uptime),
        load_average_1min=load.load_1min if load else None,
        load_average_5min=load.load_5min if load else None,
        load_average_15min=load.load_15min if load else None,
        running_processes=load.running_processes if load else None,
        total_processes=load.total_processes if load else None,
    )


def cluster_record(
    hosts: Sequence[HostRecord],
    *,
    method: str,
    when: datetime,
    failed: Sequence[HostFailure] = (),
) -> ClusterRecord:
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
        failed_hosts=tuple(failed),
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
            f"memory differs by {spread:.0%}: {least.address} has {least.memory.total} bytes,"
            f" {most.address} has {most.memory.total}"
        )
    aspects: dict[str, Callable[[HostRecord], object]] = {
        "core counts": lambda host: host.cpu.num_cores,
        "operating system versions": lambda host: host.system.os_release.get("VERSION_ID"),
        "kernel versions": lambda host: host.system.kernel_version,
    }
    for name, aspect in aspects.items():
        groups: dict[object, list[str]] = {}
        for host in hosts:
            groups.setdefault(aspect(host), []).append(host.address)
        if len(groups) > 1:
            shown = (
                f"{printable(str(value or 'unknown'))} on {printable(', '.join(on))}"
                for value, on in groups.items()
            )
            found.append(f"{name} differ: {'; '.join(shown)}")
    return found


def memory_bytes(root: Path = _ROOT) -> int:
    """The memory of this host.

    Raises:
        ConfigurationError: /proc/meminfo cannot be read.
    """
    try:
        return procfs.parse_meminfo(text_or_none(root / "proc/meminfo") or "").total
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the memory of this host: {error}",
            fix="state it with --client-host-memory-in-gb, or mount /proc",
        ) from error


def memory_limit_bytes(root: Path = _ROOT) -> int:
    """The memory that this process may use: the host's, or its control group's where that is less.

    Page cache counts against a group's limit too, so this bounds what can be cached.
    """
    total = memory_bytes(root)
    limit = limits(_reader(root), total).memory_bytes
    return total if limit is None else limit


def usable_cpus(root: Path = _ROOT) -> float:
    """How many processors this process may keep busy: its affinity or its quota, whichever is less.

    A quota can be a fraction (1.5 processors of time).
    """
    affinity = float(len(os.sched_getaffinity(0)))
    quota = limits(_reader(root)).cpus
    return affinity if quota is None else min(affinity, quota)


def _reader(root: Path) -> Callable[[str], str | None]:
    return lambda name: text_or_none(root / name)


def _utc(when: datetime) -> str:
    return when.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
