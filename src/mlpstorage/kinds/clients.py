"""The client hosts that a command names, and what is checked alike in every benchmark."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import UsageError
from mlpstorage.core.units import GIB, parse_bytes
from mlpstorage.watch.inventory import memory_limit_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.kinds.options import ClusterOptions

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

    `declared_bytes` is what the user said, `measured_bytes` what this host has; either may be None.
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


def clients_of(options: ClusterOptions, *, here: bool) -> Clients:
    """The clients a command names; `here` says that this host is surely one of them.

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
    measured = memory_limit_bytes() if here or declared is None else None
    return Clients(hosts, len(hosts) or count or 1, declared, measured)


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
