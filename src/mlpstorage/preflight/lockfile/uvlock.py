"""uv.lock: a graph from the project's own packages to versions, for all platforms at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from packaging.utils import canonicalize_name

from mlpstorage.preflight.lockfile.model import Left, Lock, Need, Pin
from mlpstorage.preflight.lockfile.text import fault
from mlpstorage.preflight.lockfile.tomlfile import (
    check_marker,
    check_specifier,
    header_lines,
    typed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OWN = frozenset({"editable", "virtual", "directory"})
_ADDRESSES = frozenset({"git", "url", "path"})


class _Dependency(msgspec.Struct, rename="kebab"):
    name: str
    version: str = ""
    marker: str = ""
    extra: list[str] = []


class _File(msgspec.Struct, rename="kebab"):
    hash: str = ""


class _Package(msgspec.Struct, rename="kebab"):
    name: str
    version: str = ""
    source: dict[str, Any] = {}
    resolution_markers: list[str] = []
    dependencies: list[_Dependency] = []
    optional_dependencies: dict[str, list[_Dependency]] = {}
    dev_dependencies: dict[str, list[_Dependency]] = {}
    wheels: list[_File] = []
    sdist: _File | None = None


class _Document(msgspec.Struct, rename="kebab"):
    version: int
    package: list[_Package] = []
    requires_python: str = ""


def is_uv_lock(document: dict[str, Any]) -> bool:
    """Whether a TOML document has the shape of one."""
    return isinstance(document.get("version"), int) and (
        "requires-python" in document or "package" in document
    )


def parse_uv_lock(path: Path, text: str, document: dict[str, Any]) -> Lock:
    """The lock in a uv.lock: what the project needs must be installed, its extras may be.

    Raises:
        ConfigurationError: it is malformed, or of a version that is not known.
    """
    read = typed(path, text, "package", document, _Document)
    if read.version != 1:
        raise fault(
            path, 0, f"version {read.version} is not known, only 1", fix="export a pylock.toml"
        )
    lines = header_lines(text, "package")
    numbers = lines if len(lines) == len(read.package) else [0] * len(read.package)
    parts = [
        _Part(path, line, package) for package, line in zip(read.package, numbers, strict=True)
    ]
    if all(part.is_own for part in parts):
        raise fault(path, 0, "pins no package: it is empty")
    roots = [Need(part.name) for part in parts if part.is_own]
    return Lock(
        path,
        "uv",
        tuple(part.pin() for part in parts),
        tuple(part.left() for part in parts if part.is_address),
        requires_python=check_specifier(path, 0, read.requires_python),
        roots=tuple(roots) or tuple(Need(part.name) for part in parts),
        optional_roots=tuple(need for part in parts if part.is_own for need in part.options()),
    )


class _Part:
    """One package of the file, at its line."""

    def __init__(self, path: Path, line: int, package: _Package) -> None:
        self._path, self._line, self._package = path, line, package
        self.name: str = canonicalize_name(package.name)
        self.is_own = bool(_OWN.intersection(package.source))
        self.is_address = bool(_ADDRESSES.intersection(package.source))
        if not (self.is_own or self.is_address or package.version):
            raise fault(path, line, f"{self.name} has no version", fix="lock again: uv lock")

    def pin(self) -> Pin:
        """The pin; of the project's own packages and of addresses it asks for no version."""
        package = self._package
        versionless = self.is_own or self.is_address
        files = [*package.wheels, package.sdist]
        where = f"{self._path}:{self._line}" if self._line else str(self._path)
        return Pin(
            self.name,
            "" if versionless else check_specifier(self._path, self._line, f"=={package.version}"),
            " or ".join(f"({self._marker(marker)})" for marker in package.resolution_markers),
            tuple(file.hash for file in files if file and file.hash),
            where,
            optional=versionless,
            needs=self._needs(package.dependencies),
            needs_of_extra=tuple(
                (canonicalize_name(extra), self._needs(needed))
                for extra, needed in package.optional_dependencies.items()
            ),
        )

    def left(self) -> Left:
        """Why this package cannot be compared."""
        kind = next(iter(_ADDRESSES.intersection(self._package.source)))
        return Left(self.name, f"its source is {kind}, not a version", f"{self._path}:{self._line}")

    def options(self) -> Sequence[Need]:
        """What the project's extras and development groups need."""
        lists = [*self._package.optional_dependencies.values()]
        lists += self._package.dev_dependencies.values()
        return [need for needed in lists for need in self._needs(needed)]

    def _needs(self, dependencies: Sequence[_Dependency]) -> tuple[Need, ...]:
        return tuple(
            Need(
                canonicalize_name(dependency.name),
                dependency.version,
                self._marker(dependency.marker),
                tuple(canonicalize_name(extra) for extra in dependency.extra),
            )
            for dependency in dependencies
        )

    def _marker(self, marker: str) -> str:
        return check_marker(self._path, self._line, marker)
