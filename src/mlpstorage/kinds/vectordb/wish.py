"""The user's wish to stop, kept from engines while they work, and seen by any thread.

The launcher's signal would interrupt system calls inside of engines, and Python hears of it only
when an engine returns, which may be after an hour of building. So the signal is blocked, before an
engine starts threads, and let in where the ranks ask; meanwhile the kernel says that it waits.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlpstorage.engine.stopping import STOP_SIGNAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.comm import Comm


@contextmanager
def shielded() -> Iterator[None]:
    """Within the block this thread, and whatever it starts, is not interrupted by the wish."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {STOP_SIGNAL})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Wish:
    """What a rank asks between two steps; see `engine.stopping.Stopping`."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm

    def agreed(self) -> bool:
        """Whether to stop, the same on every rank; each must call it, like a barrier."""
        _let_in()
        return self._comm.stopping.agreed()

    def heard(self) -> bool:
        """Whether this rank has heard it; a rank that leaves something out for it tells the others.

        On rank 0 it is certain then that all ranks will agree.
        """
        _let_in()
        return self._comm.stopping.heard()

    def waits(self) -> bool:
        """Whether the wish has come, or waits to be let in; from any thread.

        Asked where the rank leaves something out, or is sure to ask again. Where a library has
        threads of its own that take the signal, it is seen when the engine has returned.
        """
        return STOP_SIGNAL in signal.sigpending() or self._comm.stopping.heard()


def _let_in() -> None:
    """Let a signal that waits be handled now."""
    if STOP_SIGNAL in signal.sigpending():
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP_SIGNAL})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
