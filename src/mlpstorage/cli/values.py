"""Words of the user: checked before the CLI library rounds or ignores some, and made printable."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mlpstorage.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpstorage.core.errors import MlpstorageError

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# C0, DEL and C1: in a name they would reach the terminal sooner or later, and steer it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TRUTHS = frozenset({"true", "false", "yes", "no", "1", "0"})


def check_words(
    words: Iterable[str], hint: type, subject: str, error: type[MlpstorageError]
) -> None:
    """Refuse words that an option cannot take: empty, with control characters, or no number.

    Args:
        words: The values given.
        hint: The option's type.
        subject: What is wrong then; starts the message, such as `--loops` or `my.yaml:3: loops`.
        error: What to raise.
    """
    for word in words:
        problem, fix = _problem(word, hint)
        if problem:
            raise error(f"{subject} {problem}", fix=fix)


def needs_value(given: str, flag: str) -> UsageError:
    """The error for an option without a value; `given` is how the user spelled it."""
    return UsageError(
        f"{given} needs a value",
        fix=f"write one after it; one that begins with a dash as {flag}=VALUE",
    )


def printable(text: str) -> str:
    r"""The text with control characters as escapes, for a terminal.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _problem(word: str, hint: type) -> tuple[str, str]:
    if not word.strip():
        return "is empty", "give it a value, or leave it out"
    if _CONTROL.search(word) or not _is_encodable(word):
        return f"is {word!a}", "write it without control characters"
    if hint is int and not _WHOLE.fullmatch(word):
        digits = word.lstrip("+-").isdecimal() and word.isascii()
        return f"is {word!r}", f"give it a {'smaller' if digits else 'whole'} number"
    if hint is bool and word.lower() not in _TRUTHS:
        return f"is {word!r}", "give it true or false"
    return "", ""


def _is_encodable(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True
