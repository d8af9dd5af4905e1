"""A lock as a requirements file, written so that a crash leaves the old one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage import __version__
from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.preflight.lockfile.record import record_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpstorage.preflight.lockfile.model import Pin
    from mlpstorage.preflight.lockfile.record import Record

_MODE = 0o644


def lock_text(
    record: Record, pins: Sequence[Pin], more: Sequence[str], notes: Sequence[str]
) -> str:
    """The whole file: the record, notes as comments, pins, and further requirements."""
    return "\n".join(_lines(record, pins, more, notes)) + "\n"


def _lines(
    record: Record, pins: Sequence[Pin], more: Sequence[str], notes: Sequence[str]
) -> Iterator[str]:
    yield f"# Made by mlpstorage {__version__}; check with: mlpstorage lockfile verify"
    yield from record_lines(record)
    for note in notes:
        yield f"# {' '.join(note.split())}"
    for pin in sorted(pins, key=lambda pin: (pin.name, pin.specifier)):
        marker = f" ; {pin.marker}" if pin.marker else ""
        parts = [f"{pin.name}{pin.specifier}{marker}"]
        parts += [f"    --hash={value}" for value in pin.hashes]
        yield " \\\n".join(parts)
    yield from more


def write_lock(path: Path, text: str) -> Path | None:
    """Write the file; where a file that this program did not make was kept instead, if there was.

    Raises:
        NotFoundError: the directory does not exist.
        AccessError: it may not be written.
        ConfigurationError: the path is a directory, or the filesystem refuses.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_text(text, encoding="utf-8")  # /dev/stdout must not be replaced by a file
            return None
        kept = _keep(path)
        _replace(path.resolve(), text)
    except OSError as error:
        raise _refusal(path, error) from error
    return kept


def _keep(path: Path) -> Path | None:
    """Move a hand-written file aside: its comments and ranges are somebody's work."""
    if not path.is_file() or b"# mlpstorage-lock: " in path.read_bytes():
        return None
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.old{number if number > 1 else ''}")
        if not aside.exists():
            aside.write_bytes(path.read_bytes())
            return aside
    return None


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else _MODE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _refusal(path: Path, error: OSError) -> ConfigurationError | NotFoundError | AccessError:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return AccessError(f"may not write {path}", fix="choose another file with --output")
    if error.errno == errno.ENOENT:
        return NotFoundError(f"there is no directory {path.parent}", fix=f"mkdir -p {path.parent}")
    return ConfigurationError(
        f"cannot write {path}: {error.strerror}", fix="choose another file with --output"
    )
