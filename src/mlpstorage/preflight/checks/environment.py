"""Whether each host has what the ranks take: time, files, memory, a way to the servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.preflight.findings import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.facts import Facts
    from mlpstorage.preflight.needs import Needs

# Beyond this, time stamps of different hosts cannot be put side by side.
MOST_SKEW_SECONDS = 1.0


def clocks(_: Needs, facts: Facts) -> Iterator[Finding]:
    """Every host's clock agrees with this one's, as far as the round trip can tell."""
    for host in facts.remote:
        if host.clock is None:
            continue
        sure = abs(host.clock.offset_seconds) - host.clock.error_seconds
        if sure > MOST_SKEW_SECONDS:
            way = "ahead" if host.clock.offset_seconds > 0 else "behind"
            yield Finding(
                "clocks",
                f"its clock is {format_seconds(abs(host.clock.offset_seconds))} {way}",
                why="time stamps of logs and samples could not be put side by side",
                fix="synchronise the clocks there: systemctl enable --now chronyd "
                "(or systemd-timesyncd)",
                host=host.name,
                severity=Severity.WARNING,
            )


def open_files(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """A rank may hold enough files open."""
    for host in facts.hosts:
        limit = host.system.open_files if host.system else None
        if limit is not None and limit < needs.open_files_per_rank:
            yield Finding(
                "limits.files",
                f"a process may open {limit} files, a rank needs {needs.open_files_per_rank}",
                why="ranks would fail with: too many open files",
                fix="raise nofile in /etc/security/limits.conf and log in again; "
                f"in this shell: ulimit -n {needs.open_files_per_rank}",
                host=host.name,
            )


def locks(needs: Needs) -> bool:
    """Whether ranks lock memory."""
    return needs.locked_bytes_per_rank > 0


def locked(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """A rank may lock enough memory; root may lock any."""
    need = needs.locked_bytes_per_rank
    for host in facts.hosts:
        limit = host.system.locked_bytes if host.system and host.system.uid else None
        if limit is not None and limit < need:
            yield Finding(
                "limits.locked",
                f"a process may lock {format_bytes(limit)}, a rank locks {format_bytes(need)}",
                why="the buffers of its I/O stay in memory",
                fix="raise memlock in /etc/security/limits.conf and log in again",
                host=host.name,
            )


def takes(needs: Needs) -> bool:
    """Whether ranks take memory that is worth a look."""
    return needs.memory_bytes_per_rank > 0


def memory(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """The ranks of a host fit in its free memory."""
    counts = needs.ranks_by_host()
    for host in facts.hosts:
        ranks = counts.get(host.name, needs.ranks)
        need = ranks * needs.memory_bytes_per_rank
        free = host.system.memory_available_bytes if host.system else None
        if free is not None and free < need:
            yield Finding(
                "memory",
                f"{ranks} ranks need {format_bytes(need)} of memory, {format_bytes(free)} are free",
                why="the host would swap, or kill ranks",
                fix="run fewer ranks there, or free memory",
                host=host.name,
            )


def connects(needs: Needs) -> bool:
    """Whether ranks connect to a server."""
    return bool(needs.endpoints)


def endpoints(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """Every server is reached from every host whose ranks use it."""
    for point in needs.endpoints:
        for host in facts.hosts:
            told = host.endpoints.get(point.name)
            if host.system is None or (told and not told.error):
                continue
            error = told.error if told else "no answer"
            yield Finding(
                "endpoints",
                f"cannot reach {point.name} at {point.host}:{point.port}: {error}",
                why=f"the ranks of {needs.purpose} connect to it from there",
                fix=f"start it, open the port, or correct {point.option}",
                host=host.name,
            )
