"""What the user sees while a run goes on: a subscriber of events, and nothing more."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from mlpstorage.core.events import Event

# What --progress understands.
FACES = ("auto", "live", "lines", "json", "off")


class Display(Protocol):
    """Shows events; entering starts it, leaving puts the terminal in order."""

    def __enter__(self) -> Display:
        """Start showing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing; nothing is raised."""

    def show(self, event: Event) -> None:
        """Show one event, or leave it out."""


def display_for(face: str = "auto", *, quiet: bool = False, verbose: bool = False) -> Display:
    """The face that was asked for, or suits: a live one on a terminal, else lines in a log.

    Args:
        face: One of `FACES`; `off` shows warnings only, as `quiet` does.
        quiet: Overrides `auto`.
        verbose: Whether details are shown too.
    """
    if face == "auto":
        face = "off" if quiet else "live" if _is_screen() else "lines"
    if face == "off":
        from mlpstorage.display.quiet import QuietDisplay

        return QuietDisplay()
    if face == "json":
        from mlpstorage.display.jsonl import JsonDisplay

        return JsonDisplay()
    if face == "live":
        from mlpstorage.display.live import LiveDisplay

        return LiveDisplay(verbose=verbose)
    from mlpstorage.display.lines import LinesDisplay

    return LinesDisplay(sys.stderr, verbose=verbose)


def _is_screen() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
