"""The document of a run's time series, made from its lines without holding them in memory.

Only the place of each sample is kept, 8 bytes for each; what is written is read once more.
"""

from __future__ import annotations

import json
import os
import secrets
from array import array
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.watch import samples
from mlpstorage.watch.series import read_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NS = 10**9
_COMPACT = (",", ":")


@dataclass
class _HostIndex:
    """Where a host's samples are, and what else its lines say."""

    places: array[int] = field(default_factory=lambda: array("Q"))
    count: int = 0
    visits: list[dict[str, Any]] = field(default_factory=list)
    clocks: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class SeriesSummary:
    """What a series holds: samples and gaps by host, and whether the collector ended as it should.

    `missed` counts the samples that gaps stand for, `reasons` has the cause of the longest gap.
    """

    interval_seconds: float
    method: str
    start_wall_ns: int
    end_wall_ns: int
    samples: Mapping[str, int]
    missed: Mapping[str, int]
    reasons: Mapping[str, str]
    is_whole: bool

    @property
    def num_samples(self) -> int:
        """The samples of all hosts."""
        return sum(self.samples.values())

    @property
    def hosts_collected(self) -> tuple[str, ...]:
        """The hosts with at least one sample."""
        return tuple(host for host, count in self.samples.items() if count)


class _Index:
    """What one pass over the lines finds."""

    def __init__(self, path: Path) -> None:
        self.head: dict[str, Any] = {}
        self.hosts: dict[str, _HostIndex] = {}
        self.end_wall_ns = 0
        self.is_whole = False
        for place, record in read_series(path):
            self._take(place, record)
        if not self.head:
            raise ConfigurationError(
                f"{path} is empty",
                why="the collector ended before its first line",
                fix="see what the run's log says of the collector",
            )

    def _take(self, place: int, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind == "head":
            self.head = record
            self.hosts = {name: _HostIndex() for name in record["hosts"]}
            self.end_wall_ns = record["start_wall_ns"]
            return
        if kind == "end":
            self.is_whole = not record["cut_short"]
            self.end_wall_ns = record["end_wall_ns"]
            return
        host = self.hosts.setdefault(record.pop("host"), _HostIndex())
        if kind == "sample":
            self.end_wall_ns = max(self.end_wall_ns, record["sent_wall_ns"])
            host.count += 1
        if kind in {"sample", "layout"}:
            host.places.append(place)
        elif kind == "gap":
            host.gaps.append({key: record[key] for key in ("from_seq", "to_seq", "reason")})
        if kind == "meta":
            host.visits.append(record)
        if kind in {"meta", "clock"}:
            host.clocks.append({"at": record["at"], **(record["clock"] or {})})

    def summary(self) -> SeriesSummary:
        hosts = self.hosts.items()
        return SeriesSummary(
            interval_seconds=self.head["interval_seconds"],
            method=self.head["method"],
            start_wall_ns=self.head["start_wall_ns"],
            end_wall_ns=self.end_wall_ns,
            samples={name: host.count for name, host in hosts},
            missed={
                name: sum(gap["to_seq"] - gap["from_seq"] + 1 for gap in host.gaps)
                for name, host in hosts
            },
            reasons={
                name: max(host.gaps, key=lambda gap: gap["to_seq"] - gap["from_seq"])["reason"]
                for name, host in hosts
                if host.gaps
            },
            is_whole=self.is_whole,
        )


def summarize(lines: Path) -> SeriesSummary:
    """What a series holds.

    Raises:
        ConfigurationError: it cannot be read, or is empty.
    """
    return _Index(lines).summary()


def write_document(lines: Path, document: Path) -> SeriesSummary:
    """Make the JSON document of a series of lines, in one step; also of a run that was killed.

    Raises:
        ConfigurationError: the lines cannot be read, or the document not be written.
    """
    index = _Index(lines)
    temporary = document.with_name(f".{document.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as out, lines.open("rb") as source:
            try:
                _write(out, source, index)
                out.flush()
                os.fsync(out.fileno())
                temporary.replace(document)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {document}: {error.strerror}",
            fix=f"free space there; the samples themselves are in {lines}",
        ) from error
    return index.summary()


def _write(out: IO[str], source: IO[bytes], index: _Index) -> None:
    summary = index.summary()
    top = {
        "collection_interval_seconds": summary.interval_seconds,
        "start_time": _utc(summary.start_wall_ns),
        "end_time": _utc(summary.end_wall_ns),
        "num_samples": summary.num_samples,
        "collection_method": summary.method,
        "hosts_requested": index.head["hosts"],
        "hosts_collected": summary.hosts_collected,
        "schema_version": index.head["schema"],
        "is_whole": summary.is_whole,
        "columns": index.head["columns"],
        "gaps_by_host": {name: host.gaps for name, host in index.hosts.items()},
        "clock_by_host": {name: host.clocks for name, host in index.hosts.items()},
    }
    out.write(json.dumps(top, separators=_COMPACT)[:-1])
    out.write(',"samples_by_host":{')
    for number, (name, host) in enumerate(index.hosts.items()):
        out.write(f"{',' if number else ''}\n{json.dumps(name)}:[")
        for position, sample in enumerate(_samples(source, host, name, index.head)):
            out.write(",\n" if position else "\n")
            out.write(json.dumps(sample, separators=_COMPACT))
        out.write("]")
    out.write("}}\n")


def _samples(
    source: IO[bytes], host: _HostIndex, name: str, head: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    layout = samples.Layout()
    hostname = host.visits[0]["hostname"] if host.visits else name
    for place in host.places:
        source.seek(place)
        record = json.loads(source.readline())
        if record["kind"] == "layout":
            names = samples.Layout.__dataclass_fields__
            layout = samples.Layout(**{key: tuple(record[key]) for key in names})
        else:
            yield named_sample(record, layout, hostname or name, head["start_mono_ns"])


def named_sample(
    record: Mapping[str, Any], layout: samples.Layout, hostname: str, start_mono_ns: int
) -> dict[str, Any]:
    """A sample line with its names: the keys that other tools of the field read, then ours."""
    vmstat = {
        **dict(zip(layout.vmstat_counters, record["vmstat_counters"], strict=True)),
        **dict(zip(layout.vmstat_gauges, record["vmstat_gauges"], strict=True)),
    }
    return {
        "timestamp": _utc(record["sent_wall_ns"]),
        "hostname": hostname,
        "diskstats": _table("device_name", layout.disks, samples.DISK, record["disk"]),
        "vmstat": vmstat,
        "meminfo": dict(zip(layout.meminfo, record["meminfo"], strict=True)),
        "loadavg": dict(zip(samples.LOAD, record["load"], strict=False)),
        "netdev": _table("interface_name", layout.interfaces, samples.NET, record["net"]),
        "errors": record.get("errors", {}),
        "missing": record.get("missing", []),
        "seq": record["seq"],
        "phase": record["phase"],
        "seconds": (record["sent_mono_ns"] - start_mono_ns) / _NS,
        "round_trip_seconds": (record["received_mono_ns"] - record["sent_mono_ns"]) / _NS,
        "host_uptime_seconds": record["host_uptime_s"],
        "cpu": dict(zip(samples.CPU, record["cpu"], strict=False)),
        "system": dict(zip(samples.SYSTEM, record["system"], strict=False)),
        "pressure": _table("pressure", layout.pressures, samples.PRESSURE, record["pressure"]),
    }


def _table(
    key: str, names: tuple[str, ...], columns: tuple[str, ...], rows: list[list[Any]]
) -> list[dict[str, Any]]:
    """The rows with their names; a column that the host's kernel lacks is left out."""
    return [
        {key: name, **{c: v for c, v in zip(columns, row, strict=True) if v is not None}}
        for name, row in zip(names, rows, strict=True)
    ]


def _utc(wall_ns: int) -> str:
    moment = datetime.fromtimestamp(wall_ns / _NS, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
