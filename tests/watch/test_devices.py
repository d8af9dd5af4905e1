from __future__ import annotations

from pathlib import Path

import pytest

from mlpstorage.watch.devices import (
    NetworkLink,
    NumaNode,
    block_devices,
    network_links,
    numa_nodes,
    role_of,
)
from mlpstorage.watch.sources import read_sources

TEXTS = {
    "sys/block/sda/queue/scheduler": "[none] mq-deadline kyber\n",
    "sys/block/sda/queue/read_ahead_kb": "4096\n",
    "sys/block/sda/queue/nr_requests": "256\n",
    "sys/block/sda/queue/rotational": "1\n",
    "sys/block/sda/queue/logical_block_size": "4096\n",
    "sys/block/sda/size": "2048\n",
    "sys/block/sda/device/model": "Big Disk        \n",
    "sys/block/dm-0/size": "1024\n",
    "sys/block/dm-0/slaves/sda/size": "2048\n",
    "sys/block/dm-0/slaves/sdb1/size": "2048\n",
    "sys/devices/system/node/node10/cpulist": "\n",
    "sys/devices/system/node/node2/cpulist": "0-1,4\n",
    "sys/devices/system/node/node2/meminfo": "Node 2 MemTotal:  16 kB\nNode 2 MemFree: 8 kB\n",
    "sys/devices/system/node/node2/distance": "10 21\n",
    "sys/class/net/eth0/speed": "200000\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/mtu": "9000\n",
    "sys/class/net/lo/speed": "-1\n",
    "sys/class/net/lo/mtu": "65536\n",
}


def test_queues() -> None:
    """The chosen scheduler and the queue's limits are read; what a device lacks is None."""
    stacked, disk = block_devices(TEXTS)
    assert (disk.device_name, disk.scheduler, disk.model) == ("sda", "none", "Big Disk")
    assert (disk.read_ahead_kb, disk.nr_requests, disk.is_rotational) == (4096, 256, True)
    assert (disk.size_bytes, disk.logical_block_bytes) == (1 << 20, 4096)
    assert stacked.built_on == ("sda", "sdb1")
    assert stacked.scheduler is None
    assert stacked.is_rotational is None


def test_roles() -> None:
    """Only disks count for totals: neither their partitions nor what is built on them."""
    devices = {device.device_name: device for device in block_devices(TEXTS)}
    names = ["sda", "sda1", "dm-0", "loop0", "ram1", "zram0"]
    roles = ["disk", "partition", "stacked", "virtual", "virtual", "virtual"]
    assert [role_of(name, devices) for name in names] == roles


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("nvme0n1", "disk"),
        ("nvme0n1p12", "partition"),
        ("xvda", "disk"),
        ("xvda1", "partition"),
        ("md127", "stacked"),
        ("mmcblk0p1", "partition"),
        ("weird7", "disk"),
    ],
)
def test_roles_without_sys(name: str, role: str) -> None:
    """In a container that hides /sys, the names tell."""
    assert role_of(name, {}) == role


def test_nodes_and_links() -> None:
    """Memory nodes come in the order of their numbers; an unknown speed is None."""
    assert numa_nodes(TEXTS) == (
        NumaNode(2, "0-1,4", 16384, (10, 21)),
        NumaNode(10, "", None, ()),
    )
    assert network_links(TEXTS) == (
        NetworkLink("eth0", 200000, "up", 9000),
        NetworkLink("lo", None, None, 65536),
    )


def test_nothing_known() -> None:
    """A host without /sys has no devices, and that is no error."""
    assert block_devices({}) == numa_nodes({}) == network_links({}) == ()


def test_this_machine() -> None:
    """Every device, node and interface of this machine is found."""
    texts = read_sources()
    here = Path("/sys")
    if not (here / "block").exists():
        pytest.skip("no /sys here")
    assert {d.device_name for d in block_devices(texts)} >= {
        path.parent.parent.name for path in here.glob("block/*/queue/scheduler")
    }
    names = {path.name for path in here.glob("class/net/*")} - {"bonding_masters"}
    assert {link.interface_name for link in network_links(texts)} == names
