"""What /sys says of a host's block devices, memory nodes and network links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Patterns of the files that this module reads, for a shell or for pathlib.
PATTERNS = (
    *(
        f"sys/block/*/queue/{name}"
        for name in (
            "scheduler",
            "read_ahead_kb",
            "nr_requests",
            "rotational",
            "logical_block_size",
            "max_sectors_kb",
            "write_cache",
        )
    ),
    "sys/block/*/size",
    "sys/block/*/device/model",
    "sys/block/*/slaves/*/size",
    "sys/devices/system/node/node*/cpulist",
    "sys/devices/system/node/node*/meminfo",
    "sys/devices/system/node/node*/distance",
    "sys/class/net/*/speed",
    "sys/class/net/*/operstate",
    "sys/class/net/*/mtu",
)
_SECTOR_BYTES = 512  # whatever the device's own sectors are
_VIRTUAL = re.compile(r"(loop|ram|zram)\d+")
_STACKED = re.compile(r"(dm-|md)\d+")
_PARTITION = re.compile(r"((sd|hd|vd|xvd)[a-z]+|(nvme\d+n\d+|mmcblk\d+|md\d+|nbd\d+)p)\d+")
_CHOSEN = re.compile(r"\[([^\]]+)\]")
_KIB = 1024


@dataclass(frozen=True)
class BlockDevice:
    """A block device and its queue; `built_on` names the devices below a stacked one (dm, md).

    `is_rotational` is what the kernel believes: virtual disks often say so without a spindle.
    """

    device_name: str
    size_bytes: int | None
    model: str | None
    scheduler: str | None
    read_ahead_kb: int | None
    nr_requests: int | None
    is_rotational: bool | None
    logical_block_bytes: int | None
    max_sectors_kb: int | None
    write_cache: str | None
    built_on: tuple[str, ...]


@dataclass(frozen=True)
class NumaNode:
    """A memory node: its processors as the kernel lists them (0-15,32-47), distances to all."""

    node: int
    cpulist: str
    memory_bytes: int | None
    distances: tuple[int, ...]


@dataclass(frozen=True)
class NetworkLink:
    """An interface's link; the speed is None where the driver tells none (virtual, down)."""

    interface_name: str
    speed_mbit: int | None
    state: str | None
    mtu: int | None


def block_devices(texts: Mapping[str, str]) -> tuple[BlockDevice, ...]:
    r"""The block devices, in the order of their names.

    >>> block_devices({"sys/block/sda/queue/scheduler": "none [mq-deadline]\n"})[0].scheduler
    'mq-deadline'
    """
    below: dict[str, list[str]] = {}
    for name, rest in _entries(texts, "sys/block/"):
        below.setdefault(name, [])
        if rest.startswith("slaves/"):
            below[name].append(rest.split("/")[1])
    return tuple(_block_device(texts, name, tuple(below[name])) for name in sorted(below))


def role_of(name: str, devices: Mapping[str, BlockDevice]) -> str:
    """What a line of diskstats is: disk, partition, stacked on other devices, or virtual.

    Only disks have I/O of their own: a partition's is its disk's, a stacked device's is that of
    those below it. Where a container hides /sys, names must do.

    >>> [role_of(name, {}) for name in ("sda", "sda1", "nvme0n1p2", "dm-12", "loop3")]
    ['disk', 'partition', 'partition', 'stacked', 'virtual']
    """
    if _VIRTUAL.fullmatch(name):
        return "virtual"
    if name in devices:
        return "stacked" if devices[name].built_on else "disk"
    if devices or _PARTITION.fullmatch(name):
        return "partition"
    return "stacked" if _STACKED.fullmatch(name) else "disk"


def _block_device(texts: Mapping[str, str], name: str, built_on: tuple[str, ...]) -> BlockDevice:
    def number(part: str) -> int | None:
        return _number(texts.get(f"sys/block/{name}/{part}"))

    scheduler = _word(texts.get(f"sys/block/{name}/queue/scheduler"))
    chosen = _CHOSEN.search(scheduler or "")
    sectors, rotational = number("size"), number("queue/rotational")
    return BlockDevice(
        device_name=name,
        size_bytes=None if sectors is None else sectors * _SECTOR_BYTES,
        model=_word(texts.get(f"sys/block/{name}/device/model")),
        scheduler=chosen[1] if chosen else scheduler,
        read_ahead_kb=number("queue/read_ahead_kb"),
        nr_requests=number("queue/nr_requests"),
        is_rotational=None if rotational is None else bool(rotational),
        logical_block_bytes=number("queue/logical_block_size"),
        max_sectors_kb=number("queue/max_sectors_kb"),
        write_cache=_word(texts.get(f"sys/block/{name}/queue/write_cache")),
        built_on=built_on,
    )


def numa_nodes(texts: Mapping[str, str]) -> tuple[NumaNode, ...]:
    """The memory nodes in the order of their numbers."""
    top = "sys/devices/system/node/"
    names = {name for name, _ in _entries(texts, top) if name[4:].isdecimal()}
    nodes = []
    for name in sorted(names, key=lambda name: int(name[4:])):
        total = re.search(r"MemTotal:\s+(\d+) kB", texts.get(f"{top}{name}/meminfo", ""))
        distances = (texts.get(f"{top}{name}/distance") or "").split()
        nodes.append(
            NumaNode(
                node=int(name[4:]),
                cpulist=_word(texts.get(f"{top}{name}/cpulist")) or "",
                memory_bytes=int(total[1]) * _KIB if total else None,
                distances=tuple(int(word) for word in distances if word.isdecimal()),
            )
        )
    return tuple(nodes)


def network_links(texts: Mapping[str, str]) -> tuple[NetworkLink, ...]:
    """The links, in the order of their names."""
    top = "sys/class/net/"
    return tuple(
        NetworkLink(
            interface_name=name,
            speed_mbit=_number(texts.get(f"{top}{name}/speed")),  # -1 is unknown
            state=_word(texts.get(f"{top}{name}/operstate")),
            mtu=_number(texts.get(f"{top}{name}/mtu")),
        )
        for name in sorted({name for name, _ in _entries(texts, top)})
    )


def _entries(texts: Mapping[str, str], top: str) -> Iterator[tuple[str, str]]:
    """Name and rest of each path below `top`."""
    for path in texts:
        if path.startswith(top):
            name, slash, rest = path[len(top) :].partition("/")
            if slash:
                yield name, rest


def _word(text: str | None) -> str | None:
    return text.strip() if text and text.strip() else None


def _number(text: str | None) -> int | None:
    word = (text or "").strip()
    return int(word) if word.isascii() and word.isdecimal() else None
