"""Hosts, their slots, and how ranks are spread over them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# A name goes on the command lines of ssh and mpirun: a leading "-" would be read as an option.
_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9a-fA-F:.]+\])(?::(?P<slots>\d+))?"
)


@dataclass(frozen=True)
class Host:
    """A client host; `slots` is how many ranks the user gave it, or None."""

    name: str
    slots: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether the name is one of this machine's own by definition."""
        return self.name in LOCAL_NAMES


def parse_hosts(tokens: Sequence[str]) -> tuple[Host, ...]:
    """The hosts named by words, commas, `host:slots` and `@file` (with # comments).

    >>> [h.name for h in parse_hosts(["h1,h2:4", "h3"])], parse_hosts(["h2:4"])[0].slots
    (['h1', 'h2', 'h3'], 4)

    Raises:
        UsageError: a name is malformed, repeated, or has no slots.
        NotFoundError: a hosts file cannot be read.
    """
    hosts: list[Host] = []
    for word in _words(tokens):
        match = _HOST.fullmatch(word)
        if match is None:
            raise UsageError(
                f"{word!r} is not a host name",
                fix="write h1,h2 or h1:8,h2:8 or @file, without quotes inside",
            )
        host = Host(match["name"], int(match["slots"]) if match["slots"] else None)
        if host.slots == 0:
            raise UsageError(
                f"host {host.name} has 0 slots",
                fix="give each host at least one slot, or none at all",
            )
        if any(host.name == other.name or (host.is_local and other.is_local) for other in hosts):
            raise UsageError(
                f"host {host.name} is named twice", fix=f"name it once, with slots: {host.name}:2"
            )
        hosts.append(host)
    return tuple(hosts)


def _words(tokens: Iterable[str]) -> Iterable[str]:
    for token in tokens:
        for word in re.split(r"[\s,]+", token):
            if word.startswith("@"):
                yield from _words_of_file(Path(word[1:]))
            elif word:
                yield word


def _words_of_file(path: Path) -> Iterable[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(
            f"cannot read the hosts file {path}: {error}",
            fix="name a text file with one host per line",
        ) from error
    for line in lines:
        yield from (
            re.split(r"[\s,]+", line.partition("#")[0].strip())
            if line.partition("#")[0].strip()
            else ()
        )


def spread(ranks: int, hosts: Sequence[Host]) -> tuple[int, ...]:
    """How many ranks each host gets: its slots where given, else even, the remainder to the first.

    >>> spread(5, parse_hosts(["a", "b"])), spread(3, parse_hosts(["a:2", "b:1"]))
    ((3, 2), (2, 1))

    Raises:
        UsageError: the slots do not add up to the ranks, or a host would get none.
    """
    given = [host.slots for host in hosts]
    if all(slots is not None for slots in given):
        total = sum(slots for slots in given if slots is not None)
        if total < ranks:
            raise UsageError(
                f"{ranks} ranks do not fit in {total} slots",
                fix="raise the slots in --hosts, or start fewer ranks",
            )
        return _fill(ranks, [slots for slots in given if slots is not None])
    if any(slots is not None for slots in given):
        raise UsageError(
            "some hosts have slots and some have none", fix="give slots to every host or to none"
        )
    if ranks < len(hosts):
        raise UsageError(
            f"{ranks} ranks cannot be spread over {len(hosts)} hosts",
            fix="start at least one rank per host, or name fewer hosts",
        )
    even, rest = divmod(ranks, len(hosts))
    return tuple(even + (index < rest) for index in range(len(hosts)))


def _fill(ranks: int, slots: Sequence[int]) -> tuple[int, ...]:
    """Rank by rank to the host with the lowest load in proportion to its slots."""
    placed = [0] * len(slots)
    for _ in range(ranks):
        index = min(
            range(len(slots)),
            key=lambda i: (placed[i] / slots[i], i) if placed[i] < slots[i] else (2.0, i),
        )
        placed[index] += 1
    return tuple(placed)
