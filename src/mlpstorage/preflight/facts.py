"""What the hosts have told, as frozen records; their text is cleaned here, once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlpstorage.launch.dialects import Dialect
    from mlpstorage.preflight.needs import Needs

_LONG = 4000


@dataclass(frozen=True)
class Interpreter:
    """The Python that answered."""

    version: str
    executable: str


@dataclass(frozen=True)
class Imports:
    """How far a rank's imports went; `error` is the last line of what stopped them."""

    mlpstorage: str | None
    rank: bool
    mpi4py: str | None
    library: str | None
    error: str
    hung: bool


@dataclass(frozen=True)
class System:
    """The operating system, and what it allows; None is no limit, or not told."""

    hostname: str
    boot_id: str
    os_release: str
    platform: str
    uid: int
    modules: bool
    open_files: int | None
    locked_bytes: int | None
    memory_available_bytes: int | None
    addresses: dict[str, str]
    packages: dict[str, str | None]
    modules_found: tuple[str, ...]
    programs: tuple[str, ...]


@dataclass(frozen=True)
class PlaceFacts:
    """A directory as one host sees it; `base` is it, or the nearest above that exists.

    `write_error` and `direct_error` are empty where the thing works, None where it was not tried.
    """

    name: str
    exists: bool
    is_directory: bool
    error: str
    base: str = ""
    device: int = 0
    inode: int = 0
    changed_ns: int = 0
    free_bytes: int = 0
    filesystem: str = ""
    probe_seen: bool | None = None
    write_error: str | None = None
    direct_error: str | None = None


@dataclass(frozen=True)
class EndpointFacts:
    """Whether a server can be reached; `error` is empty where it can."""

    name: str
    error: str


@dataclass(frozen=True)
class Clock:
    """How far a host's clock is ahead of this one's; seconds."""

    offset_seconds: float
    error_seconds: float


@dataclass(frozen=True)
class Talk:
    """What became of one conversation with a host.

    `code` is the exit code of ssh or the shell, None where time ran out. `records` are the marked
    lines.
    """

    records: tuple[dict[str, Any], ...]
    code: int | None
    err: str
    seconds: float
    clock: Clock | None = None


@dataclass(frozen=True)
class HostFacts:
    """What one host has told. `name` is as the user wrote it, empty for this host alone."""

    name: str
    is_local: bool
    code: int | None = None
    err: str = ""
    seconds: float = 0.0
    reached: bool = False
    finished: bool = False
    python: Interpreter | None = None
    clock: Clock | None = None
    system: System | None = None
    imports: Imports | None = None
    places: dict[str, PlaceFacts] = field(default_factory=dict)
    endpoints: dict[str, EndpointFacts] = field(default_factory=dict)

    def named(self, name: str) -> HostFacts:
        """The same host under another name."""
        return replace(self, name=name)


@dataclass(frozen=True)
class LauncherFacts:
    """The launcher of MPI on this host: its path and kind, or what is wrong."""

    path: str = ""
    dialect: Dialect | None = None
    what: str = ""
    why: str = ""
    fix: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that was found out: this host, the hosts of the ranks, the launcher.

    `probed` names the places in which this host could make a file for the others to see.
    """

    here: HostFacts
    hosts: tuple[HostFacts, ...]
    ssh: str | None
    launcher: LauncherFacts | None
    probed: frozenset[str]

    @property
    def remote(self) -> tuple[HostFacts, ...]:
        """The hosts that ssh reaches."""
        return tuple(host for host in self.hosts if not host.is_local)

    @property
    def all(self) -> tuple[HostFacts, ...]:
        """This host and all others, each once."""
        local = next((host for host in self.hosts if host.is_local), None)
        return self.hosts if local else (self.here, *self.hosts)

    def using(self, needs: Needs, name: str) -> tuple[HostFacts, ...]:
        """The hosts that use a place: all that are ranks' hosts, or this one alone."""
        place = needs.place(name)
        if place is None or not place.on_hosts:
            return (self.here,)
        return self.all if place.shared else self.hosts


def host_facts(name: str, talk: Talk, *, is_local: bool) -> HostFacts:
    """The record of a host, from the marked lines of its answer.

    A line that is not what the probe prints is passed over, as if it had not come: then the host
    has not finished, which a check reports.
    """
    facts = HostFacts(
        name,
        is_local,
        code=talk.code,
        err=talk.err,
        seconds=talk.seconds,
        reached=bool(talk.records),
        finished=any(record.get("end") for record in talk.records),
        clock=talk.clock,
    )
    for record in talk.records:
        facts = _with(facts, record)
    return facts


def _with(facts: HostFacts, record: Mapping[str, Any]) -> HostFacts:
    try:
        for key, value in _cleaned(record).items():
            if key == "interpreter":
                facts = replace(facts, python=msgspec.convert(value, Interpreter))
            elif key == "system":
                facts = replace(facts, system=msgspec.convert(value, System))
            elif key == "imports":
                facts = replace(facts, imports=msgspec.convert(value, Imports))
            elif key == "place":
                place = msgspec.convert(value, PlaceFacts)
                facts = replace(facts, places={**facts.places, place.name: place})
            elif key == "endpoint":
                point = msgspec.convert(value, EndpointFacts)
                facts = replace(facts, endpoints={**facts.endpoints, point.name: point})
    except msgspec.ValidationError:
        return replace(facts, finished=False)
    return facts


def _cleaned(value: Any, key: str = "") -> Any:  # noqa: ANN401 (a JSON value)
    if isinstance(value, str):
        # os-release is read line by line later, and no line of it is shown but its name.
        if key == "os_release":
            return "\n".join(printable(line) for line in value[:_LONG].splitlines())
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): _cleaned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


def alike(values: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Hosts by what they have, the most frequent first.

    >>> alike([("h1", "3.11"), ("h2", "3.12"), ("h3", "3.11")])
    {'3.11': ['h1', 'h3'], '3.12': ['h2']}
    """
    groups: dict[str, list[str]] = {}
    for host, value in values:
        groups.setdefault(value, []).append(host)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))
