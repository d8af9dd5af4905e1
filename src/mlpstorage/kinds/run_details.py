"""What is large about any run: its settings, hosts, time series and ranks, read from its files."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.units import format_bytes
from mlpstorage.report.model import HostView, RankSpread, RunDetails, SeriesReference, Setting
from mlpstorage.store.codec import utc_moment, utc_text
from mlpstorage.store.files import children, is_file, read_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mlpstorage.report.model import Metric
    from mlpstorage.store.runs import StoredRun

T = TypeVar("T")
_OUTPUT = re.compile(r"([0-9]{1,7})_output\.json")
_SERIES = ("_timeseries.json", "_timeseries.jsonl")
_CLUSTER = "_cluster_info.json"
_LONGEST = 2000
_DEEPEST = 20


class _Memory(msgspec.Struct, frozen=True):
    total: int | None = None


class _Cpu(msgspec.Struct, frozen=True):
    num_cores: int | None = None
    num_logical_cores: int | None = None
    num_sockets: int | None = None
    model: str | None = None
    architecture: str | None = None


class _System(msgspec.Struct, frozen=True):
    kernel_version: str | None = None
    os_release: dict[str, Any] | None = None


class HostRecord(msgspec.Struct, frozen=True):
    """A host of a cluster information file: what reports and rules look at."""

    hostname: str = ""
    memory: _Memory | None = None
    cpu: _Cpu | None = None
    system: _System | None = None
    chassis_model: str | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The host's memory."""
        return self.memory.total if self.memory else None

    @property
    def cores(self) -> int | None:
        """Physical cores."""
        return self.cpu.num_cores if self.cpu else None

    @property
    def kernel(self) -> str:
        """The kernel's version."""
        return (self.system.kernel_version or "") if self.system else ""

    @property
    def operating_system(self) -> str:
        """The distribution, with its version."""
        release = (self.system.os_release or {}) if self.system else {}
        named = release.get("PRETTY_NAME") or release.get("NAME") or ""
        return named if isinstance(named, str) else ""


class _Cluster(msgspec.Struct, frozen=True):
    hosts: tuple[HostRecord, ...] = ()


class _SeriesNote(msgspec.Struct, frozen=True):
    num_samples: int | None = None
    interval_seconds: float | None = None
    hosts_collected: tuple[str, ...] | None = None


class _WithSeries(msgspec.Struct, frozen=True):
    timeseries_data: _SeriesNote | None = None


class Problems(list[str]):
    """What could not be read, each with its file."""

    def attempt(self, read: Callable[[], T], otherwise: T) -> T:
        """What is read, or something else and a line about the failure."""
        try:
            return read()
        except MlpstorageError as error:
            self.append(error.what)
            return otherwise


def common_details(run: StoredRun, problems: Problems) -> RunDetails:
    """Settings, hosts and the time series: the same for every kind."""
    nobody: tuple[HostRecord, ...] = ()
    return RunDetails(
        series=problems.attempt(lambda: series_of(run), None),
        settings=tuple(settings_of(run)),
        hosts=tuple(map(host_view, problems.attempt(lambda: hosts_of(run), nobody))),
    )


def hosts_of(run: StoredRun) -> tuple[HostRecord, ...]:
    """The hosts as they were recorded at the start of the run; none where nobody did.

    Raises:
        MlpstorageError: the record cannot be read.
    """
    path = _file_of(run.directory, _CLUSTER)
    return read_as(path, _Cluster).hosts if path else ()


def _file_of(directory: Path, *suffixes: str) -> Path | None:
    names = [entry.name for entry in children(directory) if is_file(entry)]
    found = (name for suffix in suffixes for name in names if name.endswith(suffix))
    name = next(found, None)
    return directory / name if name else None


def host_view(host: HostRecord) -> HostView:
    """A host as reports show it."""
    cpu = host.cpu or _Cpu()
    facts = (
        ("memory", "" if host.memory_bytes is None else format_bytes(host.memory_bytes)),
        ("processor", cpu.model or ""),
        ("cores", "" if cpu.num_cores is None else str(cpu.num_cores)),
        ("hardware threads", "" if cpu.num_logical_cores is None else str(cpu.num_logical_cores)),
        ("architecture", cpu.architecture or ""),
        ("operating system", host.operating_system),
        ("kernel", host.kernel),
        ("chassis", host.chassis_model or ""),
    )
    return HostView(host.hostname, tuple((name, value) for name, value in facts if value))


def series_of(run: StoredRun) -> SeriesReference | None:
    """Where the samples of the run's hosts are.

    Raises:
        MlpstorageError: the metadata cannot be read again.
    """
    path = _file_of(run.directory, *_SERIES)
    if path is None:
        return None
    note = read_as(run.metadata, _WithSeries).timeseries_data if run.metadata else None
    note = note or _SeriesNote()
    return SeriesReference(
        path, note.interval_seconds, note.hosts_collected or (), note.num_samples
    )


def settings_of(run: StoredRun) -> Iterator[Setting]:
    """Every option and every parameter with its source, options first."""
    for name, value in run.options.items():
        yield Setting(f"--{name.replace('_', '-')}", shown_value(value), run.sources.get(name, ""))
    for name, value in leaves(run.parameters):
        yield Setting(name, shown_value(value), run.sources.get(name, ""))
    if not run.parameters:
        for name, value in run.overrides.items():
            yield Setting(name, shown_value(value), "override")


def leaves(values: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every dotted name with its value.

    >>> list(leaves({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from leaves(value, f"{name}.", depth + 1)
        else:
            yield name, value


def shown_value(value: Any) -> str:  # noqa: ANN401 (a value of a record)
    """A value for people; of a very long one, its beginning.

    >>> shown_value(True), shown_value(["a", 1]), shown_value(None)
    ('true', 'a 1', '')
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, list):
        text = " ".join(map(str, value))
    else:
        text = (
            "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        )
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def rank_outputs(run: StoredRun, kind: type[T], problems: Problems) -> list[tuple[int, T]]:
    """The documents of all ranks that can be read, by rank."""
    found: list[tuple[int, T]] = []
    for entry in children(run.directory):
        match = _OUTPUT.fullmatch(entry.name)
        if match and is_file(entry):
            path = run.directory / entry.name
            record = problems.attempt(lambda p=path: read_as(p, kind), None)  # type: ignore[misc] # the default binds the loop's value
            if record is not None:
                found.append((int(match[1]), record))
    return sorted(found, key=lambda pair: pair[0])


def spread_over(
    label: str, unit: str, rows: Sequence[tuple[int, str, float]]
) -> tuple[RankSpread, ...]:
    """The spread of a figure over ranks: of each its number, host and value; none for no ranks."""
    if not rows:
        return ()
    ranks, hosts, values = zip(*rows, strict=True)
    return (RankSpread(label, unit, tuple(ranks), tuple(hosts), tuple(values)),)


def finite(*metrics: Metric | None) -> tuple[Metric, ...]:
    """The metrics that are numbers."""
    return tuple(m for m in metrics if m is not None and math.isfinite(m.value))


def utc(text: str) -> str:
    """A moment as every file here writes it; as it is where it is none.

    >>> utc("2026-01-02T03:04:05+01:00"), utc("then")
    ('2026-01-02T02:04:05.000000Z', 'then')
    """
    try:
        return utc_text(utc_moment(text))
    except ValueError:
        return text
