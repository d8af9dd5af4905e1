"""Whether the hosts are there: an ssh client, a login on each, an answer in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.preflight.facts import alike
from mlpstorage.preflight.findings import Finding, Severity
from mlpstorage.preflight.hints import Thing, install_hint
from mlpstorage.preflight.remote import is_here
from mlpstorage.preflight.ssh_failures import failure_of
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.facts import Facts, HostFacts
    from mlpstorage.preflight.needs import Needs


def has_remote(needs: Needs) -> bool:
    """Whether a host is not this one."""
    return any(not is_here(host) for host in needs.hosts)


def client(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """The ssh program is on PATH."""
    if facts.ssh is None:
        names = ", ".join(host.name for host in needs.hosts if not is_here(host))
        yield Finding(
            "ssh.client",
            "there is no ssh program on this host",
            why=f"{names} can be reached through ssh only",
            fix=install_hint(Thing.SSH, facts.here.system),
        )


def reached(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """A command can be run on each host without a question."""
    for host in facts.remote:
        if host.reached:
            continue
        failure = failure_of(host.name, host.code, host.err, host.seconds)
        yield Finding(
            "ssh.reach",
            f"cannot log in: {failure.what}",
            why=f"ranks of {needs.purpose} run there"
            + (f"; ssh says: {failure.said}" if failure.said else ""),
            fix=failure.fix,
            host=host.name,
        )


def answered(_: Needs, facts: Facts) -> Iterator[Finding]:
    """The host said everything that it was asked, in time."""
    for host in facts.all:
        if not host.reached or host.finished or host.python is None or unanswered(host):
            continue
        said = printable(host.err.strip().rpartition("\n")[2])
        late = host.code is None
        yield Finding(
            "hosts.answer",
            f"it did not answer everything within {host.seconds:.0f} s"
            if late
            else f"the check broke off with code {host.code}",
            why="what could not be looked at may be wrong" + (f"; it says: {said}" if said else ""),
            fix="see what keeps it busy, and try again" if late else "run the check on that host",
            host=host.name,
        )


def unanswered(host: HostFacts) -> bool:
    """Whether the host has no Python that could have answered; another check says so."""
    return host.python is None or (host.system is None and host.code not in {None, 0})


def distinct(_: Needs, facts: Facts) -> Iterator[Finding]:
    """No two names are the same machine."""
    told = [
        (host.name, f"{host.system.hostname} {host.system.boot_id}")
        for host in facts.hosts
        if host.system
    ]
    for names in alike(told).values():
        if len(names) > 1:
            yield Finding(
                "hosts.distinct",
                f"{' and '.join(names)} are the same machine",
                why="its memory and its network would be counted twice",
                fix="name each host once, with its slots",
                severity=Severity.WARNING,
            )
