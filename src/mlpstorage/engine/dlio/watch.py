"""Following a run of DLIO by its own statistics: StatsCounter is told of every epoch and step."""

from __future__ import annotations

import functools
import importlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from mlpstorage.engine.dlio.prepare import wrap

if TYPE_CHECKING:
    from collections.abc import Callable


class Follower(Protocol):
    """Who wants to know how far a run is; epochs and steps count from 1."""

    def epoch_begins(self, epoch: int) -> None:
        """DLIO is about to start its loader; it waits until this returns."""

    def step_done(self, epoch: int, step: int) -> None:
        """A step of this rank is done, its computation included."""

    def epoch_ends(self, epoch: int, seconds: float) -> None:
        """All ranks did their last step; `seconds` is the time of DLIO's blocks of steps."""


class _Clock:
    """The time of an epoch's blocks, taken where DLIO takes it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began: float | None = None

    def start(self) -> None:
        self._began = time.time()

    def stop(self) -> None:
        if self._began is not None:  # DLIO may end a block twice
            self.seconds += time.time() - self._began
            self._began = None


def follow(follower: Follower) -> None:
    """Have DLIO's statistics tell the follower; importing them initialises MPI.

    Never in a worker process, which is no rank.
    """
    counter = importlib.import_module("dlio_benchmark.utils.statscounter").StatsCounter
    clock = _Clock()

    def start_train(epoch: int) -> None:
        clock.seconds = 0.0
        follower.epoch_begins(epoch)

    def end_train(epoch: int) -> None:
        clock.stop()
        follower.epoch_ends(epoch, clock.seconds)

    _before(counter, "start_train", lambda epoch, *_: start_train(epoch))
    _before(counter, "start_block", lambda *_: clock.start())
    _before(counter, "end_block", lambda *_: clock.stop())
    _before(counter, "end_train", lambda epoch, *_: end_train(epoch))
    _before(counter, "batch_processed", lambda epoch, step, *_: follower.step_done(epoch, step))


def _before(owner: Any, name: str, tell: Callable[..., None]) -> None:  # noqa: ANN401 - any class
    """Have `tell` called with a method's positional arguments before the method itself."""

    def make(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            tell(*args)
            return original(self, *args, **kwargs)

        return method

    wrap(owner, name, make)


def follow_generation(tell: Callable[[int, int], None]) -> None:
    """Have `tell(done, total)` called for every file that a generator of DLIO begins."""
    progress = importlib.import_module("dlio_benchmark.utils.utility")

    def make(original: Any) -> Any:  # noqa: ANN401 - a function of DLIO
        @functools.wraps(original)
        def reported(count: int, total: int, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            tell(count, total)
            return original(count, total, *args, **kwargs)

        return reported

    wrap(progress, "progress", make)
