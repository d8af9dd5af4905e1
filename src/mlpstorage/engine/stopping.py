"""Whether the user wants the run to stop: how the wish reaches the ranks, and how they agree.

The launcher tells rank 0 (local ranks can all see it). Ranks that work in step must stop after the
same step, so rank 0's word travels with a barrier, about once a second: the other barriers are as
they were, and the wish costs nothing on the clock.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.comm import Comm

_ASK_SECONDS = 1.0
# How much rarer the ranks may ask than last time: steps may become slower.
_MOST_GROWTH = 4
_STOP = 0


def shared_wish(fd: int) -> Callable[[], bool]:
    """The wish in a pipe that all ranks of a host share: something to read, that nobody reads."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return lambda: any(event & select.POLLIN for _, event in poller.poll(0))


class OwnWish:
    """The wish in a stream that this rank alone reads; its end is no wish.

    Args:
        fd: The stream.
        word: What says it.
        heard: What has been read of the stream already.
    """

    def __init__(self, fd: int, word: bytes, heard: bytes = b"") -> None:
        self._fd = fd
        self._word = word
        self._heard = heard
        self._poller = select.poll()
        self._poller.register(fd, select.POLLIN)
        self._ended = False

    def __call__(self) -> bool:
        """Whether it has been said."""
        while not self._ended and self._poller.poll(0):
            read = os.read(self._fd, 4096)
            self._heard += read
            self._ended = not read
        return self._word in self._heard


class Stopping:
    """What a rank's worker asks between two steps; `stopped` says that it was told to stop.

    Args:
        comm: The other ranks.
        wish: Whether the user's wish has reached this very rank.
    """

    def __init__(self, comm: Comm, wish: Callable[[], bool] = lambda: False) -> None:
        self._comm = comm
        self.wished = wish
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
        if self.wished():
            return _STOP
        now = time.monotonic()
        steps = int(self._interval * _ASK_SECONDS / max(now - self._asked_at, 1e-6))
        self._asked_at = now
        return max(1, min(steps, _MOST_GROWTH * self._interval))

    def agreed(self) -> bool:
        """Whether to stop, the same on every rank; each must call it, like a barrier."""
        self.stopped = self._comm.consult(_STOP if self.wished() else 1) == _STOP or self.stopped
        return self.stopped

    def heard(self) -> bool:
        """Whether to stop, for ranks that do not work in step; asked as often as one likes."""
        self.stopped = self._comm.hear(self.wished()) or self.stopped
        return self.stopped
