"""The line protocol between a launcher and its ranks.

A rank reads one JSON line, its job, from standard input, and writes events as marked JSON lines.
Whatever else a library prints into the same stream does not hurt: only marked lines count.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.events import event_from_dict

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from mlpstorage.core.events import Event
    from mlpstorage.launch import RankJob

MARKER = b"\x1emlps "
LOCAL_RANK = "MLPSTORAGE_LOCAL_RANK"
# The exit code of a rank that only noticed that another one had ended.
PEER_LOST = 75


def encode_event(event: Event) -> bytes:
    """The marked line of an event.

    Raises:
        TypeError: JSON cannot say the event.
    """
    return MARKER + json.dumps(event.as_dict(), separators=(",", ":")).encode() + b"\n"


def decode_event(line: bytes) -> Event | None:
    r"""The event of a line, or None for any other line.

    The last marker counts: what stands before it is the torn line of another rank.

    >>> decode_event(b'Hello\x1emlps {"type":"note","text":"hi"}')
    Note(text='hi', level='info')
    """
    _, marker, text = line.rpartition(MARKER)
    if not marker:
        return None
    try:
        return event_from_dict(json.loads(text))
    except ValueError:  # a torn line: whoever misses the event says so
        return None


@dataclass(frozen=True)
class RankSpec:
    """The job of a rank, as it stands on its standard input."""

    worker: str
    size: int
    run_dir: str
    argument: dict[str, Any]
    transport: str

    @classmethod
    def of(cls, job: RankJob, transport: str) -> RankSpec:
        """The spec of a job; `transport` is local or mpi."""
        return cls(job.worker, job.size, str(job.run_dir), job.argument, transport)

    def encode(self) -> bytes:
        """The line that ranks read."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> RankSpec:
        """The spec of a line.

        Raises:
            ValueError: the line is not a spec.
        """
        record = json.loads(line)
        try:
            return cls(**record)
        except TypeError as error:
            raise ValueError(f"not a job for a rank: {error}") from error


@dataclass(frozen=True)
class LocalSeat:
    """Where a local rank sits: its number, the launcher's process, and its pipes to the others."""

    rank: int
    parent: int
    channels: tuple[tuple[int, int], ...]

    def encode(self) -> str:
        """The value of the environment variable."""
        return json.dumps([self.rank, self.parent, self.channels])

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> LocalSeat | None:
        """The seat named by the environment, removed from it; None for a rank of MPI."""
        text = environ.pop(LOCAL_RANK, None)
        if text is None:
            return None
        rank, parent, channels = json.loads(text)
        return cls(rank, parent, tuple((source, sink) for source, sink in channels))
