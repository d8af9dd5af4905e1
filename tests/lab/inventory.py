"""What the warden tells the owner about a lab that runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.needs import LabError


@dataclass(frozen=True)
class Inventory:
    """A running lab, in the numbers of this machine."""

    work: Path
    """Its folder: keys, configuration and logs; seen by every host."""
    switch: int
    """Process 1 of the switch, which holds the lab's network and all of its processes."""
    inits: dict[str, int]
    """Process 1 of each host, by name."""

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Inventory:
        """Read the warden's line.

        >>> told = Inventory(Path("/tmp/x"), 12, {"ctl": 20})
        >>> Inventory.from_line(told.to_line()) == told
        True

        Raises:
            LabError: it tells a failure instead.
        """
        told = json.loads(line)
        if "error" in told:
            raise LabError(f"the lab did not start: {told['error']}", why=told["why"])
        return cls(Path(told["work"]), told["switch"], told["inits"])


def failure_line(error: Exception) -> str:
    """The line that tells a failure instead of an inventory."""
    what = str(getattr(error, "what", error)) or type(error).__name__
    return json.dumps({"error": what, "why": str(getattr(error, "why", ""))}) + "\n"
