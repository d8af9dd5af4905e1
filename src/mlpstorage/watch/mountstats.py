"""What NFS did per mount, from /proc/self/mountstats.

Source: fs/nfs/super.c and net/sunrpc/stats.c of the kernel, and nfs-utils' mountstats.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from mlpstorage.watch.procfs import unescape_octal

_OP_FIELDS = 8


@dataclass(frozen=True)
class NfsBytes:
    """Bytes of a mount: what programs asked for, and what the server delivered or took; counters.

    Buffered reads that the page cache serves count in `normal_read` and not in `server_read`.
    """

    GAUGES: ClassVar[frozenset[str]] = frozenset()
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    normal_read: int
    normal_written: int
    direct_read: int
    direct_written: int
    server_read: int
    server_written: int
    read_pages: int = 0
    written_pages: int = 0


@dataclass(frozen=True)
class NfsOperation:
    """One kind of request; counters. Times are sums over requests, in milliseconds.

    `queue_ms` before transmission, `rtt_ms` until the server's answer, `execute_ms` in all.
    """

    GAUGES: ClassVar[frozenset[str]] = frozenset()
    WRAPPING: ClassVar[frozenset[str]] = frozenset()
    name: str
    operations: int
    transmissions: int
    major_timeouts: int
    bytes_sent: int
    bytes_received: int
    queue_ms: int
    rtt_ms: int
    execute_ms: int


@dataclass(frozen=True)
class NfsMount:
    """An NFS mount and its counters since it was mounted, without operations that never ran."""

    device: str
    mount_point: str
    fs_type: str
    age_seconds: int | None
    bytes: NfsBytes | None
    operations: tuple[NfsOperation, ...]


def parse_mountstats(text: str) -> tuple[NfsMount, ...]:
    r"""The NFS mounts; other file systems have no counters there.

    A last line without its end is torn and left out.

    >>> parse_mountstats("device s:/x mounted on /mnt with fstype nfs4 statvers=1.1\n")[0].device
    's:/x'
    """
    mounts: list[NfsMount] = []
    inside = False
    for line in text.split("\n")[:-1]:
        words = line.split()
        if words[:1] == ["device"]:
            started = _header(words)
            inside = started is not None
            mounts += [started] if started else []
        elif inside and words:
            mounts[-1] = _with_line(mounts[-1], words)
    return tuple(mounts)


def _header(words: list[str]) -> NfsMount | None:
    """The mount in `device D mounted on P with fstype T statvers=1.1`; None if it is not NFS."""
    if len(words) < 8 or words[2:4] != ["mounted", "on"] or words[5:7] != ["with", "fstype"]:  # noqa: PLR2004 - as in the first line
        return None
    if not words[7].startswith("nfs") or words[7] == "nfsd":
        return None
    return NfsMount(unescape_octal(words[1]), unescape_octal(words[4]), words[7], None, None, ())


def _with_line(mount: NfsMount, words: list[str]) -> NfsMount:
    name, numbers = words[0].rstrip(":"), _numbers(words[1:])
    if name == "age" and numbers:
        return dataclasses.replace(mount, age_seconds=numbers[0])
    least = 6  # the pages came later
    if name == "bytes" and len(numbers) >= least:
        return dataclasses.replace(mount, bytes=NfsBytes(*numbers[:8]))
    if name.isupper() and words[0].endswith(":") and len(numbers) >= _OP_FIELDS and numbers[0]:
        operation = NfsOperation(name, *numbers[:_OP_FIELDS])
        return dataclasses.replace(mount, operations=(*mount.operations, operation))
    return mount


def _numbers(words: list[str]) -> list[int]:
    """The numbers, or none if one is not: a line of another shape."""
    if all(word.isascii() and word.isdecimal() for word in words):
        return [int(word) for word in words]
    return []
