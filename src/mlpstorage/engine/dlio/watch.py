"""Following a run of DLIO by its own statistics: StatsCounter is told of every epoch and step."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mlpstorage.engine.dlio.halt import Halt, Loops
from mlpstorage.engine.dlio.prepare import wrap

if TYPE_CHECKING:
    from collections.abc import Callable

_GENERATORS = "dlio_benchmark.data_generator."


class Follower(Protocol):
    """Who wants to know how far a run is, and may end it; epochs and steps count from 1."""

    def wants(self, epoch: int) -> bool:
        """Whether this epoch is to be done at all; all ranks must answer the same."""

    def epoch_begins(self, epoch: int) -> None:
        """DLIO is about to start its loader; it waits until this returns."""

    def step_done(self, epoch: int, step: int, noted: Noted) -> bool:
        """A step of this rank is done and timed, DLIO's barrier comes next.

        Whether it is the last one that is wanted; all ranks must answer the same.
        """

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

    def so_far(self) -> float:
        return self.seconds + (0.0 if self._began is None else time.time() - self._began)


@dataclass(frozen=True)
class Noted:
    """An epoch so far as DLIO notes it; worked out only when asked for. All in seconds."""

    _epoch: dict[str, Any]
    _clock: _Clock

    @property
    def load(self) -> list[float]:
        """Per step, the wait for its data; not to be changed."""
        return _steps(self._epoch.get("load", {}))

    @property
    def both(self) -> list[float]:
        """Per step, the wait and the computation; not to be changed."""
        return _steps(self._epoch.get("proc", {}))

    @property
    def seconds(self) -> float:
        """Since the first block began, without what lies between blocks."""
        return self._clock.so_far()


def _steps(blocks: dict[str, list[float]]) -> list[float]:
    """The steps of all blocks; there is one unless checkpoints divide the epoch."""
    if len(blocks) == 1:
        return next(iter(blocks.values()))
    return [seconds for steps in blocks.values() for seconds in steps]


def follow(follower: Follower) -> None:
    """Have DLIO's statistics tell the follower; importing them initialises MPI.

    Never in a worker process, which is no rank.
    """
    counter = importlib.import_module("dlio_benchmark.utils.statscounter").StatsCounter
    loops, clock = Loops(), _Clock()

    def start_train(epoch: int) -> None:
        if not follower.wants(epoch):
            raise Halt
        clock.seconds = 0.0
        follower.epoch_begins(epoch)

    def end_train(epoch: int) -> None:
        clock.stop()
        follower.epoch_ends(epoch, clock.seconds)

    def batch_processed(statistics: Any, epoch: int, step: int, *_: Any) -> None:  # noqa: ANN401 - DLIO's
        if follower.step_done(epoch, step, Noted(statistics.output.get(epoch, {}), clock)):
            loops.end_epoch_after(step)

    _before(counter, "start_train", lambda epoch, *_: start_train(epoch))
    _before(counter, "start_block", lambda *_: clock.start())
    _before(counter, "end_block", lambda *_: clock.stop())
    _before(counter, "end_train", lambda epoch, *_: end_train(epoch))
    _after(
        counter, "batch_processed", lambda own, epoch, step, *_: batch_processed(own, epoch, step)
    )


def _before(owner: Any, name: str, tell: Callable[..., None]) -> None:  # noqa: ANN401 - any class
    """Have `tell` called with a method's positional arguments before the method itself."""

    def make(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            tell(*args)
            return original(self, *args, **kwargs)

        return method

    wrap(owner, name, make)


def _after(owner: Any, name: str, tell: Callable[..., None]) -> None:  # noqa: ANN401 - any class
    """Have `tell` called with the object and a method's positional arguments after the method."""

    def make(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            result = original(self, *args, **kwargs)
            tell(self, *args)
            return result

        return method

    wrap(owner, name, make)


def follow_generation(stops_before: Callable[[], bool]) -> None:
    """Have `stops_before` called for every file that a generator of DLIO is about to make.

    Where it answers True, this rank makes neither that file nor any further one.
    """
    Loops()
    utility = importlib.import_module("dlio_benchmark.utils.utility")

    def make(original: Any) -> Any:  # noqa: ANN401 - a function of DLIO
        @functools.wraps(original)
        def reported(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            if stops_before():
                raise Halt
            return original(*args, **kwargs)

        return reported

    wrap(utility, "progress", make)
    # Generators have it by name, those already that were imported to be mended.
    for name, module in list(sys.modules.items()):
        if name.startswith(_GENERATORS) and hasattr(module, "progress"):
            wrap(module, "progress", lambda _: utility.progress)
