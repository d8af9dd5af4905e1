"""Whether MPI can start the ranks: a launcher, its library, and a way between the hosts."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import UsageError
from mlpstorage.launch.dialects import Family, root_error
from mlpstorage.preflight.facts import alike
from mlpstorage.preflight.findings import Finding, Severity
from mlpstorage.preflight.gather import launcher_hand
from mlpstorage.preflight.hints import Thing, install_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.facts import Facts, HostFacts
    from mlpstorage.preflight.needs import Needs

_LIBRARIES = (
    (re.compile(r"Open MPI v?(?P<major>\d+)"), None),
    (re.compile(r"Intel\(R\) MPI"), Family.INTEL),
    (re.compile(r"MPICH|MVAPICH"), Family.MPICH),
)
_FIVE = 5  # the major version of Open MPI with another launcher than the one before
_INTERFACES = re.compile(r"btl_tcp_if_(in|ex)clude")


def launcher(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """The launcher is here, of a known kind, and will start ranks for this user."""
    found = facts.launcher
    if found is None:
        return
    if found.missing:
        yield Finding(
            "mpi.launcher",
            found.what,
            why=found.why,
            fix=f"{install_hint(Thing.MPI, facts.here.system)}; or name one with --mpi-bin",
        )
    elif found.dialect is None:
        yield Finding("mpi.launcher", found.what, found.why, found.fix)
    elif os.geteuid() == 0 and not _root_allowed():
        refusal = root_error(found.dialect, needs.mpi)
        if refusal is not None:
            yield Finding("mpi.launcher", refusal.what, refusal.why, refusal.fix)


def _root_allowed() -> bool:
    names = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
    return all(os.environ.get(name) for name in names)


def slots(needs: Needs, _: Facts) -> Iterator[Finding]:
    """The ranks can be spread over the hosts as the user wrote them."""
    try:
        spread(needs.ranks, needs.hosts)
    except UsageError as error:
        yield Finding("mpi.slots", error.what, error.why, error.fix, exit_code=error.exit_code)


def library(_: Needs, facts: Facts) -> Iterator[Finding]:
    """mpi4py is on each host and finds a library of MPI there."""
    for host in facts.hosts:
        found = host.imports
        if found is None or not found.rank or found.library:
            continue
        if found.mpi4py is None and not found.hung:
            yield Finding(
                "mpi.library",
                f"mpi4py is not installed: {found.error}",
                why="the ranks find each other by it",
                fix=f"{sys.executable} -m pip install 'mpi4py>=4.0'",
                host=host.name,
            )
            continue
        yield Finding(
            "mpi.library",
            "mpi4py hangs while it loads the MPI library"
            if found.hung
            else f"mpi4py {found.mpi4py} cannot load an MPI library",
            why=found.error or "the ranks find each other by it",
            fix=install_hint(Thing.MPI, host.system),
            host=host.name,
        )


def family_of_library(text: str) -> Family | None:
    """The family of a library, by what it says of its version.

    >>> family_of_library("Open MPI v4.1.4, package: Debian OpenMPI").name
    'OPEN_MPI_4'
    """
    for pattern, family in _LIBRARIES:
        match = pattern.search(text)
        if match and family is None:
            return Family.OPEN_MPI_5 if int(match["major"]) >= _FIVE else Family.OPEN_MPI_4
        if match:
            return family
    return None


def mixed(_: Needs, facts: Facts) -> Iterator[Finding]:
    """Launcher and library are of one MPI: else every rank sees a world of size 1."""
    dialect = facts.launcher.dialect if facts.launcher else None
    told = [(host, host.imports.library) for host in facts.hosts if host.imports]
    for host, text in told:
        family = family_of_library(text) if text else None
        if dialect is None or family is None or _fit(dialect.family, family):
            continue
        yield Finding(
            "mpi.mixed",
            f"mpi4py loads {family.value}, but the launcher is {dialect.family.value} "
            f"{dialect.version}",
            why="ranks of another MPI than their launcher's each see a world of size 1",
            fix="name the launcher of that library with --mpi-bin, or reinstall mpi4py for "
            f"{dialect.family.value}",
            host=host.name,
        )
    groups = alike((host.name, text) for host, text in told if text)
    if len(groups) > 1:
        shown = "; ".join(f"{', '.join(on)}: {text}" for text, on in groups.items())
        yield Finding(
            "mpi.mixed",
            "the hosts have different MPI libraries",
            why=shown,
            fix="install the same version on every host",
            severity=Severity.WARNING,
        )


def _fit(launcher: Family, library: Family) -> bool:
    """Whether ranks with this library join up under this launcher; Hydra serves its relatives."""
    if launcher.is_open_mpi or library.is_open_mpi:
        return launcher is library
    return True


def hand(_: Needs, facts: Facts) -> Iterator[Finding]:
    """What the launcher starts on other hosts is there, by the same path."""
    path = launcher_hand(facts.launcher)
    if not path:
        return
    for host in facts.remote:
        if host.system and path not in host.system.programs:
            yield Finding(
                "mpi.hand",
                f"there is no {path}",
                why="the launcher starts it on every host, by the path that it has here",
                fix=install_hint(Thing.MPI, host.system),
                host=host.name,
            )


def addresses(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """No two hosts have the same address: Open MPI would connect each to itself, and hang."""
    dialect = facts.launcher.dialect if facts.launcher else None
    if dialect is None or not dialect.family.is_open_mpi or _interfaces_chosen(needs):
        return
    seen: dict[str, tuple[HostFacts, str]] = {}
    twice: dict[str, list[str]] = {}
    for host in facts.hosts:
        for interface, address in (host.system.addresses if host.system else {}).items():
            first, _ = seen.setdefault(address, (host, interface))
            if first is not host and not _same_machine(first, host):
                twice.setdefault(f"{interface} {address}", [first.name]).append(host.name)
    for named, hosts in twice.items():
        interface, address = named.split(" ")
        yield Finding(
            "mpi.addresses",
            f"{', '.join(hosts)} have the same address {address} ({interface})",
            why="Open MPI takes it for a way between the hosts; version 4 then hangs",
            fix="--mpi-network with the network between the hosts, such as 10.0.0.0/24; or "
            f"--mpi-params='--mca btl_tcp_if_exclude {interface},lo'",
            severity=Severity.ERROR if dialect.family is Family.OPEN_MPI_4 else Severity.WARNING,
        )


def _interfaces_chosen(needs: Needs) -> bool:
    words = (*needs.mpi.params, *os.environ)
    return bool(needs.mpi.network) or any(_INTERFACES.search(word) for word in words)


def _same_machine(one: HostFacts, other: HostFacts) -> bool:
    return (
        one.system is not None
        and other.system is not None
        and one.system.boot_id == other.system.boot_id
        and one.system.hostname == other.system.hostname
    )
