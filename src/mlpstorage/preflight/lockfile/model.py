"""What a lockfile says, whatever its format, and what comparing it with a host gives."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["requirements", "pylock", "uv"]
Kind = Literal[
    "mismatch", "missing", "extra", "skipped", "unpinned", "python", "environment", "local", "host"
]
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Need:
    """An arrow of a lock's dependency graph: to a package, under a marker.

    `version` picks one of several entries of that package; empty when there is one only.
    """

    name: str
    version: str = ""
    marker: str = ""
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pin:
    """One package that the lock asks for, at a version, where its marker holds.

    `name` is normalised (PEP 503); `specifier` is `==1.2` of a true pin, any other of a range,
    empty of none. An `optional` pin is compared only where the package is installed.
    `needs` leads on in a graph; `needs_of_extra` does so when an extra is asked for.
    """

    name: str
    specifier: str
    marker: str = ""
    hashes: tuple[str, ...] = ()
    where: str = ""
    optional: bool = False
    needs: tuple[Need, ...] = ()
    needs_of_extra: tuple[tuple[str, tuple[Need, ...]], ...] = ()

    @property
    def locked(self) -> str:
        """The version for people: `1.2` of `==1.2`, and a range as it stands.

        >>> Pin("a", "==1.2").locked, Pin("a", ">=1").locked
        ('1.2', '>=1')
        """
        return self.specifier.lstrip("=") if self.is_exact else self.specifier or "any version"

    @property
    def is_exact(self) -> bool:
        """Whether one version is meant.

        >>> Pin("a", "==1.*").is_exact, Pin("a", "==1,!=2").is_exact, Pin("a", "===x").is_exact
        (False, False, True)
        """
        one = self.specifier.startswith("==") and "," not in self.specifier
        return one and not self.specifier.endswith("*")


@dataclass(frozen=True)
class Left:
    """An entry that cannot be compared, and why.

    The name is empty when the entry has none; so is `requirement`, which installs it otherwise.
    """

    name: str
    reason: str
    where: str = ""
    requirement: str = ""


@dataclass(frozen=True)
class Environment:
    """What a lock records beside its pins; empty where nothing is recorded.

    `python` is a version, `platform` as `sysconfig.get_platform`, `mpi` a launcher and its version.
    """

    python: str = ""
    implementation: str = ""
    platform: str = ""
    libc: str = ""
    os: str = ""
    mpi: str = ""


@dataclass(frozen=True)
class Lock:
    """A lockfile, read.

    `roots` is empty unless the pins form a graph. `local` are packages that were installed from
    a directory when the lock was made: (name, version). `no_deps` says that pip must not resolve.
    """

    path: Path
    format: Format
    pins: tuple[Pin, ...]
    left: tuple[Left, ...] = ()
    environment: Environment | None = None
    local: tuple[tuple[str, str], ...] = ()
    no_deps: bool = False
    requires_python: str = ""
    environments: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    default_groups: tuple[str, ...] = ()
    roots: tuple[Need, ...] = ()
    optional_roots: tuple[Need, ...] = ()
    includes: tuple[Path, ...] = field(default=())

    @property
    def is_hashed(self) -> bool:
        """Whether every pin has a hash, as `--require-hashes` demands."""
        return bool(self.pins) and all(pin.hashes for pin in self.pins)


@dataclass(frozen=True)
class Facts:
    """What a host has: `packages` by normalised name; `markers` are the variables of PEP 508."""

    packages: dict[str, str]
    broken: list[str]
    markers: dict[str, str]
    environment: Environment


@dataclass(frozen=True)
class Difference:
    """One thing that a host has otherwise than the lock says; this host's name is empty."""

    kind: Kind
    severity: Severity
    subject: str
    locked: str = ""
    found: str = ""
    where: str = ""
    reason: str = ""
    host: str = ""

    @property
    def what(self) -> str:
        """The difference in a sentence, without the host.

        >>> Difference("mismatch", "error", "numpy", "2.1.0", "2.0.0", "lock.txt:3").what
        'numpy 2.0.0 is installed, but lock.txt:3 pins 2.1.0'
        """
        return _SENTENCES[self.kind].format(**dataclasses.asdict(self))


_SENTENCES: dict[Kind, str] = {
    "mismatch": "{subject} {found} is installed, but {where} pins {locked}",
    "missing": "{subject} is not installed, but {where} pins {locked}",
    "extra": "{subject} {found} is installed, but the lockfile does not have it",
    "skipped": "{subject} is not compared: {reason}",
    "unpinned": "{subject} is not pinned: {where} says {locked}",
    "python": "Python is {found}, but {where} is for {locked}",
    "environment": "{subject} is {found}, but {where} records {locked}",
    "local": "{subject} is {found}, but {where} records {locked}, from the disk",
    "host": "cannot compare the packages: {reason}",
}
