"""pylock.toml, the standard lock file: PEP 751, https://packaging.python.org/specifications/pylock-toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from packaging.utils import canonicalize_name

from mlpstorage.preflight.lockfile.model import Left, Lock, Pin
from mlpstorage.preflight.lockfile.text import fault
from mlpstorage.preflight.lockfile.tomlfile import (
    check_marker,
    check_specifier,
    header_lines,
    typed,
)

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = "lock-version"


class _File(msgspec.Struct, rename="kebab"):
    hashes: dict[str, str] = {}


class _Package(msgspec.Struct, rename="kebab"):
    name: str
    version: str = ""
    marker: str = ""
    wheels: list[_File] = []
    sdist: _File | None = None
    archive: _File | None = None
    vcs: dict[str, Any] | None = None
    directory: dict[str, Any] | None = None


class _Document(msgspec.Struct, rename="kebab"):
    lock_version: str
    packages: list[_Package]
    requires_python: str = ""
    environments: list[str] = []
    extras: list[str] = []
    dependency_groups: list[str] = []
    default_groups: list[str] = []


def is_pylock(document: dict[str, Any]) -> bool:
    """Whether a TOML document claims to be one."""
    return _TEXT in document


def parse_pylock(path: Path, text: str, document: dict[str, Any]) -> Lock:
    """The lock in a pylock.toml.

    Raises:
        ConfigurationError: it breaks the standard, or is of a later major version of it.
    """
    read = typed(path, text, "packages", document, _Document)
    if read.lock_version.split(".")[0] != "1":
        what = f"lock-version {read.lock_version} is not known, only 1"
        raise fault(path, 0, what, fix="export it in version 1.0")
    lines = header_lines(text, "packages")
    numbers = lines if len(lines) == len(read.packages) else [0] * len(read.packages)
    pins: list[Pin] = []
    left: list[Left] = []
    for package, line in zip(read.packages, numbers, strict=True):
        entry = _entry(path, line, package)
        (pins if isinstance(entry, Pin) else left).append(entry)  # type: ignore[arg-type] # by its type
    if not read.packages:
        raise fault(path, 0, "pins no package: it is empty")
    return Lock(
        path,
        "pylock",
        tuple(pins),
        tuple(left),
        requires_python=check_specifier(path, 0, read.requires_python),
        environments=tuple(check_marker(path, 0, marker) for marker in read.environments),
        extras=tuple(read.extras),
        groups=tuple(read.dependency_groups),
        default_groups=tuple(read.default_groups),
    )


def _entry(path: Path, line: int, package: _Package) -> Pin | Left:
    where = f"{path}:{line}" if line else str(path)
    name = canonicalize_name(package.name)
    if package.directory is not None:
        return Left(name, "it is a directory, not a version", where)
    if not package.version:
        kind = "under version control" if package.vcs is not None else "without a version"
        return Left(name, f"it is {kind}", where)
    files = [*package.wheels, package.sdist, package.archive]
    hashes = tuple(f"{kind}:{value}" for f in files if f for kind, value in f.hashes.items())
    return Pin(
        name,
        check_specifier(path, line, f"=={package.version}"),
        check_marker(path, line, package.marker),
        hashes,
        where,
    )
