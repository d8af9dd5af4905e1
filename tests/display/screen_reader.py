"""A real pseudo-terminal, and what stands on its screen: a terminal emulator reads the output."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")


class Screen:
    """A program in a terminal of its own.

    Args:
        argv: The program.
        columns: Width of the terminal.
        rows: Height of the terminal.
        cwd: Where it runs.
        env: Variables beside the usual ones.
    """

    def __init__(
        self,
        argv: Sequence[str],
        columns: int,
        rows: int,
        cwd: Path,
        env: dict[str, str] | None = None,
    ) -> None:
        self._master, slave = os.openpty()
        self._rows = rows
        _set_size(slave, columns, rows)
        clean = {name: text for name, text in os.environ.items() if name not in _TOLD}
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**clean, "TERM": "xterm-256color", **(env or {})},
            start_new_session=True,
        )
        os.close(slave)
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    @property
    def lines(self) -> list[str]:
        """The screen, without the empty lines at its end."""
        found = [line.rstrip() for line in self._screen.display]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def cells(self) -> list[list[tuple[str, str, bool]]]:
        """Every line as characters with their colour, and whether they are bold."""
        columns = range(self._screen.columns)
        rows = (self._screen.buffer[row] for row in range(self._rows))
        return [[(r[c].data, r[c].fg, r[c].bold) for c in columns] for r in rows]

    def colours(self) -> set[str]:
        """The colours of what is written on the screen, the default left out."""
        cells = (cell for row in self._screen.buffer.values() for cell in row.values())
        return {cell.fg for cell in cells if cell.data.strip()} - {"default"}

    def resize(self, columns: int) -> None:
        """Give the terminal another width."""
        _set_size(self._master, columns, self._rows)
        self._screen.resize(self._rows, columns)

    def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        """Read on until something holds."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it did not come to that:\n{self.text}"
            if not self._read(0.2):
                assert true(), f"the program has ended:\n{self.text}"

    def end(self, seconds: float = 60) -> int:
        """Read to the program's end; its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < deadline, f"it did not end:\n{self.text}"
        os.close(self._master)
        return self.process.wait(10)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            read = os.read(self._master, 1 << 16)
        except OSError:  # the last program that had the terminal open has ended
            return False
        self.raw += read
        self._stream.feed(read)
        return bool(read)


_TOLD = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_INTERACTIVE"}


def _set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def control_characters(data: bytes) -> set[bytes]:
    """What steers a terminal in some output; line feeds are no such thing."""
    return set(_CONTROL.findall(data))
