"""Which rank died, by what the MPI launchers print about it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankStarted

# Open MPI 4 and 5.
_BY_RANK = re.compile(
    r"process rank (?P<rank>\d+) with PID \d+ on node (?P<host>\S+) exited on signal (?P<sig>\d+)"
)
# Open MPI 4, of a rank that exited 0 without a word to MPI.
_IMPROPER = re.compile(
    r"process rank (?P<rank>\d+) with PID \d+ on node (?P<host>\S+) exiting improperly"
)
# Hydra draws a box of = around it; a signal's number stands as the exit code. With several hosts it
# does not say that it is one.
_BY_PID = re.compile(
    r"PID (?P<pid>\d+) RUNNING AT (?P<host>\S+) = EXIT CODE: (?P<code>\d+)"
    r"(?P<rest>.*?exit string: .*?\(signal \d+\))?",
    re.IGNORECASE,
)
_DEADLY = {
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGTERM,
}
_EXIT_BY_NAME = re.compile(
    r"Process name: \[\S+,(?P<rank>\d+)\] Exit code:\s+(?P<code>\d+)", re.IGNORECASE
)


class Victim(NamedTuple):
    """A rank that died; `returncode` is negative for a signal.

    Not `certain` is a SIGKILL that Hydra reports: it kills the other ranks in the same way, and now
    and then (2 of 12 times) names one of those.
    """

    rank: int
    host: str
    returncode: int
    certain: bool = True


def victim_of(logs: Sequence[Path], started: Iterable[RankStarted]) -> Victim | None:
    """The first rank whose death the launcher's output tells; None if it tells none."""
    text = "\n".join(log.read_text(errors="replace") for log in logs if log.is_file())
    return victim_in(text, list(started))


def victim_in(text: str, started: Sequence[RankStarted]) -> Victim | None:
    """The same, from the text of the output."""
    text = " ".join(text.split())  # launchers wrap their sentences as they like
    by_rank = _BY_RANK.search(text)
    if by_rank is not None:
        return Victim(int(by_rank["rank"]), by_rank["host"], -int(by_rank["sig"]))
    improper = _IMPROPER.search(text)
    if improper is not None:
        return Victim(int(improper["rank"]), improper["host"], 0)
    hosts = {start.rank: start.host for start in started}
    by_name = _EXIT_BY_NAME.search(text)
    if by_name is not None:
        rank = int(by_name["rank"])
        return Victim(rank, hosts.get(rank, "?"), int(by_name["code"]))
    by_pid = _BY_PID.search(text)
    if by_pid is not None:
        code = int(by_pid["code"])
        # A rank that fails by itself has said so before it exits.
        returncode = -code if by_pid["rest"] is not None or code in _DEADLY else code
        return _rank_of_pid(int(by_pid["pid"]), by_pid["host"], returncode, started)
    return None


def _rank_of_pid(
    pid: int, host: str, returncode: int, started: Sequence[RankStarted]
) -> Victim | None:
    """The rank of a process; a launcher and a host may call the host differently."""
    same_pid = [start for start in started if start.pid == pid]
    same_host = [start for start in same_pid if start.host == host] or same_pid
    if len(same_host) != 1:
        return None
    start = same_host[0]
    return Victim(start.rank, start.host, returncode, certain=returncode != -signal.SIGKILL)
