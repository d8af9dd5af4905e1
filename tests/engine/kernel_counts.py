"""What the kernel counts of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def rchar_around(action: Callable[[], None]) -> int:
    """The bytes that this process reads during an action, as the kernel counts them.

    The importing of a library reads its files: what imports later than at the top of a module is
    to be done once before.
    """

    def text() -> str:
        return Path("/proc/self/io").read_text("ascii")

    def counter(text: str) -> int:
        return int(text.split()[1])

    before = text()
    action()
    # The counter is extended by the first text only after that was made.
    return counter(text()) - counter(before) - len(before)
