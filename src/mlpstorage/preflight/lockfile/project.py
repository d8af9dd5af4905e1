"""What a project declares to need, in its pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError, did_you_mean
from mlpstorage.preflight.lockfile.text import clipped, read_text
from mlpstorage.preflight.lockfile.tomlfile import parse_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class _Project(msgspec.Struct, rename="kebab"):
    name: str
    dependencies: list[str] = []
    optional_dependencies: dict[str, list[str]] = {}
    dynamic: list[str] = []


class _Document(msgspec.Struct):
    project: _Project


@dataclass(frozen=True)
class Declared:
    """A project's needs; `path` is its pyproject.toml, `extras` are by normalised name."""

    path: Path
    name: str
    base: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    is_dynamic: bool

    def requirements(self, extras: Sequence[str]) -> list[str]:
        """The needs with these extras, in which the project's own extras are replaced.

        Raises:
            UsageError: the project has no such extra.
            ConfigurationError: a requirement is malformed.
        """
        found = list(self._expanded(self.base, ()))
        for extra in extras:
            found += self._expanded(self.of_extra(extra), (canonicalize_name(extra),))
        return list(dict.fromkeys(found))

    def of_extra(self, name: str) -> tuple[str, ...]:
        """The needs of one extra as they are declared.

        Raises:
            UsageError: the project has no such extra.
        """
        found = self.extras.get(canonicalize_name(name))
        if found is None:
            fix = did_you_mean(name, sorted(self.extras)) if self.extras else "it has no extras"
            raise UsageError(f"{self.path} has no extra {name!r}", fix=fix)
        return found

    def _expanded(self, texts: Sequence[str], above: tuple[str, ...]) -> Iterator[str]:
        for text in texts:
            try:
                wanted = Requirement(text)
            except (InvalidRequirement, RecursionError) as error:
                what = f"{self.path}: not a requirement: {clipped(repr(text))}"
                raise ConfigurationError(what, fix="correct it") from error
            if canonicalize_name(wanted.name) != self.name:
                yield text
                continue
            for extra in sorted(wanted.extras):
                key = canonicalize_name(extra)
                if key not in above:
                    yield from self._expanded(self.of_extra(key), (*above, key))


def read_project(path: Path) -> Declared:
    """The declared needs of the project at a pyproject.toml, or at its directory.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: it is malformed, or declares no project.
    """
    file = path / "pyproject.toml" if path.is_dir() else path
    if not file.exists():
        fix = "name the project with --pyproject, or leave it out to pin the running environment"
        raise NotFoundError(f"there is no {file}", fix=fix)
    try:
        read = msgspec.convert(parse_toml(file, read_text(file)), _Document).project
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{file}: {clipped(error)}", fix="declare a [project] with name and dependencies"
        ) from error
    extras: dict[str, tuple[str, ...]] = {
        canonicalize_name(k): tuple(v) for k, v in read.optional_dependencies.items()
    }
    dynamic = bool({"dependencies", "optional-dependencies"}.intersection(read.dynamic))
    return Declared(file, canonicalize_name(read.name), tuple(read.dependencies), extras, dynamic)
