"""A lockfile against this host and others, and what that means for a benchmark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.problems import Problem
from mlpstorage.preflight.lockfile.compare import Leniency, compare, compare_environment
from mlpstorage.preflight.lockfile.hosts import facts_here, facts_of
from mlpstorage.preflight.lockfile.mend import mend
from mlpstorage.preflight.lockfile.model import Difference
from mlpstorage.preflight.lockfile.read import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.preflight.lockfile.compare import Comparison
    from mlpstorage.preflight.lockfile.model import Facts, Lock

_WHY = "a result counts only with the versions that its lockfile names"
_WHY_RANKS = "ranks on every host run with the packages that are installed there"


@dataclass(frozen=True)
class HostCheck:
    """One host against the lock; the name is empty for this one. `total` counts pins."""

    host: str
    total: int
    matched: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Verification:
    """Every host against the lock."""

    lock: Lock
    checks: tuple[HostCheck, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Those of all hosts, in order."""
        return tuple(found for check in self.checks for found in check.differences)

    @property
    def errors(self) -> tuple[Difference, ...]:
        """The differences that end a benchmark."""
        return tuple(found for found in self.differences if found.severity == "error")

    def problems(self) -> list[Problem]:
        """The errors, the same one on several hosts once, each with the command that mends it."""
        groups: dict[Difference, list[str]] = {}
        for found in self.errors:
            groups.setdefault(dataclasses.replace(found, host=""), []).append(found.host)
        problems = []
        for found, names in groups.items():
            # This host is mended without ssh, so it is a problem of its own.
            if "" in names:
                problems.append(Problem(found.what, _WHY, mend(self.lock, found, ())))
            if others := [name for name in names if name]:
                fix = mend(self.lock, found, others)
                problems.append(Problem(found.what, _WHY_RANKS, fix, host=", ".join(others)))
        return problems


def lockfile_problems(
    path: Path, hosts: Sequence[Host], *, skip: Iterable[str] = ()
) -> list[Problem]:
    """What keeps a benchmark from starting while this lockfile is in force; empty when it matches.

    Args:
        path: The lockfile.
        hosts: The clients besides this host, which is always compared.
        skip: Packages that are not compared.
    """
    try:
        return verify(path, hosts, Leniency(skip=normalised(skip))).problems()
    except MlpstorageError as error:
        return [Problem.of(error)]


def normalised(names: Iterable[str]) -> frozenset[str]:
    """Names of packages as PEP 503 spells them; commas separate, too."""
    words = (word for name in names for word in name.replace(",", " ").split())
    return frozenset(canonicalize_name(word) for word in words)


def verify(path: Path, hosts: Sequence[Host], leniency: Leniency) -> Verification:
    """Compare a lockfile with this host and every other.

    Raises:
        MlpstorageError: the lockfile is missing or malformed.
    """
    lock = read_lock(path)
    others = [host for host in hosts if not host.is_local]
    answers = [("", facts_here()), *(facts_of(others) if others else ())]
    return Verification(lock, tuple(_check(lock, name, facts, leniency) for name, facts in answers))


def _check(lock: Lock, host: str, facts: Facts | str, leniency: Leniency) -> HostCheck:
    if isinstance(facts, str):
        failed = Difference("host", "error", host, reason=facts, host=host)
        return HostCheck(host, 0, 0, (failed,))
    found: Comparison = compare(lock, facts.packages, facts.markers, leniency)
    differences = [*compare_environment(lock, facts, leniency), *found.differences]
    placed = tuple(dataclasses.replace(difference, host=host) for difference in differences)
    return HostCheck(host, found.total, found.matched, placed)
