"""What watches over a run on each of its hosts: `python -m mlpstorage.launch.guard SEAT MARK`.

It holds one end of a lifeline, whose other end is the controller's (see `lifelines`). As long as
it lives the controller knows that the host does. When the controller says so, or falls silent, it
kills what the run has left on its host: the processes with the run's mark in their environment.

It needs the standard library alone, and asks for nothing: 10 MB of memory, and a byte every 5 s.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the environment of the launcher and of every rank: which run they belong to.
RUN_MARK = "MLPSTORAGE_RUN_MARK"
# What the controller says: that it lives, a question for the processes of the run, that the user
# wants the ranks to stop in order, and that the run is over.
BEAT, ASK, STOP, END = b".", b"?", b"s", b"!"
# What tells a rank so; `engine.stopping` takes it.
STOP_SIGNAL = signal.SIGUSR1
_RANK = [b"-m", b"mlpstorage.rank"]
MODULE = "mlpstorage.launch.guard"
# How long after a lost connection another guard may come and take this one's place.
_SUCCESSOR_SECONDS = 8.0
# A connection that is cut without a word stays open for ever: then only silence tells.
_SILENCE_SECONDS = 60.0
_KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.1


def greeting(mark: str) -> str:
    """What stands before everything that a guard says."""
    return f"mlpstorage-guard-{mark}"


def marked(mark: str) -> list[int]:
    """The processes of this host that belong to the run."""
    return [pid for pid in _pids() if _is_marked(pid, mark)]


def kill_marked(mark: str) -> int:
    """Kill the run's processes and what they still start; how many there were."""
    killed: set[int] = set()
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        found = marked(mark)
        if not found:
            break
        for pid in found:
            _kill(pid)
        killed.update(found)
        time.sleep(_PAUSE_SECONDS)
    return len(killed)


def stop_marked(mark: str) -> int:
    """Signal the run's ranks, and nothing of the launcher; how many there are."""
    ranks = [pid for pid in marked(mark) if _is_rank(pid)]
    for pid in ranks:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, STOP_SIGNAL)
    return len(ranks)


def _is_rank(pid: int) -> bool:
    try:
        # The launcher's command line has these words too, but not alone.
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:-1] == _RANK
    except OSError:  # it has ended
        return False


def _pids() -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            yield int(path.name)


def _is_marked(pid: int, mark: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return False
    return f"{RUN_MARK}={mark}".encode() in environ.split(b"\0")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _replace_older(seat: str, mark: str) -> None:
    """End the guard whose connection was lost, before it takes the controller for dead."""
    own = [b"-m", MODULE.encode(), seat.encode(), mark.encode()]
    for pid in _pids():
        with contextlib.suppress(OSError):  # it has ended
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:5] == own:
                _kill(pid)


def main(seat: str, mark: str, silence: str = str(_SILENCE_SECONDS)) -> None:
    """Keep watch until the controller ends it or is gone.

    Args:
        seat: Which host of the run this is; a second guard of the same seat replaces the first.
        mark: The run's mark.
        silence: Seconds without a word from the controller after which it is gone.
    """
    _replace_older(seat, mark)
    _say(mark, f"has {len(marked(mark))}")
    while _readable(float(silence)):
        heard = os.read(0, 4096)
        if END in heard:
            break
        if not heard:
            time.sleep(_SUCCESSOR_SECONDS)
            break
        if STOP in heard:
            _say(mark, f"told {stop_marked(mark)}")
        if ASK in heard:
            _say(mark, f"has {len(marked(mark))}")
    _say(mark, f"ended {kill_marked(mark)}")


def _readable(seconds: float) -> bool:
    return bool(select.select([0], [], [], seconds)[0])


def _say(mark: str, text: str) -> None:
    with contextlib.suppress(OSError):  # the connection is gone
        os.write(1, f"{greeting(mark)} {text}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
