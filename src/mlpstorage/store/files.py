"""Reading files that others may have written: no link is followed, nothing is read without bound.

Directories are walked without links; a file is opened only if it is a regular file itself.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.units import MIB, format_bytes
from mlpstorage.store.codec import decode, refusal

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
MOST_BYTES = 256 * MIB
_CUT = 200


def children(directory: Path | str) -> list[os.DirEntry[str]]:
    """The visible entries of a directory by name; none where it cannot be listed or is gone."""
    try:
        with os.scandir(directory) as found:
            visible = [entry for entry in found if not entry.name.startswith(".")]
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return []
    return sorted(visible, key=lambda entry: entry.name)


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a directory itself, and no link to one."""
    return entry.is_dir(follow_symlinks=False)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a regular file itself, and no link to one."""
    return entry.is_file(follow_symlinks=False)


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        AccessError, NotFoundError, ConfigurationError: it cannot be read, is a link or no regular
            file, or is larger than `most_bytes`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unwanted(path, "a symbolic link, which is not followed") from error
        raise refusal(f"cannot read {path}", error) from error
    except ValueError as error:  # a zero byte in the name
        raise _unwanted(str(path), str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _unwanted(path, "no regular file")
        if found.st_size > most_bytes:
            raise _unwanted(path, f"larger than {format_bytes(most_bytes)}")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    except OSError as error:
        raise refusal(f"cannot read {path}", error) from error
    finally:
        os.close(descriptor)


def _unwanted(path: Path | str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: {what}",
        why="a result is read from the files in its own directory only",
        fix="put the file itself there, or move the directory out of the results",
    )


def read_text(path: Path, most_bytes: int = MIB) -> str:
    """The text of a small file; bytes that are not UTF-8 are shown as escapes.

    Raises:
        AccessError, NotFoundError, ConfigurationError: as `read_file`.
    """
    return read_file(path, most_bytes).decode("utf-8-sig", "backslashreplace")


def read_as(path: Path, kind: type[T]) -> T:
    """The value of a JSON file as a type; keys that the type does not know are skipped.

    NaN and infinities count as null. Numbers in text count as numbers, as other tools write them.

    Raises:
        AccessError, NotFoundError, ConfigurationError: it cannot be read, is not JSON, or does not
            fit the type; the message names the file and the place in it.
    """
    content = read_file(path)
    try:
        return msgspec.json.decode(content, type=kind, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # NaN and other dialects: the patient reader decides, and words what is wrong
    try:
        return msgspec.convert(decode(content), kind, strict=False)
    except (ValueError, RecursionError, OverflowError) as error:
        text = str(error)
        raise ConfigurationError(
            f"{path}: {text if len(text) <= _CUT else text[:_CUT] + '…'}",
            why="what it describes cannot be shown or judged without it",
            fix="restore the file from a copy, or move its directory out of the results",
        ) from error
