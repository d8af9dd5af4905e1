"""The comment lines at the head of a generated requirements file: where the pins come from.

# mlpstorage-lock: version = 1
# mlpstorage-lock: python = 3.11.7
# mlpstorage-lock: local = mlpstorage 0.1.0
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.preflight.lockfile.model import Environment
from mlpstorage.preflight.lockfile.text import fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = "1"
_LINE = re.compile(r"# mlpstorage-lock: (?P<key>[a-z-]+) = (?P<value>.*)")
_ENVIRONMENT = tuple(field.name for field in dataclasses.fields(Environment))


@dataclass(frozen=True)
class Record:
    """The head of a lock; `local` as in `Lock`, `source` says what was pinned."""

    environment: Environment
    source: str = ""
    resolver: str = ""
    local: tuple[tuple[str, str], ...] = ()
    no_deps: bool = False


def record_lines(record: Record) -> Iterator[str]:
    """The record as comment lines."""
    pairs = [("version", _VERSION), ("source", record.source), ("resolver", record.resolver)]
    pairs += [(name, getattr(record.environment, name)) for name in _ENVIRONMENT]
    pairs += [("local", f"{name} {version}") for name, version in record.local]
    pairs += [("install", "no-deps")] if record.no_deps else []
    for key, value in pairs:
        if value:
            yield f"# mlpstorage-lock: {key} = {' '.join(value.split())}"


def parse_record(path: Path, text: str) -> Record | None:
    """The record in a file's comments, or None when it has none.

    Raises:
        ConfigurationError: a newer program wrote it, or a line is malformed.
    """
    found: dict[str, str] = {}
    local: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        key, value = match["key"], match["value"].strip()
        if key == "version" and value != _VERSION:
            fix = "install the version of mlpstorage that wrote it, or generate it again"
            raise fault(path, number, f"a record of version {value}, not {_VERSION}", fix=fix)
        if key == "local":
            name, _, version = value.partition(" ")
            if not name or not version:
                raise fault(path, number, "a local package is written: name version")
            local.append((name, version))
        else:
            found[key] = value
    if not found:
        return None
    environment = Environment(**{name: found.get(name, "") for name in _ENVIRONMENT})
    no_deps = found.get("install") == "no-deps"
    return Record(environment, found.get("source", ""), found.get("resolver", ""),
                  tuple(local), no_deps)  # fmt: skip
