"""The client hosts that a command names, and what is checked alike in every benchmark."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.core.units import GIB, parse_bytes
from mlpstorage.watch.inventory import memory_limit_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.kinds.options import ClusterOptions
    from mlpstorage.watch.snapshot import Snapshot

# Beyond these a number is a slip of the finger.
MOST_CLIENTS = 100_000
MOST_MEMORY_BYTES = 1 << 50
_LONGEST_SIZE = 40
_MEMORY_FIX = (
    "give the memory of one client in GiB or with a unit, at most 1 PiB: 256, 256GiB, 1.5TB"
)


@dataclass(frozen=True)
class Clients:
    """The client hosts of a command and their memory; bytes per host.

    `declared_bytes` is what the user said; `measured_bytes` is the most that any of the hosts has
    where they have been asked, else what this host has. Either may be None.
    """

    hosts: tuple[Host, ...]
    count: int
    declared_bytes: int | None
    measured_bytes: int | None

    @property
    def sizing_bytes(self) -> int:
        """Memory of all clients together for sizing: declared where given, else measured."""
        each = self.declared_bytes if self.declared_bytes is not None else self.measured_bytes
        return (each or 0) * self.count

    @property
    def judged_bytes(self) -> int:
        """Memory of all clients for the rules: the larger of declared and measured."""
        return max(self.declared_bytes or 0, self.measured_bytes or 0) * self.count


def clients_of(options: ClusterOptions, *, here: bool, host_memory: int | None = None) -> Clients:
    """The clients a command names.

    Args:
        options: What the user said.
        here: Whether this host is surely one of them.
        host_memory: The most that any of them has, in bytes, where they have been asked.

    Raises:
        UsageError: the hosts, their number or their memory are malformed or contradict.
    """
    hosts = parse_hosts(options.hosts)
    if options.hosts and not hosts:
        raise UsageError(
            f"--hosts {' '.join(options.hosts)} names no host",
            fix="write h1,h2 or h1:8,h2:8 or @file, or leave --hosts out for this host alone",
        )
    count = options.num_client_hosts
    if not 0 <= count <= MOST_CLIENTS:
        raise UsageError(
            f"--num-client-hosts is {count}", fix=f"give a number from 1 to {MOST_CLIENTS}"
        )
    if hosts and count and count != len(hosts):
        raise UsageError(
            f"--hosts names {len(hosts)} hosts, --num-client-hosts says {count}",
            fix="leave --num-client-hosts out",
        )
    declared = _declared_bytes(options.client_host_memory_in_gb)
    if host_memory is None and (here or declared is None):
        host_memory = memory_limit_bytes()
    return Clients(hosts, len(hosts) or count or 1, declared, host_memory)


def asked_clients(options: ClusterOptions) -> Clients:
    """The clients of something to be planned: hosts that are named are asked for their memory.

    Raises:
        UsageError: as `clients_of`.
        ConfigurationError: a host does not answer, and the user has not said its memory.
    """
    clients = clients_of(options, here=False)
    if not clients.hosts or clients.declared_bytes is not None:
        return clients
    from mlpstorage.watch.snapshot import snapshot  # only where hosts are named: it takes long

    found = snapshot(clients.hosts)
    lost = found.cluster.failed_hosts
    if lost:
        more = f", nor that of {len(lost) - 1} others" if len(lost) > 1 else ""
        raise ConfigurationError(
            f"the memory of host {lost[0].host} is not known{more}",
            why=f"sizes depend on the memory of all clients, and the host was asked in vain: "
            f"{lost[0].cause}",
            fix="say it, such as --client-host-memory-in-gb 256; or see what is wrong: "
            f"mlpstorage doctor --hosts {','.join(host.host for host in lost)}",
        )
    return replace(clients, measured_bytes=most_memory(found))


def most_memory(found: Snapshot) -> int | None:
    """The memory that the largest host may use, in bytes; None if no host answered."""
    return max(
        (host.limits.memory_bytes or host.memory.total for host in found.cluster.hosts),
        default=None,
    )


def _declared_bytes(text: str) -> int | None:
    """The memory of one client as the user says, None when nothing is said."""
    if not text:
        return None
    try:
        declared = parse_bytes(text, bare_unit=GIB) if len(text) <= _LONGEST_SIZE else None
    except UsageError as error:
        raise UsageError(f"--client-host-memory-in-gb: {error.what}", fix=_MEMORY_FIX) from error
    if declared is None or not 0 < declared <= MOST_MEMORY_BYTES:
        raise UsageError(f"--client-host-memory-in-gb is {text}", fix=_MEMORY_FIX)
    return declared


def free_bytes(path: Path) -> int:
    """Bytes free to this user on the filesystem where `path` is or would be made."""
    return shutil.disk_usage(existing_parent(path)).free


def same_filesystem(one: Path, other: Path) -> bool:
    """Whether two places are, or would be made, on the same filesystem."""
    return existing_parent(one).stat().st_dev == existing_parent(other).stat().st_dev


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    while not os.path.exists(path):  # noqa: PTH110 (never raises, as Path.exists does)
        path = path.parent
    return path


def checked_count(value: int, option: str, most: int) -> int:
    """A number of things that a user gave.

    Raises:
        UsageError: it is not from 1 to `most`.
    """
    if not 1 <= value <= most:
        raise UsageError(f"{option} is {value}", fix=f"give a number from 1 to {most}")
    return value
