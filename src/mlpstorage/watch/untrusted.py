"""Text from another host, made harmless before anything else sees it.

A host may send what it likes: escape sequences in os-release, a line of a megabyte. What passes
here has no character that a terminal acts upon, and no line that is too long to keep.
"""

from __future__ import annotations

import re

# Control characters but line feed and tab, and the marks that reorder or split what is shown.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_LONGEST_LINE = 1 << 16
_LONG_LINES = re.compile(rf"([^\n]{{{_LONGEST_LINE}}})[^\n]+")


def decoded(raw: bytes) -> str:
    r"""The text of a host's bytes, without active characters, long lines cut at 64 KiB.

    >>> decoded(b"a\x1b[31m\xff\n")
    'a\\x1b[31m\\xff\n'
    """
    text = _ACTIVE.sub(_visible, raw.decode("utf-8", "backslashreplace"))
    return _LONG_LINES.sub(r"\1", text) if len(text) > _LONGEST_LINE else text


def printable(text: str, *, most: int = 300) -> str:
    r"""The text as a part of a sentence: one line, nothing active, not longer than `most`.

    >>> printable("a\nb\x1b[2J"), printable("x" * 400, most=5)
    ('a\\x0ab\\x1b[2J', 'xxxxx…')
    """
    cut = text if len(text) <= most else text[:most] + "…"
    return re.sub(r"[\n\t]", _visible, _ACTIVE.sub(_visible, cut))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 (Latin-1)
