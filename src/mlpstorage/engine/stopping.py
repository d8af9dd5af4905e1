"""Whether the user wants the run to stop: how the wish reaches the ranks, and how they agree.

The launcher signals the ranks, through the guard of each host where there are several. Signals do
not arrive at once everywhere, and ranks that work in step must stop after the same step: so rank
0's word travels with a barrier, about once a second. The other barriers are as they were, and the
wish costs nothing on the clock.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.comm import Comm

# `launch.guard` knows it, too.
STOP_SIGNAL = signal.SIGUSR1
_ASK_SECONDS = 1.0
# How much rarer the ranks may ask than last time: steps may become slower.
_MOST_GROWTH = 4
_STOP = 0


def signalled_wish() -> Callable[[], bool]:
    """From now on the launcher's signal is a wish, instead of this process's end."""
    said: list[int] = []
    signal.signal(STOP_SIGNAL, lambda number, _: said.append(number))
    return lambda: bool(said)


class Stopping:
    """What a rank's worker asks between two steps; `stopped` says that it was told to stop.

    Args:
        comm: The other ranks.
        wish: Whether the user's wish has reached this very rank.
    """

    def __init__(self, comm: Comm, wish: Callable[[], bool] = lambda: False) -> None:
        self._comm = comm
        self._wished = wish
        self.stopped = False
        self._interval = 1
        self._left = 1
        self._asked_at = time.monotonic()

    def step_done(self) -> bool:
        """The barrier after a step; whether no further step is wanted, the same on every rank.

        Every rank must call it, like a barrier.
        """
        self._left -= 1
        if self._left:
            self._comm.barrier()
            return False
        answer = self._comm.consult(self._answer())
        self._interval = self._left = max(answer, 1)
        self.stopped = self.stopped or answer == _STOP
        return self.stopped

    def _answer(self) -> int:
        """What rank 0 says: to stop, or after how many steps, about a second, to ask again."""
        if self._wished():
            return _STOP
        now = time.monotonic()
        steps = int(self._interval * _ASK_SECONDS / max(now - self._asked_at, 1e-6))
        self._asked_at = now
        return max(1, min(steps, _MOST_GROWTH * self._interval))

    def agreed(self) -> bool:
        """Whether to stop, the same on every rank; each must call it, like a barrier."""
        self.stopped = self._comm.consult(_STOP if self._wished() else 1) == _STOP or self.stopped
        return self.stopped

    def heard(self) -> bool:
        """Whether to stop, for ranks that do not work in step; asked as often as one likes."""
        self.stopped = self._wished() or self.stopped
        return self.stopped
