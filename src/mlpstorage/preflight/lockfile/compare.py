"""A lock against what one host has: a pure function from both to their differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlpstorage.preflight.lockfile.applicable import applicable, holds
from mlpstorage.preflight.lockfile.model import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from mlpstorage.preflight.lockfile.model import Environment, Facts, Lock, Pin

# What installs packages is not what is measured, and this program locks others.
NEVER_EXTRA = frozenset({"pip", "setuptools", "wheel", "uv", "mlpstorage"})
_RECORDED = ("implementation", "platform", "libc", "os", "mpi")


@dataclass(frozen=True)
class Leniency:
    """What the user lets pass: packages by normalised name, missing ones; `strict` lets less."""

    skip: AbstractSet[str] = frozenset()
    allow_missing: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Comparison:
    """How many pins hold on the host, how many match, and every difference."""

    total: int
    matched: int
    differences: tuple[Difference, ...]


def compare(
    lock: Lock,
    installed: Mapping[str, str],
    markers: Mapping[str, str],
    leniency: Leniency | None = None,
) -> Comparison:
    """The differences between a lock and the packages of one host.

    Args:
        lock: What should be there.
        installed: Versions by normalised name.
        markers: The host's marker variables (PEP 508).
        leniency: What passes; by default nothing does.

    Raises:
        ConfigurationError: a marker of the lock cannot be evaluated.
    """
    allowed = leniency or Leniency()
    pins = [*applicable(lock, markers)]
    differences: list[Difference] = []
    matched = 0
    for pin, required in pins:
        found = _difference(pin, installed.get(pin.name), allowed, required=required)
        differences += [found] if found else []
        matched += found is None and pin.name in installed
    differences += _unpinned(pins, allowed)
    differences += _skipped(lock, pins)
    if allowed.strict:
        differences += _extra(lock, installed, allowed)
    total = sum(required or pin.name in installed for pin, required in pins)
    return Comparison(total, matched, tuple(differences))


def satisfies(version: str, specifier: str) -> bool:
    """Whether an installed version is one that a specifier allows (PEP 440).

    >>> satisfies("1.0.0", "==1.0"), satisfies("2.0+cpu", "==2.0"), satisfies("1.1rc1", "==1.1")
    (True, True, False)

    A version that PEP 440 does not know equals itself only.

    >>> satisfies("2004d", "===2004d"), satisfies("2004d", ">=1")
    (True, False)
    """
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return specifier == f"==={version}" or not specifier


def _difference(
    pin: Pin, found: str | None, allowed: Leniency, *, required: bool
) -> Difference | None:
    """How one pin is not met, or None."""
    if found is None and not required:
        return None
    if pin.name in allowed.skip:
        return _of(pin, "skipped", "note", found or "", reason="--skip names it")
    if found is None:
        return _of(pin, "missing", "warning" if allowed.allow_missing else "error")
    if not satisfies(found, pin.specifier):
        return _of(pin, "mismatch", "error", found)
    return None


def _of(pin: Pin, kind: str, severity: str, found: str = "", reason: str = "") -> Difference:
    return Difference(kind, severity, pin.name, pin.locked, found, pin.where, reason)  # type: ignore[arg-type] # literals of the callers


def _unpinned(pins: list[tuple[Pin, bool]], allowed: Leniency) -> Iterator[Difference]:
    """Ranges are compared as they stand, but do not say what was measured."""
    for pin, required in pins:
        if required and not pin.is_exact and pin.name not in allowed.skip:
            yield _of(pin, "unpinned", "warning")


def _skipped(lock: Lock, pins: list[tuple[Pin, bool]]) -> Iterator[Difference]:
    """Entries without a version, and pins that are for other hosts."""
    for entry in lock.left:
        subject = entry.name or "an entry"
        reason = f"{entry.reason} ({entry.where})"
        yield Difference("skipped", "note", subject, where=entry.where, reason=reason)
    held = {id(pin) for pin, _ in pins}
    for pin in lock.pins:
        if id(pin) not in held and pin.marker and not lock.roots:
            reason = f"it is for another environment: {pin.marker} ({pin.where})"
            yield _of(pin, "skipped", "note", reason=reason)


def _extra(lock: Lock, installed: Mapping[str, str], allowed: Leniency) -> Iterator[Difference]:
    known = {pin.name for pin in lock.pins} | {entry.name for entry in lock.left}
    known |= {canonicalize_name(name) for name, _ in lock.local} | NEVER_EXTRA | allowed.skip
    for name in sorted(set(installed) - known):
        yield Difference("extra", "error", name, found=installed[name], where=str(lock.path))


def compare_environment(lock: Lock, facts: Facts, leniency: Leniency) -> Iterator[Difference]:
    """What is not a package: Python (an error), platform, MPI and local installs (warnings).

    Raises:
        ConfigurationError: a marker of the lock cannot be evaluated.
    """
    yield from _python(lock, facts)
    yield from _local(lock, facts, leniency)
    if lock.environment:
        yield from _recorded(lock.environment, facts.environment, str(lock.path))
    for directory in facts.broken:
        yield Difference("skipped", "warning", directory, reason="it has no name or version")


def _python(lock: Lock, facts: Facts) -> Iterator[Difference]:
    python, path = facts.markers.get("python_full_version", ""), str(lock.path)
    recorded = lock.environment.python if lock.environment else ""
    if recorded and _minor(recorded) != _minor(python):
        yield Difference("python", "error", "Python", _minor(recorded), python, path)
    elif lock.requires_python and not satisfies(python.rstrip("+"), lock.requires_python):
        yield Difference("python", "error", "Python", lock.requires_python, python, path)
    elif lock.environments and not any(holds(m, facts.markers, path) for m in lock.environments):
        wanted = " or ".join(lock.environments)
        yield Difference("python", "error", "Python", wanted, f"{python} of another kind", path)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _local(lock: Lock, facts: Facts, leniency: Leniency) -> Iterator[Difference]:
    for name, version in lock.local:
        key = canonicalize_name(name)
        found = facts.packages.get(key, "")
        if found == version or key in leniency.skip:
            continue
        # Code may also come by PYTHONPATH, which leaves no trace of a version.
        severity = "error" if found else "warning"
        found = found or "not installed"
        yield Difference("local", severity, key, version, found, str(lock.path))  # type: ignore[arg-type] # literals


def _recorded(recorded: Environment, here: Environment, path: str) -> Iterator[Difference]:
    for name in _RECORDED:
        locked, found = getattr(recorded, name), getattr(here, name)
        if locked and found != locked:
            yield Difference("environment", "warning", name, locked, found or "unknown", path)
