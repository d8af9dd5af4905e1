"""Any lockfile, by what it holds: requirements.txt, pylock.toml or uv.lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.preflight.lockfile.pylock import is_pylock, parse_pylock
from mlpstorage.preflight.lockfile.requirements import parse_requirements
from mlpstorage.preflight.lockfile.text import fault, read_text
from mlpstorage.preflight.lockfile.tomlfile import parse_toml
from mlpstorage.preflight.lockfile.uvlock import is_uv_lock, parse_uv_lock

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.preflight.lockfile.model import Lock

_TOML = frozenset({".toml", ".lock"})


def read_lock(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        NotFoundError: there is no such file, or one that it includes is missing.
        AccessError: it may not be read.
        ConfigurationError: it is malformed; the message names file and line.
    """
    text = read_text(path)
    if path.suffix not in _TOML:
        lock = parse_requirements(path, text)
        if not lock.pins and not lock.left and lock.environment is None:
            raise fault(path, 0, "pins no package: it is empty")
        return lock
    if not text.strip():
        raise fault(path, 0, "pins no package: it is empty")
    document = parse_toml(path, text)
    if is_pylock(document):
        return parse_pylock(path, text, document)
    if is_uv_lock(document):
        return parse_uv_lock(path, text, document)
    fix = "name a requirements file, pylock.toml or uv.lock; poetry and pdm export both"
    raise fault(path, 0, "neither a pylock.toml nor a uv.lock", fix=fix)
