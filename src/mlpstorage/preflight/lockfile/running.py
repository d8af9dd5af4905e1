"""The packages of the running environment as pins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlpstorage.preflight.lockfile.applicable import holds
from mlpstorage.preflight.lockfile.compare import satisfies
from mlpstorage.preflight.lockfile.model import Pin
from mlpstorage.preflight.lockfile.probe import marker_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What `pip freeze` leaves out as well: pip cannot replace itself while it works.
_INSTALLERS = frozenset({"pip", "setuptools", "wheel"})


@dataclass(frozen=True)
class Running:
    """What is installed here.

    `pins` can come from an index; `local` come from a directory: (name, version); `addresses`
    from elsewhere, as requirements with an address; `conflicts` are needs that are not met:
    pip would not install these pins with their dependencies.
    """

    pins: tuple[Pin, ...]
    local: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class _Installed:
    name: str
    version: str
    address: str
    is_local: bool
    needs: tuple[str, ...]


def running_environment() -> Running:
    """What this interpreter has installed."""
    found: dict[str, _Installed] = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if name and version:
            found.setdefault(canonicalize_name(name), _installed(distribution))
    versions = {name: one.version for name, one in found.items()}
    needed = {canonicalize_name(need.name) for one in found.values() for need in _needs(one)}
    kept = [one for _, one in sorted(found.items()) if one.name not in _INSTALLERS - needed]
    return Running(
        tuple(_pin(one) for one in kept if not one.address),
        tuple((one.name, one.version) for one in kept if one.is_local),
        tuple(f"{one.name} @ {one.address}" for one in kept if one.address and not one.is_local),
        tuple(_conflicts(kept, versions)),
    )


def _installed(distribution: metadata.Distribution) -> _Installed:
    address, is_local = _origin(distribution.read_text("direct_url.json"))
    return _Installed(
        canonicalize_name(distribution.metadata["Name"]),
        distribution.metadata["Version"],
        address,
        is_local,
        tuple(distribution.requires or ()),
    )


def _origin(direct_url: str | None) -> tuple[str, bool]:
    """The address that a package was installed from (PEP 610), and whether it is of this machine.

    >>> _origin('{"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "ab"}}')
    ('git+https://h/r@ab', False)
    >>> _origin(None), _origin('{"url": "file:///src", "dir_info": {"editable": true}}')
    (('', False), ('file:///src', True))
    """
    try:
        said = json.loads(direct_url or "{}")
        url, vcs = str(said.get("url", "")), said.get("vcs_info")
        address = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
    except (ValueError, KeyError, TypeError, AttributeError):
        return "a malformed direct_url.json", True
    return address, url.startswith("file:")


def _pin(one: _Installed) -> Pin:
    try:
        Version(one.version)
    except InvalidVersion:
        return Pin(one.name, f"==={one.version}")
    return Pin(one.name, f"=={one.version}")


def _needs(one: _Installed) -> Iterator[Requirement]:
    """What a package needs here, without its extras."""
    markers = marker_environment()
    for text in one.needs:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue  # old releases have such; pip ignores or refuses them by itself
        if holds(str(need.marker or ""), markers, one.name):
            yield need


def _conflicts(kept: Iterable[_Installed], versions: dict[str, str]) -> Iterator[str]:
    for one in kept:
        for need in _needs(one):
            found = versions.get(canonicalize_name(need.name))
            if found is None:
                yield f"{one.name} {one.version} needs {need.name}, which is not installed"
            elif not satisfies(found, str(need.specifier)):
                yield f"{one.name} {one.version} needs {need}, but {found} is installed"
