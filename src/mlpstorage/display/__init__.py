"""What the user sees while a run goes on: a subscriber of events, and nothing more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from mlpstorage.core.events import Event


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


def display_for(*, quiet: bool, verbose: bool = False) -> Display:
    """The face that suits: none, a live one on a terminal, or plain lines in a log."""
    if quiet:
        from mlpstorage.display.quiet import QuietDisplay

        return QuietDisplay()
    if sys.stderr.isatty():
        from mlpstorage.display.live import LiveDisplay

        return LiveDisplay(verbose=verbose)
    from mlpstorage.display.lines import LinesDisplay

    return LinesDisplay(sys.stderr, verbose=verbose)
