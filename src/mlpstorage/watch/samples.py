"""From a host's raw answer to a line of the series, and what the columns mean.

A line holds numbers only; their names are in the host's last layout line, which is written whenever
the names change (a disk appears, a kernel tells more after a reboot). Devices that have never done
anything are left out until they do. Counters and gauges are told apart, with units and the modulus
at which a counter wraps, in the head of the file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from mlpstorage.watch import procfs
from mlpstorage.watch.probe import sections_of
from mlpstorage.watch.records import (
    CpuTicks,
    Disk,
    Interface,
    Load,
    Pressure,
    SystemCounters,
    is_vmstat_gauge,
)
from mlpstorage.watch.sources import SAMPLE_FILES
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")
_WRAP = 1 << 32
_UNITS = {
    "sectors_read": "512 B",
    "sectors_written": "512 B",
    "sectors_discarded": "512 B",
    "rx_bytes": "B",
    "tx_bytes": "B",
    "boot_time": "s",
    "total_us": "us",
    "avg10": "%",
    "avg60": "%",
    "avg300": "%",
}


def _names(record: type) -> tuple[str, ...]:
    """The fields of a record that are numbers: those that are no text."""
    return tuple(field.name for field in dataclasses.fields(record) if field.type != "str")


DISK, NET, CPU = _names(Disk), _names(Interface), _names(CpuTicks)
SYSTEM, LOAD, PRESSURE = _names(SystemCounters), _names(Load), _names(Pressure)
_ROWS = {
    name: attrgetter(*names)
    for name, names in (("disk", DISK), ("net", NET), ("pressure", PRESSURE))
}
_CPU, _SYSTEM, _LOAD = attrgetter(*CPU), attrgetter(*SYSTEM), attrgetter(*LOAD)


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """What the fixed columns are: name, counter or gauge, unit, and where a counter wraps."""

    def column(name: str, *, gauge: bool, wraps: bool = False, unit: str = "") -> dict[str, Any]:
        told = unit or _UNITS.get(name, "ms" if name.endswith("_ms") else "1")
        entry = {"name": name, "type": "gauge" if gauge else "counter", "unit": told}
        return {**entry, "wraps": _WRAP} if wraps else entry

    return {
        "disk": [column(n, gauge=n in Disk.GAUGES, wraps=n in Disk.WRAPPING) for n in DISK],
        "net": [column(n, gauge=False) for n in NET],
        "cpu": [column(n, gauge=False, unit="clock tick") for n in CPU],
        "system": [column(n, gauge=n in SystemCounters.GAUGES) for n in SYSTEM],
        "load": [column(n, gauge=True) for n in LOAD],
        "pressure": [column(n, gauge=n != "total_us") for n in PRESSURE],
        "meminfo": [column("*", gauge=True, unit="KiB (counts for HugePages_*)")],
        "vmstat_counters": [column("*", gauge=False)],
        "vmstat_gauges": [column("*", gauge=True)],
    }


@dataclass(frozen=True)
class Layout:
    """The names behind a host's numbers, in their order."""

    disks: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    pressures: tuple[str, ...] = ()
    meminfo: tuple[str, ...] = ()
    vmstat_counters: tuple[str, ...] = ()
    vmstat_gauges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A parsed answer: numbers in the order of the layout; what a host does not tell is empty."""

    layout: Layout
    uptime_seconds: float | None
    values: dict[str, Any]
    missing: tuple[str, ...]
    errors: dict[str, str]


def parse_sample(answer: str) -> Sample:
    """The numbers in the answer to a sample's request; malformed files are named and left out."""
    texts = sections_of(answer)
    errors: dict[str, str] = {}

    def parsed(name: str, parser: Callable[[str], _T]) -> _T | None:
        if name not in texts:
            return None
        try:
            return parser(texts[name])
        except ValueError as error:
            errors[f"/{name}"] = printable(str(error))
            return None

    disks = [d for d in parsed("proc/diskstats", procfs.parse_diskstats) or () if _has_worked(d)]
    interfaces = parsed("proc/net/dev", procfs.parse_net_dev) or ()
    vmstat = parsed("proc/vmstat", procfs.parse_vmstat) or {}
    gauges = tuple(filter(is_vmstat_gauge, vmstat))
    counters = tuple(name for name in vmstat if not is_vmstat_gauge(name))
    meminfo = parsed("proc/meminfo", procfs.parse_meminfo_kib) or {}
    pressures = [
        line
        for name in ("cpu", "io", "memory")
        for line in parsed(f"proc/pressure/{name}", _PRESSURE_PARSERS[name]) or ()
    ]
    ticks = parsed("proc/stat", procfs.parse_cpu_ticks)
    system = parsed("proc/stat", procfs.parse_system_counters)
    load = parsed("proc/loadavg", procfs.parse_loadavg)
    layout = Layout(
        disks=tuple(disk.device_name for disk in disks),
        interfaces=tuple(interface.interface_name for interface in interfaces),
        pressures=tuple(f"{line.resource}.{line.share}" for line in pressures),
        meminfo=tuple(meminfo),
        vmstat_counters=counters,
        vmstat_gauges=gauges,
    )
    values = {
        "disk": _rows("disk", disks),
        "net": _rows("net", interfaces),
        "cpu": _CPU(ticks) if ticks else (),
        "system": _SYSTEM(system) if system else (),
        "load": _LOAD(load) if load else (),
        "pressure": _rows("pressure", pressures),
        "meminfo": tuple(meminfo.values()),
        "vmstat_counters": tuple(map(vmstat.__getitem__, counters)),
        "vmstat_gauges": tuple(map(vmstat.__getitem__, gauges)),
    }
    missing = tuple(f"/{name}" for name in SAMPLE_FILES if name not in texts)
    return Sample(layout, parsed("proc/uptime", procfs.parse_uptime), values, missing, errors)


_PRESSURE_PARSERS = {
    name: (lambda text, name=name: procfs.parse_pressure(text, name))
    for name in ("cpu", "io", "memory")
}


def _has_worked(disk: Disk) -> bool:
    return bool(disk.reads_completed or disk.writes_completed or disk.discards_completed)


def _rows(kind: str, records: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """The numbers of each record; a column that an old kernel lacks is None."""
    return tuple(map(_ROWS[kind], records))
