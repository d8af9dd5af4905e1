"""Checksums of a tree, in the form that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError, MlpstorageError
from mlpstorage.store.codec import refusal, write_text
from mlpstorage.store.files import children, is_directory, is_file, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKSUMS = "SHA256SUMS"
_MOST_BYTES = 64 << 20
_BLOCK = 1 << 20
_DIGITS = 64


def write_checksums(root: Path) -> Path:
    """Write the checksums of every file below a root; hidden files count, links do not.

    Raises:
        MlpstorageError: a file cannot be read, or the list not be written.
    """
    path = root / CHECKSUMS
    write_text(path, "".join(f"{_hash(root / name)}  {name}\n" for name in _files(root)))
    return path


def check(root: Path) -> Iterator[tuple[str, str]]:
    """Every file that is not as its checksum says, is gone, or has none; and what is wrong.

    Raises:
        MlpstorageError: the list cannot be read.
    """
    recorded = dict(_lines(root / CHECKSUMS))
    present = set(_files(root))
    for name, expected in recorded.items():
        if name not in present:
            yield name, "the file is gone"
            continue
        try:
            actual = _hash(root / name)
        except MlpstorageError as error:
            yield name, error.what
            continue
        if actual != expected:
            yield name, "the file has changed"
    for name in sorted(present - recorded.keys()):
        yield name, "the file is not among the checksums"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path, _MOST_BYTES).splitlines(), start=1):
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != _DIGITS:
            raise ConfigurationError(
                f"{path}:{number}: not a checksum and a name",
                fix="package the results again, or restore the file",
            )
        yield name, digest


def _files(root: Path) -> Iterator[str]:
    """The relative names of all files below, but the list itself, in order."""
    yield from sorted(name for name in _below(root, "") if name != CHECKSUMS)


def _below(directory: Path, above: str) -> Iterator[str]:
    hidden = [
        entry
        for entry in os.scandir(directory)
        if entry.name.startswith(".") and is_file(entry) and not entry.name.endswith(".tmp")
    ]
    for entry in (*children(directory), *hidden):
        if is_directory(entry):
            yield from _below(directory / entry.name, f"{above}{entry.name}/")
        elif is_file(entry):
            yield f"{above}{entry.name}"


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise refusal(f"cannot read {path}", error) from error
    return found.hexdigest()
