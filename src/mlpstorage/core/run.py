"""One execution of a plan: its name, its place and its status."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.Enum):
    """How far a run got; `started` on disk with no living process means that it was killed."""

    STARTED = "started"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class RunId:
    """The parts that name a run and its directory; `timestamp` is local time, YYYYmmdd_HHMMSS.

    >>> str(RunId("training", "run", "unet3d", "20261124_130854"))
    'training_run_unet3d_20261124_130854'
    """

    kind: str
    command: str
    model: str
    timestamp: str

    def __str__(self) -> str:
        return "_".join(
            part for part in (self.kind, self.command, self.model, self.timestamp) if part
        )
