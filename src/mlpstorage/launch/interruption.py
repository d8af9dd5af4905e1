"""What the user is told of an interrupt: what happens now, and what the next one will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.errors import InterruptedRunError
from mlpstorage.core.events import Interruption

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_NAMED = 8


def stopping_after(signal_name: str, step: str) -> Interruption:
    """The ranks finish what they are at.

    >>> stopping_after("SIGINT", "step").text
    'finishing the step; interrupt again to stop now on every host'
    """
    text = f"finishing the {step}; interrupt again to stop now on every host"
    return Interruption(signal_name, 1, text)


def stopping_now(signal_name: str) -> Interruption:
    """The ranks are being ended."""
    text = "stopping now, on every host; interrupt again to leave without waiting"
    return Interruption(signal_name, 2, text)


def abandoned_here(pids: Sequence[int]) -> InterruptedRunError:
    """The ranks of this host are not waited for.

    >>> print(abandoned_here([71, 72]))
    error: left without waiting for the ranks to end
      why: processes 71, 72 may still be there: the kernel kills them once their last I/O returns
      fix: look for them: ps 71 72
    """
    if not pids:
        return InterruptedRunError("left without waiting", why="no rank was running any more")
    return InterruptedRunError(
        "left without waiting for the ranks to end",
        why=f"processes {_listed(list(map(str, pids)))} may still be there: the kernel kills them "
        "once their last I/O returns",
        fix=f"look for them: ps {' '.join(map(str, pids[:_MOST_NAMED]))}",
    )


def abandoned_on(hosts: Sequence[str]) -> InterruptedRunError:
    """The hosts of an MPI run are not waited for.

    >>> print(abandoned_on(["h1", "h2"]))
    error: left without waiting for the ranks to end
      why: ranks on h1, h2 may still be there: what watches over each host ends them within 15 s
      fix: look for them: ssh h1 pgrep -f mlpstorage.rank
    """
    return InterruptedRunError(
        "left without waiting for the ranks to end",
        why=f"ranks on {_listed(hosts)} may still be there: what watches over each host ends them "
        "within 15 s",
        fix=f"look for them: ssh {hosts[0]} pgrep -f mlpstorage.rank",
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
