"""A few lines at the bottom of a terminal that are drawn again and again; other text goes above."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

_UP = "\x1b[{}A"
_CLEAR_BELOW = "\x1b[J"


class Painter:
    """Draws a frame over the last one, in one write, whatever width the terminal has by now.

    Args:
        console: Where to draw; where it is no terminal, only what goes above is written.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn: list[int] = []  # the cells of each line on the screen
        self.is_screen = console.is_terminal

    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        size = self._console.size
        return size.width, size.height

    def draw(self, lines: Sequence[Text], above: Sequence[Text] = ()) -> None:
        """Write some lines to stay, and under them a new frame in place of the old one."""
        text = self._erased() + self._rendered(above)
        self._drawn = []
        if self.is_screen and lines:
            text += self._rendered(lines).removesuffix("\n")
            self._drawn = [cell_len(line.plain) for line in lines]
        if text:
            self._console.file.write(text)
            self._console.file.flush()

    def _erased(self) -> str:
        """What takes the old frame away; a terminal that became narrower has wrapped its lines."""
        if not self._drawn:
            return ""
        width = max(self.size()[0], 1)
        rows = sum(max(1, math.ceil(cells / width)) for cells in self._drawn)
        up = _UP.format(rows - 1) if rows > 1 else ""
        return f"\r{up}{_CLEAR_BELOW}"

    def _rendered(self, lines: Sequence[Text]) -> str:
        console = self._console
        if not lines:
            return ""
        with console.capture() as capture:
            for line in lines:
                console.print(line, highlight=False, soft_wrap=not self.is_screen)
        return capture.get()


def terminal_console() -> Console:
    """A console on standard error; it honours NO_COLOR, and the terminal's own colours."""
    return Console(stderr=True, highlight=False)


def plain_console(width: int) -> Console:
    """A console that renders for nobody, for pictures and tests."""
    return Console(file=io.StringIO(), width=width, highlight=False, force_terminal=True)
