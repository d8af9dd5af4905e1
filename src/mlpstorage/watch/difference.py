"""What happened on every host between two snapshots: what the block layer, the network and NFS saw.

A result that claims to have read a terabyte can be held against the bytes that devices delivered.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.watch.devices import role_of
from mlpstorage.watch.records import counters_since, is_vmstat_gauge
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from mlpstorage.watch.inventory import ClusterRecord, HostRecord
    from mlpstorage.watch.mountstats import NfsBytes, NfsMount, NfsOperation
    from mlpstorage.watch.records import CpuTicks, Disk, Interface

_SECTOR_BYTES = 512
_MS = 1000.0


@dataclass(frozen=True)
class DiskChange:
    """What a block device did.

    Waits are means over requests, in milliseconds, from queueing to completion; None without any.
    `mean_queue_depth` is the time that requests spent there in all, over the time that passed.
    `role` is disk, partition (of a disk), stacked (on other devices) or virtual (memory, a file).
    """

    device_name: str
    role: str
    reads: int
    read_bytes: int
    read_wait_ms: float | None
    writes: int
    written_bytes: int
    write_wait_ms: float | None
    discards: int | None
    discarded_bytes: int | None
    flushes: int | None
    busy_seconds: float
    mean_queue_depth: float | None


@dataclass(frozen=True)
class InterfaceChange:
    """What passed through a network interface."""

    interface_name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(frozen=True)
class NfsChange:
    """What an NFS mount did; `is_new` if it was mounted in between, and so counts from then."""

    device: str
    mount_point: str
    fs_type: str
    is_new: bool
    bytes: NfsBytes | None
    operations: tuple[NfsOperation, ...]


@dataclass(frozen=True)
class HostChange:
    """What one host did; totals are over devices of the role disk, so that nothing counts twice.

    `cpu_busy` is the share of all processors' time that was neither idle nor waiting for I/O.
    `errors` names what cannot be compared, and why: a device that was replaced, for instance.
    """

    address: str
    hostname: str
    seconds: float | None
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int
    cpu_busy: float | None
    cpu_iowait: float | None
    disks: tuple[DiskChange, ...]
    network: tuple[InterfaceChange, ...]
    nfs_mounts: tuple[NfsChange, ...]
    vmstat: dict[str, int]
    errors: dict[str, str]


@dataclass(frozen=True)
class ClusterChange:
    """The hosts that can be compared; `not_compared` says why the others cannot."""

    hosts: tuple[HostChange, ...]
    not_compared: dict[str, str]

    @property
    def read_bytes(self) -> int:
        """What the disks of all hosts delivered."""
        return sum(host.read_bytes for host in self.hosts)

    @property
    def written_bytes(self) -> int:
        """What the disks of all hosts took."""
        return sum(host.written_bytes for host in self.hosts)

    def as_dict(self) -> dict[str, Any]:
        """The change as JSON-ready values."""
        totals = {"read_bytes": self.read_bytes, "written_bytes": self.written_bytes}
        return {**totals, **dataclasses.asdict(self)}


def difference(start: ClusterRecord, end: ClusterRecord) -> ClusterChange:
    """What happened from one record of the cluster to a later one, host by host."""
    before = {host.address: host for host in start.hosts}
    after = {host.address: host for host in end.hosts}
    hosts, not_compared = [], {}
    for address in {**before, **after}:
        if address not in before or address not in after:
            moment = "start" if address not in before else "end"
            not_compared[address] = f"it was not recorded at the {moment}"
        elif before[address].boot_id != after[address].boot_id:
            not_compared[address] = "it was rebooted in between"
        else:
            hosts.append(_host_change(before[address], after[address]))
    return ClusterChange(tuple(hosts), not_compared)


def _host_change(start: HostRecord, end: HostRecord) -> HostChange:
    errors: dict[str, str] = {}
    seconds = _seconds(start, end)
    disks = _disk_changes(start, end, seconds, errors)
    own = [disk for disk in disks if disk.role == "disk"]
    busy, waiting = _cpu_shares(start.cpu_ticks, end.cpu_ticks)
    return HostChange(
        address=end.address,
        hostname=end.hostname,
        seconds=seconds,
        read_bytes=sum(disk.read_bytes for disk in own),
        written_bytes=sum(disk.written_bytes for disk in own),
        reads=sum(disk.reads for disk in own),
        writes=sum(disk.writes for disk in own),
        cpu_busy=busy,
        cpu_iowait=waiting,
        disks=disks,
        network=_interface_changes(start, end, errors),
        nfs_mounts=_nfs_changes(start, end, errors),
        vmstat=_vmstat_changes(start.vmstat, end.vmstat),
        errors=errors,
    )


def _seconds(start: HostRecord, end: HostRecord) -> float | None:
    """By the host's own uptime, which no clock setting touches."""
    began, ended = start.system.uptime_seconds, end.system.uptime_seconds
    return ended - began if began is not None and ended is not None else None


def _disk_changes(
    start: HostRecord, end: HostRecord, seconds: float | None, errors: dict[str, str]
) -> tuple[DiskChange, ...]:
    before = {disk.device_name: disk for disk in start.disks}
    devices = {device.device_name: device for device in end.block_devices}
    changes = []
    for disk in end.disks:
        name = disk.device_name
        try:
            change = counters_since(before[name], disk) if name in before else disk
        except ValueError as error:
            errors[printable(name)] = str(error)
            continue
        if _is_active(change):
            changes.append(_disk_change(change, role_of(name, devices), seconds))
    return tuple(changes)


def _is_active(change: Disk) -> bool:
    return bool(
        change.reads_completed
        or change.writes_completed
        or change.discards_completed
        or change.flush_requests_completed
    )


def _disk_change(change: Disk, role: str, seconds: float | None) -> DiskChange:
    def mean(total_ms: int, count: int) -> float | None:
        return total_ms / count if count else None

    discarded = change.sectors_discarded
    in_queue = change.weighted_time_doing_ios_ms / _MS
    return DiskChange(
        device_name=change.device_name,
        role=role,
        reads=change.reads_completed,
        read_bytes=change.sectors_read * _SECTOR_BYTES,
        read_wait_ms=mean(change.time_reading_ms, change.reads_completed),
        writes=change.writes_completed,
        written_bytes=change.sectors_written * _SECTOR_BYTES,
        write_wait_ms=mean(change.time_writing_ms, change.writes_completed),
        discards=change.discards_completed,
        discarded_bytes=None if discarded is None else discarded * _SECTOR_BYTES,
        flushes=change.flush_requests_completed,
        busy_seconds=change.time_doing_ios_ms / _MS,
        mean_queue_depth=in_queue / seconds if seconds else None,
    )


def _cpu_shares(
    before: CpuTicks | None, after: CpuTicks | None
) -> tuple[float | None, float | None]:
    """Busy and waiting for I/O, as shares of all ticks; guests' ticks are in user and nice.

    The ticks of waiting may go back a little (Documentation/filesystems/proc.rst of the kernel).
    """
    if before is None or after is None:
        return None, None

    def ticks(*names: str) -> int:
        return sum(max(0, getattr(after, name) - getattr(before, name)) for name in names)

    busy = ticks("user", "nice", "system", "irq", "softirq", "steal")
    waiting = ticks("iowait")
    total = busy + waiting + ticks("idle")
    return (busy / total, waiting / total) if total else (None, None)


def _interface_changes(
    start: HostRecord, end: HostRecord, errors: dict[str, str]
) -> tuple[InterfaceChange, ...]:
    before = {interface.interface_name: interface for interface in start.network}
    changes = []
    for interface in end.network:
        name = interface.interface_name
        try:
            change = counters_since(before[name], interface) if name in before else interface
        except ValueError as error:
            errors[printable(name)] = str(error)
            continue
        if change.rx_packets or change.tx_packets:
            changes.append(_interface_change(change))
    return tuple(changes)


def _interface_change(change: Interface) -> InterfaceChange:
    names = [field.name for field in dataclasses.fields(InterfaceChange)]
    return InterfaceChange(**{name: getattr(change, name) for name in names})


def _nfs_changes(
    start: HostRecord, end: HostRecord, errors: dict[str, str]
) -> tuple[NfsChange, ...]:
    before = {(mount.device, mount.mount_point): mount for mount in start.nfs_mounts}
    changes = []
    for mount in end.nfs_mounts:
        earlier = before.get((mount.device, mount.mount_point))
        if earlier is not None and _is_remounted(earlier, mount):
            earlier = None
        try:
            changes.append(_nfs_change(earlier, mount))
        except ValueError as error:
            errors[printable(mount.mount_point)] = str(error)
    return tuple(changes)


def _is_remounted(earlier: NfsMount, later: NfsMount) -> bool:
    ages = earlier.age_seconds, later.age_seconds
    return ages[0] is not None and ages[1] is not None and ages[1] < ages[0]


def _nfs_change(earlier: NfsMount | None, later: NfsMount) -> NfsChange:
    amounts = later.bytes
    if earlier and earlier.bytes and amounts:
        amounts = counters_since(earlier.bytes, amounts)
    known = {operation.name: operation for operation in earlier.operations} if earlier else {}
    operations = [
        counters_since(known[operation.name], operation) if operation.name in known else operation
        for operation in later.operations
    ]
    return NfsChange(
        device=later.device,
        mount_point=later.mount_point,
        fs_type=later.fs_type,
        is_new=earlier is None,
        bytes=amounts,
        operations=tuple(operation for operation in operations if operation.operations),
    )


def _vmstat_changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """The counters that moved; the kernel sums them over processors without a lock."""
    return {
        name: value - before[name]
        for name, value in after.items()
        if name in before and value != before[name] and not is_vmstat_gauge(name)
    }
