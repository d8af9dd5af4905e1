from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from mlpstorage.watch.difference import difference
from mlpstorage.watch.inventory import cluster_record, host_record

if TYPE_CHECKING:
    from mlpstorage.watch.inventory import ClusterRecord, HostRecord

NOW = datetime(2026, 1, 10, tzinfo=timezone.utc)
NFS = (
    "device nas:/x mounted on /mnt with fstype nfs4 statvers=1.1\n\tage:\t{age}\n"
    "\tbytes:\t1 2 3 4 {read} 6 7 8\n\tREAD: {reads} {reads} 0 1 1 1 1 1\n"
)


def host(address: str, boot: str = "b1", **files: str) -> HostRecord:
    """A host with a disk, its partition, a device on top, and the given files."""
    texts = {
        "proc/sys/kernel/hostname": address,
        "proc/sys/kernel/random/boot_id": boot,
        "proc/meminfo": "MemTotal: 1 kB\n",
        "proc/cpuinfo": "processor\t: 0\n\n",
        "sys/block/sda/size": "1\n",
        "sys/block/dm-0/slaves/sda/size": "1\n",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    return host_record(texts, when=NOW, address=address)


def cluster(*hosts: HostRecord) -> ClusterRecord:
    """The hosts as a cluster."""
    return cluster_record(hosts, method="ssh", when=NOW)


def disks(reads: int, sectors: int, ms: int, depth_ms: int) -> str:
    """Diskstats of a disk, its partition and a stacked device that all saw the same."""
    line = f"{reads} 0 {sectors} {ms} 0 0 0 0 0 {ms} {depth_ms}"
    return "".join(f"8 0 {name} {line}\n" for name in ("sda", "sda1", "dm-0"))


def test_what_the_block_layer_saw() -> None:
    """Bytes, requests, waits and depth are told by device; totals count each byte once."""
    change = difference(
        cluster(host("h1", proc__diskstats=disks(10, 100, 40, 50), proc__uptime="100.0 1.0\n")),
        cluster(host("h1", proc__diskstats=disks(30, 2148, 140, 10050), proc__uptime="105.0 1\n")),
    )
    (one,) = change.hosts
    assert [disk.role for disk in one.disks] == ["disk", "partition", "stacked"]
    disk = one.disks[0]
    assert (disk.reads, disk.read_bytes, disk.read_wait_ms) == (20, 1 << 20, 5.0)
    assert (disk.busy_seconds, disk.mean_queue_depth) == (0.1, 2.0)
    assert disk.write_wait_ms is None
    assert (one.seconds, one.read_bytes, one.reads) == (5.0, 1 << 20, 20)
    assert change.read_bytes == 1 << 20
    assert change.as_dict()["read_bytes"] == 1 << 20


def test_a_wait_that_wraps() -> None:
    """The 32-bit sums of milliseconds count on over their end."""
    change = difference(
        cluster(host("h1", proc__diskstats=disks(10, 0, 4294967290, 1))),
        cluster(host("h1", proc__diskstats=disks(12, 0, 14, 1))),
    )
    assert change.hosts[0].disks[0].read_wait_ms == 10.0


def test_a_reboot() -> None:
    """A host that was rebooted in between is named instead of compared."""
    before = host("h1", boot="b1", proc__diskstats=disks(10, 0, 0, 0))
    after = host("h1", boot="b2", proc__diskstats=disks(99, 0, 0, 0))
    change = difference(cluster(before, host("h2")), cluster(after, host("h2")))
    assert change.not_compared == {"h1": "it was rebooted in between"}
    assert [one.address for one in change.hosts] == ["h2"]


def test_hosts_without_a_start_or_an_end() -> None:
    """A host that one snapshot lacks is named with the moment."""
    change = difference(cluster(host("h1"), host("h2")), cluster(host("h2"), host("h3")))
    assert change.not_compared == {
        "h1": "it was not recorded at the end",
        "h3": "it was not recorded at the start",
    }


def test_a_replaced_device() -> None:
    """A device whose counters went back is an error of its own; one that is new counts whole."""
    new = "8 1 sdb 7 0 8 0 0 0 0 0 0 0 0\n"
    change = difference(
        cluster(host("h1", proc__diskstats=disks(10, 0, 0, 0))),
        cluster(host("h1", proc__diskstats=disks(9, 0, 0, 0) + new)),
    )
    (one,) = change.hosts
    assert one.errors["sda"] == "reads_completed went back from 10 to 9"
    assert [(disk.device_name, disk.reads) for disk in one.disks] == [("sdb", 7)]


def test_nfs() -> None:
    """A mount's bytes and requests are counted from the start, or from its mounting if later."""

    def with_nfs(age: int, read: int, reads: int) -> ClusterRecord:
        text = NFS.format(age=age, read=read, reads=reads)
        return cluster(host("h1", proc__self__mountstats=text))

    (mount,) = difference(with_nfs(100, 1000, 5), with_nfs(160, 1700, 9)).hosts[0].nfs_mounts
    assert mount.bytes is not None
    assert (mount.is_new, mount.bytes.server_read, mount.operations[0].operations) == (
        False,
        700,
        4,
    )
    (mount,) = difference(with_nfs(100, 1000, 5), with_nfs(10, 400, 2)).hosts[0].nfs_mounts
    assert mount.bytes is not None
    assert (mount.is_new, mount.bytes.server_read, mount.operations[0].operations) == (True, 400, 2)


def test_processors_and_network() -> None:
    """Shares of the processors' time, interfaces that worked, and the counters that moved."""
    net = "a\nb\n eth0: {0} 2 0 0 0 0 0 0 5 6 0 0 0 0 0 0\n lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    start = host(
        "h1",
        proc__stat="cpu  100 0 100 1000 50 0 0 0 0 0\n",
        proc__net__dev=net.format(10),
        proc__vmstat="pgpgin 5\nnr_dirty 7\npgfault 1\n",
    )
    end = host(
        "h1",
        proc__stat="cpu  130 0 110 1055 45 0 5 0 0 0\n",
        proc__net__dev=net.format(4010).replace(" 2 0", " 9 0"),
        proc__vmstat="pgpgin 9\nnr_dirty 1\npgfault 1\n",
    )
    (one,) = difference(cluster(start), cluster(end)).hosts
    assert one.cpu_busy == 0.45
    assert one.cpu_iowait == 0.0  # it went back: no wait, and no error either
    assert [(i.interface_name, i.rx_bytes, i.rx_packets) for i in one.network] == [
        ("eth0", 4000, 7)
    ]
    assert one.vmstat == {"pgpgin": 4}


def test_counters_that_never_were() -> None:
    """Hosts that tell nothing are compared to nothing, without an error."""
    (one,) = difference(cluster(host("h1")), cluster(host("h1"))).hosts
    assert one.cpu_busy is None
    assert one.seconds is None
    assert dataclasses.asdict(one)["disks"] == ()
