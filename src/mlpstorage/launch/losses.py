"""What a user is told when hosts are lost, or have got other ranks than planned."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import BenchmarkError
from mlpstorage.core.events import Note

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.core.errors import MlpstorageError
    from mlpstorage.core.events import RankStarted
    from mlpstorage.launch.lifeline import LostHost

_MOST_NAMED = 8


def host_error(
    lost: Sequence[LostHost], hosts: Sequence[Host], started: Iterable[RankStarted], log: Path
) -> MlpstorageError:
    """The error of a run that has lost hosts."""
    names = [host.name for host in lost]
    one = len(lost) == 1
    what = f"host{'s' * (not one)} {_listed(names)} no longer answer{'s' * one}"
    ranks = sorted(start.rank for start in started if any(_same(start.host, n) for n in names))
    were = f"; {_ranks(ranks)} ran there" if ranks else ""
    all_gone = len(lost) == len(hosts) > 1
    fix = f"see whether {'it is' if one else 'they are'} switched on and reachable: ssh {names[0]}"
    return BenchmarkError(
        what,
        why=f"{lost[0].name}: {lost[0].why}{were} (what the ranks said before: {log})",
        fix=f"{fix}; or whether this host's own network is down" if all_gone else fix,
    )


def placement_note(hosts: Sequence[Host], size: int, started: Iterable[RankStarted]) -> Note | None:
    """A warning if the launcher has spread the ranks in another way than it was told to.

    >>> from mlpstorage.core.cluster import Host
    >>> from mlpstorage.core.events import RankStarted
    >>> ranks = [RankStarted(rank, "a" if rank < 3 else "b", 1) for rank in range(4)]
    >>> placement_note([Host("a"), Host("b")], 4, ranks).text
    'the launcher has spread the ranks as a: 3, b: 1, not as planned (2, 2)'
    """
    counted = Counter(start.host for start in started)
    planned = [count for count in spread(size, hosts) if count]
    if sorted(counted.values()) == sorted(planned):
        return None
    shown = ", ".join(f"{host}: {count}" for host, count in sorted(counted.items())[:_MOST_NAMED])
    plan = ", ".join(map(str, planned[:_MOST_NAMED]))
    return Note(f"the launcher has spread the ranks as {shown}, not as planned ({plan})", "warning")


def _same(own: str, users: str) -> bool:
    """Whether a host's own name and the user's are of one host, as far as names tell."""
    return own == users or own.partition(".")[0] == users.partition(".")[0]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' * (len(ranks) != 1)} {_listed([str(rank) for rank in ranks])}"
