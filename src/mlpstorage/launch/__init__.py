"""How ranks reach hosts: what is launched, and the protocol that every launcher follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.core.events import Event, RankResult


@dataclass(frozen=True)
class RankJob:
    """What every rank runs: `worker` is `module:function`, `argument` whatever JSON can say.

    The function is called as `worker(argument, comm, emit)` and returns the rank's result.
    Logs go to `<run_dir>/ranks/`. `stops_after` is what the worker finishes when the user wants it
    to stop, such as "step" (see `engine.stopping`); empty for a worker that does not ask.
    """

    worker: str
    argument: dict[str, Any]
    size: int
    run_dir: Path
    stops_after: str = ""


class Launcher(Protocol):
    """Starts the ranks of a job, passes their events on, and leaves no process behind."""

    def run(self, job: RankJob, on_event: Callable[[Event], None]) -> list[RankResult]:
        """The result of every rank, ordered by rank; `on_event` gets each event as it comes.

        A first interrupt asks ranks that can to stop in order: their results then say `stopped`.

        Raises:
            MlpstorageError: a rank failed or died (the class that its exit code stands for),
                the time limit passed (TimeLimitError) or the user interrupted
                (InterruptedRunError). All ranks have been ended by then.
        """
