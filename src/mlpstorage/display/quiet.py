"""Shows warnings only, and what an interrupt does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mlpstorage.core.events import Interruption, Note

if TYPE_CHECKING:
    from types import TracebackType

    from mlpstorage.core.events import Event


class QuietDisplay:
    """Prints warnings on standard error, answers an interrupt there, and nothing else."""

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put in order."""

    def show(self, event: Event) -> None:
        """Print a warning, or what follows from an interrupt."""
        if isinstance(event, Note) and event.level == "warning":
            print(f"warning: {event.text}", file=sys.stderr, flush=True)
        elif isinstance(event, Interruption):
            print(f"{event.signal}: {event.text}", file=sys.stderr, flush=True)
