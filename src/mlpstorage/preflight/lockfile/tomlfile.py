"""TOML as typed tables: errors name the file and, where it can be told, the line."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mlpstorage.preflight.lockfile.text import clipped, fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.errors import ConfigurationError

_T = TypeVar("_T")
_LINE = re.compile(r"at line (\d+)")
_INDEX = re.compile(r"`\$\.packages?\[(\d+)\]")


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """The document of a TOML file.

    Raises:
        ConfigurationError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else "nested too deeply"
        match = _LINE.search(said)
        line = int(match[1]) if match else 0
        raise fault(
            path, line, f"not TOML: {said}", fix="correct the file, or lock again"
        ) from error


def typed(path: Path, text: str, header: str, document: dict[str, Any], shape: type[_T]) -> _T:
    """The document as a record; `header` is the table whose entries errors are counted by.

    Raises:
        ConfigurationError: a key is missing or has another type.
    """
    try:
        return msgspec.convert(document, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        match = _INDEX.search(str(error))
        lines = header_lines(text, header)
        index = int(match[1]) if match else -1
        line = lines[index] if 0 <= index < len(lines) else 0
        raise fault(
            path, line, clipped(error), fix="lock again with the tool that made it"
        ) from error


def header_lines(text: str, header: str) -> list[int]:
    r"""The lines of each `[[header]]`, from 1.

    >>> header_lines('version = 1\n[[package]]\nname = "a"\n[[package]]', "package")
    [2, 4]
    """
    wanted = re.compile(rf"\[\[\s*{re.escape(header)}\s*\]\]\s*(?:#.*)?")
    lines = text.splitlines()
    return [number for number, line in enumerate(lines, 1) if wanted.fullmatch(line.strip())]


def check_marker(path: Path, line: int, marker: str) -> str:
    """The marker, when it is one.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        return str(Marker(marker)) if marker else ""
    except (InvalidMarker, RecursionError) as error:
        raise _wrong(path, line, "an environment marker", marker) from error


def check_specifier(path: Path, line: int, specifier: str) -> str:
    """The version specifier, when it is one.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        return str(SpecifierSet(specifier))
    except InvalidSpecifier as error:
        raise _wrong(path, line, "a version", specifier) from error


def _wrong(path: Path, line: int, what: str, value: str) -> ConfigurationError:
    return fault(path, line, f"not {what}: {value!r}", fix="lock again with the tool that made it")
