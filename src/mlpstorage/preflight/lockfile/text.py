"""A lockfile's text, and errors that say in which line it is wrong."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 32 << 20
_MOST_LINE = 1 << 20
_SHOWN = 160
# What git leaves in a file whose merge needs a hand; "=======" alone may be somebody's ruler.
_CONFLICT = re.compile(r"(?:<{7}|>{7}|\|{7})(?: .*)?")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
AGAIN = "make it again: mlpstorage lockfile generate"


def fault(path: Path, line: int, what: str, *, fix: str = AGAIN) -> ConfigurationError:
    """The error of a malformed lockfile; line 0 means the file as a whole."""
    where = f"{path}:{line}" if line else str(path)
    return ConfigurationError(f"{where}: {clipped(what)}", fix=fix)


def clipped(text: object) -> str:
    r"""The first line of a text, cut to what a terminal line holds, the unprintable escaped.

    >>> clipped(ValueError("no\x1b[31m\nmore"))
    'no\\x1b[31m'
    """
    first = next(iter(str(text).splitlines()), "")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in first)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def read_text(path: Path, *, named_in: str = "") -> str:
    """The text of a lockfile.

    Args:
        path: The file.
        named_in: Where another file names it, for the message.

    Raises:
        NotFoundError: there is no such file.
        AccessError: it may not be read.
        ConfigurationError: it is not a text, or far too large for a lockfile.
    """
    by = f"{named_in}: " if named_in else ""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        fix = f"name it with --lockfile, or make it: mlpstorage lockfile generate -o {path}"
        raise NotFoundError(f"{by}there is no lockfile {path}", fix=fix) from error
    except PermissionError as error:
        raise AccessError(f"{by}may not read {path}", fix=f"chmod a+r {path}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{by}cannot read {clipped(path)}: {reason}", fix="name a file with --lockfile"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise fault(path, 0, f"larger than {_MOST_BYTES >> 20} MiB: this is not a lockfile")
    return _checked(path, _decoded(path, raw))


def _decoded(path: Path, raw: bytes) -> str:
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fault(path, line, f"not a text: byte 0x{raw[error.start]:02x}") from error


def _checked(path: Path, text: str) -> str:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _MOST_LINE:
            raise fault(path, number, f"the line has {len(line)} characters, at most {_MOST_LINE}")
        if "\0" in line:
            raise fault(path, number, "not a text: it holds zero bytes")
        if _CONFLICT.fullmatch(line.rstrip("\r")):
            fix = "resolve the conflict, or make the lockfile again: mlpstorage lockfile generate"
            raise fault(path, number, "an unresolved merge conflict", fix=fix)
    return text
