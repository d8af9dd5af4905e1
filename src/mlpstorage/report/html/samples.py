"""Reads the samples of hosts, from our lines or from the document that other tools write too.

Both give the same: counters and gauges by host, in the units of the kernel. Lines are read one at
a time; of a very long file every n-th sample is taken, which loses no bytes: counters go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.store.codec import utc_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MOST_DOCUMENT_BYTES = 128 << 20  # it is read whole
MOST_LINES_BYTES = 32 << 20  # of longer ones, a part is taken
_NS = 1e9
_IDLE = ("idle", "iowait")
# Guests' time is in user and nice already.
_COUNTED = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMORY = ("MemTotal", "MemAvailable", "Cached", "Dirty", "AnonPages")


@dataclass
class HostSamples:
    """The samples of one host, in the order of time.

    `wall` is seconds since 1970 by the launcher's clock, `uptime` the host's own clock or None.
    The values behind each name are as long as `wall`; None where a sample lacks them. Disks and
    interfaces count bytes (read and written, received and sent), `cpu` counts clock ticks (busy,
    waiting for I/O, all), `memory` is bytes by the names of /proc/meminfo. `hostname` is what the
    host calls itself, empty where it did not say.
    """

    wall: list[float] = field(default_factory=list)
    uptime: list[float | None] = field(default_factory=list)
    disks: dict[str, list[tuple[float, float] | None]] = field(default_factory=dict)
    interfaces: dict[str, list[tuple[float, float] | None]] = field(default_factory=dict)
    cpu: list[tuple[float, float, float] | None] = field(default_factory=list)
    memory: dict[str, list[float | None]] = field(default_factory=dict)
    hostname: str = ""

    def __len__(self) -> int:
        return len(self.wall)


@dataclass(frozen=True)
class Samples:
    """All hosts of a run; `interval_seconds` is between two samples as they were taken here."""

    interval_seconds: float | None
    hosts: dict[str, HostSamples]


class _Device(msgspec.Struct):
    device_name: str
    sectors_read: float = 0
    sectors_written: float = 0


class _Interface(msgspec.Struct):
    interface_name: str
    rx_bytes: float = 0
    tx_bytes: float = 0


class _Sample(msgspec.Struct):
    """What is read of a sample of the document; the rest is skipped unseen."""

    timestamp: str
    diskstats: list[_Device] = []
    netdev: list[_Interface] = []
    cpu: dict[str, float] = {}
    meminfo: dict[str, float] = {}
    host_uptime_seconds: float | None = None
    hostname: str | None = None


class _Document(msgspec.Struct):
    samples_by_host: dict[str, list[_Sample]]
    collection_interval_seconds: float | None = None


class _Line(msgspec.Struct):
    """What is read of a line: of a head, a host, a layout and a sample alike."""

    kind: str
    host: str = ""
    hostname: str = ""
    seq: int = 0
    sent_wall_ns: int = 0
    host_uptime_s: float | None = None
    interval_seconds: float | None = None
    columns: dict[str, list[dict[str, Any]]] = {}
    disks: list[str] = []
    interfaces: list[str] = []
    disk: list[list[float | None]] = []
    net: list[list[float | None]] = []
    cpu: list[float | None] = []
    meminfo: list[Any] = []


def read_samples(path: Path) -> Samples:
    """The samples behind a reference; our lines are taken where they lie beside the document.

    Raises:
        ConfigurationError: the file cannot be read, is broken, or is too large to be read whole.
    """
    lines = path if path.suffix == ".jsonl" else path.with_suffix(".jsonl")
    try:
        if lines.is_file() and not lines.is_symlink():
            return _of_lines(lines)
        return _of_document(path)
    except OSError as error:
        raise _unreadable(path, (error.strerror or str(error)).lower()) from error
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise _unreadable(path, str(error)) from error


def named(samples: Samples) -> Samples:
    """The samples under the names that the hosts have, not under those they were asked by.

    An address, or "localhost", stays where two hosts share a name, or one did not say its own.
    """
    own = [host.hostname for host in samples.hosts.values()]
    hosts = {
        host.hostname if host.hostname and own.count(host.hostname) == 1 else asked: host
        for asked, host in samples.hosts.items()
    }
    return replace(samples, hosts=hosts) if len(hosts) == len(samples.hosts) else samples


def _unreadable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name}: the time series cannot be read ({why})",
        fix="restore the file from a copy; the run's figures do not need it",
    )


def _of_document(path: Path) -> Samples:
    size = path.stat().st_size
    if size > MOST_DOCUMENT_BYTES:
        raise ValueError(f"{size >> 20} MiB in one document; at most {MOST_DOCUMENT_BYTES >> 20}")
    document = msgspec.json.decode(path.read_bytes(), type=_Document, strict=False)
    hosts: dict[str, HostSamples] = {}
    for name, samples in document.samples_by_host.items():
        own = next((sample.hostname for sample in samples if sample.hostname), "")
        host = hosts[name] = HostSamples(hostname=own)
        for sample in samples:
            _append(
                host,
                utc_moment(sample.timestamp).timestamp(),
                sample.host_uptime_seconds,
                [(d.device_name, d.sectors_read, d.sectors_written) for d in sample.diskstats],
                [(i.interface_name, i.rx_bytes, i.tx_bytes) for i in sample.netdev],
                sample.cpu,
                sample.meminfo,
            )
    return Samples(document.collection_interval_seconds, hosts)


def _append(
    host: HostSamples,
    wall: float,
    uptime: float | None,
    disks: Sequence[tuple[str, float, float]],
    interfaces: Sequence[tuple[str, float, float]],
    cpu: dict[str, float],
    meminfo: dict[str, float],
) -> None:
    """Put one sample at the end of a host's."""
    before = len(host)
    host.wall.append(wall)
    host.uptime.append(uptime)
    host.cpu.append(_cpu(cpu))
    sectors = [(name, 512 * read, 512 * written) for name, read, written in disks]
    for table, rows in ((host.disks, sectors), (host.interfaces, interfaces)):
        for name, first, second in rows:
            known = table.setdefault(name, [])
            known += [None] * (before - len(known))
            known.append((first, second))
    for name in _MEMORY:
        if name in meminfo:
            gauge = host.memory.setdefault(name, [])
            gauge += [None] * (before - len(gauge))
            gauge.append(meminfo[name] * 1024)


def _cpu(ticks: dict[str, float]) -> tuple[float, float, float] | None:
    if "user" not in ticks or "idle" not in ticks:
        return None
    every = sum(ticks.get(name, 0) for name in _COUNTED)
    idle = sum(ticks.get(name, 0) for name in _IDLE)
    return every - idle, ticks.get("iowait", 0), every


def _lines(path: Path) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line, strict=False)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # the last line of a killed run may be torn
                yield decoder.decode(line)


def _of_lines(path: Path) -> Samples:
    stride = path.stat().st_size // MOST_LINES_BYTES + 1
    hosts: dict[str, HostSamples] = {}
    layouts: dict[str, _Line] = {}
    columns: dict[str, list[str]] = {}
    own: dict[str, str] = {}
    interval: float | None = None
    for line in _lines(path):
        if line.kind == "head":
            interval = line.interval_seconds
            columns = {
                group: [str(column.get("name", "")) for column in listed]
                for group, listed in line.columns.items()
            }
        elif line.kind == "meta":
            own[line.host] = line.hostname
        elif line.kind == "layout":
            layouts[line.host] = line
        elif line.kind == "sample" and line.seq % stride == 0 and line.host in layouts:
            host = hosts.setdefault(line.host, HostSamples(hostname=own.get(line.host, "")))
            _append(host, *_of_line(line, layouts[line.host], columns))
    return Samples(None if interval is None else interval * stride, hosts)


def _of_line(
    line: _Line, layout: _Line, columns: dict[str, list[str]]
) -> tuple[
    float,
    float | None,
    list[tuple[str, float, float]],
    list[tuple[str, float, float]],
    dict[str, float],
    dict[str, float],
]:
    """A line's numbers with their names; the order is that of `_append`."""
    cpu = dict(zip(columns.get("cpu", ()), line.cpu, strict=False))
    names = [str(name) for name in layout.meminfo]
    return (
        line.sent_wall_ns / _NS,
        line.host_uptime_s,
        _pairs(layout.disks, line.disk, columns.get("disk", []), "sectors_read", "sectors_written"),
        _pairs(layout.interfaces, line.net, columns.get("net", []), "rx_bytes", "tx_bytes"),
        {name: value for name, value in cpu.items() if value is not None},
        {n: float(v) for n, v in zip(names, line.meminfo, strict=False) if n in _MEMORY},
    )


def _pairs(
    names: Sequence[str],
    rows: Sequence[Sequence[float | None]],
    columns: Sequence[str],
    first: str,
    second: str,
) -> list[tuple[str, float, float]]:
    if first not in columns or second not in columns:
        return []
    a, b = columns.index(first), columns.index(second)
    return [
        (name, row[a] or 0.0, row[b] or 0.0)
        for name, row in zip(names, rows, strict=False)
        if len(row) > max(a, b)
    ]
