"""The one registry of checks: each has an id, says when it applies, and finds what is wrong.

doctor and every benchmark ──► run_checks(needs) ──► gather (each host once) ──► findings
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.preflight.checks import environment, mpi, places, reach, software
from mlpstorage.preflight.findings import Severity, merged
from mlpstorage.preflight.gather import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlpstorage.core.problems import Problem
    from mlpstorage.preflight.facts import Facts
    from mlpstorage.preflight.findings import Finding
    from mlpstorage.preflight.needs import Needs


@dataclass(frozen=True)
class Check:
    """One thing to be sure of before a run; `per_host` says that every host must answer for it."""

    id: str
    title: str
    applies: Callable[[Needs], bool]
    find: Callable[[Needs, Facts], Iterable[Finding]]
    per_host: bool = True


def _always(_: Needs) -> bool:
    return True


def _several(needs: Needs) -> bool:
    return len(needs.hosts) > 1


def _mpi(needs: Needs) -> bool:
    return needs.uses_mpi


CHECKS = (
    Check("ssh.client", "an ssh client is here", reach.has_remote, reach.client, per_host=False),
    Check(
        "ssh.reach",
        "every host is reached through ssh",
        reach.has_remote,
        reach.reached,
        per_host=False,
    ),
    Check("hosts.distinct", "every name is another host", _several, reach.distinct),
    Check("hosts.answer", "every host answers in time", _always, reach.answered),
    Check("python.alike", "the same Python on every host", _always, software.python),
    Check("package.alike", "mlpstorage works, the same everywhere", _always, software.package),
    Check(
        "packages.alike",
        "its packages are the same everywhere",
        reach.has_remote,
        software.packages,
    ),
    Check("engine.dlio", "DLIO can be imported", software.uses_dlio, software.dlio_importable),
    Check("mpi.launcher", "an MPI launcher is here", _mpi, mpi.launcher, per_host=False),
    Check("mpi.slots", "the ranks fit on the hosts", _several, mpi.slots, per_host=False),
    Check("mpi.library", "mpi4py loads an MPI library", _mpi, mpi.library),
    Check("mpi.mixed", "launcher and library are of one MPI", _mpi, mpi.mixed),
    Check("mpi.hand", "the launcher's helper is on every host", _mpi, mpi.hand),
    Check("mpi.addresses", "no address is on two hosts", _mpi, mpi.addresses),
    Check("clocks", "the hosts' clocks agree", reach.has_remote, environment.clocks),
    Check("limits.files", "enough files can be open", _always, environment.open_files),
    Check("limits.locked", "enough memory can be locked", environment.locks, environment.locked),
    Check("memory", "memory is enough for the ranks", environment.takes, environment.memory),
    Check("endpoints", "the servers can be reached", environment.connects, environment.endpoints),
    Check("places.usable", "the directories can be used", places.any_place, places.usable),
    Check("places.shared", "shared directories are the same", places.any_shared, places.shared),
    Check(
        "places.apart",
        "directories that must be apart are",
        places.any_apart,
        places.apart,
        per_host=False,
    ),
    Check("places.room", "there is room", places.any_written, places.room),
    Check("places.direct", "O_DIRECT works where asked", places.any_direct, places.direct),
)


@dataclass(frozen=True)
class Examination:
    """What was checked, and all that was found; `facts` are what it was judged by."""

    needs: Needs
    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What would make the run fail."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What leaves the run in doubt."""
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    @property
    def problems(self) -> list[Problem]:
        """The errors in the form in which a benchmark refuses to start."""
        return [finding.as_problem() for finding in self.errors]


def examine(needs: Needs) -> Examination:
    """Ask every host once, in parallel, and run all checks that apply."""
    facts = gather(needs)
    found = [
        finding for check in CHECKS if check.applies(needs) for finding in check.find(needs, facts)
    ]
    return Examination(needs, facts, tuple(merged(found)))


def run_checks(needs: Needs) -> list[Finding]:
    """All findings, errors first; those that differ by the host only are one."""
    return list(examine(needs).findings)


def problems_for(needs: Needs) -> list[Problem]:
    """The errors alone, as problems."""
    return examine(needs).problems
