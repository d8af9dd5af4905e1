"""Which code is running: a hash over the installed package, and copies of it in submissions.

The hash is MD5, as the tools of the field compare it; it identifies, it does not protect. Hidden
files, caches and tests are left out.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.store.codec import refusal, write_text
from mlpstorage.store.files import children, is_directory, is_file, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = "code-images"
POINTER = ".mlps-code-image"
SHORT = 8
_LEFT_OUT = frozenset({"__pycache__", "tests"})
_SUFFIXES_LEFT_OUT = (".pyc", ".pyo")


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The files of a package that count, by their relative names, sorted; links do not."""
    yield from sorted(_below(root, ""))


def _below(directory: Path, above: str) -> Iterator[tuple[str, Path]]:
    for entry in children(directory):
        if entry.name in _LEFT_OUT or entry.name.endswith(_SUFFIXES_LEFT_OUT):
            continue
        if is_directory(entry):
            yield from _below(directory / entry.name, f"{above}{entry.name}/")
        elif is_file(entry):
            yield f"{above}{entry.name}", directory / entry.name


def tree_hash(root: Path) -> str:
    """The hash of a package: over every file's name and hash, in the order of the names.

    Raises:
        MlpstorageError: a file cannot be read.
    """
    whole = hashlib.md5(usedforsecurity=False)
    for name, path in source_files(root):
        content = hashlib.md5(read_file(path), usedforsecurity=False).hexdigest()
        whole.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


@lru_cache(maxsize=1)
def code_identity() -> str:
    """The hash of the running package."""
    return tree_hash(_package())


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def image_name(identity: str) -> str:
    """The directory of a code image.

    >>> image_name("0123456789abcdef")
    'code-01234567'
    """
    return f"code-{identity[:SHORT]}"


def write_image(images: Path) -> str:
    """Copy the running package into a pool of code images, if it is not there yet; its hash.

    Raises:
        MlpstorageError: it cannot be copied.
    """
    identity = code_identity()
    target = images / image_name(identity)
    try:
        for name, path in source_files(_package()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    except OSError as error:
        raise refusal(f"cannot write {target}", error) from error
    if tree_hash(target) != identity:
        raise ConfigurationError(
            "the installed code has changed since this program began",
            why="its copy must be the code that measured",
            fix="run the command again",
        )
    write_text(images / f"{target.name}.md5", f"{identity}\n")
    return identity
