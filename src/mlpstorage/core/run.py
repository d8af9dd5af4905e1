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


@dataclass(frozen=True)
class Turn:
    """The place of a run among those that one command makes, from 1, and the part it plays there.

    `seed` is another one in every run.
    """

    number: int = 1
    of: int = 1
    role: str = ""
    seed: int = 0

    def called(self, work: str) -> str:
        """What the run's work is called.

        >>> Turn().called("measuring"), Turn(2, 6).called("measuring")
        ('measuring', 'measuring 2/6')
        >>> Turn(1, 6, "warm-up").called("measuring")
        'warm-up 1/6'
        """
        name = work if self.role in {"", "measured"} else self.role
        return f"{name} {self.number}/{self.of}" if self.of > 1 else name
