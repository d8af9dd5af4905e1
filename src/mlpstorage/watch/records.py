"""What a kernel tells about a host and its processes, as typed records.

Field names are those of the cluster information file. Counters only grow from boot on and mean
something as differences (`counters_since`); gauges mean something as they are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

_WRAP = 1 << 32


@dataclass(frozen=True)
class Memory:
    """Memory of a host in bytes; None for what its kernel does not tell."""

    total: int
    available: int | None
    used: int | None
    free: int | None
    active: int | None
    inactive: int | None
    buffers: int | None
    cached: int | None
    shared: int | None


@dataclass(frozen=True)
class Cpu:
    """Processors of a host: physical cores, logical cores (hardware threads) and sockets."""

    num_cores: int
    num_logical_cores: int
    model: str
    architecture: str
    num_sockets: int


@dataclass(frozen=True)
class Disk:
    """A line of /proc/diskstats: counters since boot, and the I/Os in progress, a gauge.

    Sectors are of 512 bytes whatever the device. Discards exist since Linux 4.18, flushes since
    5.5. Source: Documentation/admin-guide/iostats.rst of the kernel.
    """

    GAUGES: ClassVar[frozenset[str]] = frozenset({"ios_in_progress"})
    # The kernel prints these as 32-bit numbers; weighted time wraps within hours at high depth.
    WRAPPING: ClassVar[frozenset[str]] = frozenset(
        {
            "time_reading_ms",
            "time_writing_ms",
            "time_doing_ios_ms",
            "weighted_time_doing_ios_ms",
            "time_discarding_ms",
            "time_flushing_ms",
        }
    )
    device_name: str
    reads_completed: int
    reads_merged: int
    sectors_read: int
    time_reading_ms: int
    writes_completed: int
    writes_merged: int
    sectors_written: int
    time_writing_ms: int
    ios_in_progress: int
    time_doing_ios_ms: int
    weighted_time_doing_ios_ms: int
    discards_completed: int | None = None
    discards_merged: int | None = None
    sectors_discarded: int | None = None
    time_discarding_ms: int | None = None
    flush_requests_completed: int | None = None
    time_flushing_ms: int | None = None


@dataclass(frozen=True)
class Interface:
    """A line of /proc/net/dev: counters of a network interface."""

    GAUGES: ClassVar[frozenset[str]] = frozenset()
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    interface_name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    rx_fifo: int
    rx_frame: int
    rx_compressed: int
    rx_multicast: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int
    tx_fifo: int
    tx_collisions: int
    tx_carrier: int
    tx_compressed: int


@dataclass(frozen=True)
class Load:
    """/proc/loadavg: all gauges; processes means schedulable threads there."""

    load_1min: float
    load_5min: float
    load_15min: float
    running_processes: int
    total_processes: int


@dataclass(frozen=True)
class CpuTicks:
    """The first line of /proc/stat: clock ticks that all processors together spent; counters."""

    GAUGES: ClassVar[frozenset[str]] = frozenset()
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    user: int
    nice: int
    system: int
    idle: int
    iowait: int = 0
    irq: int = 0
    softirq: int = 0
    steal: int = 0
    guest: int = 0
    guest_nice: int = 0


@dataclass(frozen=True)
class ProcessIo:
    """/proc/<pid>/io: bytes and calls of a process; counters.

    `rchar` and `wchar` passed through system calls; `read_bytes` and `write_bytes` reached storage.
    """

    GAUGES: ClassVar[frozenset[str]] = frozenset()
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    rchar: int
    wchar: int
    syscr: int
    syscw: int
    read_bytes: int
    write_bytes: int
    cancelled_write_bytes: int


@dataclass(frozen=True)
class ProcessStat:
    """/proc/<pid>/stat, as far as it matters; times in clock ticks, the start since boot."""

    pid: int
    name: str
    state: str
    parent_pid: int
    user_ticks: int
    system_ticks: int
    num_threads: int
    start_ticks: int
    resident_pages: int


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts."""

    device: str
    mount_point: str
    fs_type: str
    options: str
    dump_freq: int
    pass_num: int


@dataclass(frozen=True)
class Cgroup:
    """A line of /proc/cgroups: a controller of the kernel."""

    subsys_name: str
    hierarchy: int
    num_cgroups: int
    enabled: bool


@dataclass(frozen=True)
class FileSystem:
    """A line of /proc/filesystems: a type that the kernel knows."""

    fs_type: str
    needs_block_device: bool


@dataclass(frozen=True)
class Pressure:
    """A line of /proc/pressure/*: how long tasks stood still for want of a resource.

    `share` is some (at least one task) or full (all of them); averages in percent are gauges, the
    total in microseconds is a counter.
    """

    resource: str
    share: str
    avg10: float
    avg60: float
    avg300: float
    total_us: int


@dataclass(frozen=True)
class SystemCounters:
    """/proc/stat beside the processors' ticks: counters since boot, and tasks now, gauges.

    `boot_time` is in seconds since 1970.
    """

    GAUGES: ClassVar[frozenset[str]] = frozenset({"procs_running", "procs_blocked", "boot_time"})
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    context_switches: int
    boot_time: int
    forks: int
    procs_running: int
    procs_blocked: int


class Counters(Protocol):
    """A record of which some fields are gauges, and some count in 32 bits."""

    GAUGES: ClassVar[frozenset[str]]
    WRAPPING: ClassVar[frozenset[str]]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


CounterT = TypeVar("CounterT", bound=Counters)

# Names of /proc/vmstat that look like gauges but only grow, and the reverse (mm/vmstat.c).
_VMSTAT_COUNTERS = frozenset(
    {
        "nr_dirtied",
        "nr_written",
        "nr_throttled_written",
        "nr_vmscan_write",
        "nr_vmscan_immediate_reclaim",
        "nr_foll_pin_acquired",
        "nr_foll_pin_released",
        "nr_tlb_remote_flush",
        "nr_tlb_remote_flush_received",
        "nr_tlb_local_flush_all",
        "nr_tlb_local_flush_one",
    }
)


def is_vmstat_gauge(name: str) -> bool:
    """Whether a line of /proc/vmstat tells a state rather than a sum since boot.

    >>> is_vmstat_gauge("nr_dirty"), is_vmstat_gauge("nr_written"), is_vmstat_gauge("pgpgin")
    (True, False, False)
    """
    if name == "workingset_nodes":
        return True
    return name.startswith("nr_") and name not in _VMSTAT_COUNTERS


def counters_since(earlier: CounterT, later: CounterT) -> CounterT:
    """The later record with its counters counted from the earlier one; gauges stay as they are.

    Raises:
        ValueError: the records are of different things, or a counter went back (a device was
            replaced, the host rebooted).
    """
    changes: dict[str, int] = {}
    for field in dataclasses.fields(later):
        before, after = getattr(earlier, field.name), getattr(later, field.name)
        if isinstance(after, str) and before != after:
            raise ValueError(f"{before} and {after} are not the same {type(later).__name__}")
        if field.name in later.GAUGES or not isinstance(after, int) or before is None:
            continue
        change = after - before
        if change < 0 and field.name in later.WRAPPING and before < _WRAP:
            change += _WRAP
        if change < 0:
            raise ValueError(f"{field.name} went back from {before} to {after}")
        changes[field.name] = change
    return dataclasses.replace(later, **changes)
