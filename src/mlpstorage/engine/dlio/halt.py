"""Ending what DLIO does before its end, in order: after a step, before an epoch, before a file.

DLIO looks after every step whether that was the last one it wants, and so ends an epoch by itself,
with all that belongs to it. Its loops over epochs and over files have no such question: they are
left by an exception that goes no further than the call that began the loop. What follows there is
done as ever, so that the ranks meet at the same barriers and DLIO writes its files.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from mlpstorage.engine.dlio.prepare import wrap
from mlpstorage.engine.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.comm import Comm


class Halt(BaseException):
    """Leaves a loop of DLIO; no Exception, so that nothing inside that loop catches it."""


class Loops:
    """The loops of DLIO's benchmark in this process, which can be ended from now on."""

    def __init__(self) -> None:
        self._benchmark: Any = None
        benchmark = importlib.import_module("dlio_benchmark.main").DLIOBenchmark
        wrap(benchmark, "initialize", self._initialize)
        wrap(benchmark, "run", _run)

    def end_epoch_after(self, step: int) -> None:
        """Have the epoch end after this very step (from 1), which DLIO is still at."""
        self._benchmark.total_training_steps = step

    def _initialize(self, original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def initialize(benchmark: Any) -> Any:  # noqa: ANN401 - as the original
            self._benchmark = benchmark
            if benchmark.data_generator is not None:
                wrap(benchmark.data_generator, "generate", _generate)
            return original(benchmark)

        return initialize


def _run(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
    @functools.wraps(original)
    def run(benchmark: Any) -> None:  # noqa: ANN401 - DLIO's
        try:
            original(benchmark)
        except Halt:
            benchmark.stats.end_run()  # what stands after the loop

    return run


def _generate(original: Any) -> Any:  # noqa: ANN401 - a method of a generator of DLIO
    @functools.wraps(original)
    def generate() -> None:
        try:
            original()
        except Halt:
            return  # and meet the other ranks, some of which may have all their files

    return generate


class _MeetsAnyway:
    """What `Stopping` needs of a Comm where the ranks have a barrier of their own each time."""

    def __init__(self, comm: Comm) -> None:
        self.consult = comm.consult

    def barrier(self) -> None:
        """Left to DLIO, which has one after every step."""


def asking_after_steps(comm: Comm) -> Callable[[], bool]:
    """What every rank is to call after each step: whether the user wants no further one.

    The answer is the same on all ranks. About once a second they meet for it, right before they
    would meet in DLIO's barrier, outside of what DLIO times as a step; otherwise nothing is done.
    """
    own = comm.stopping
    meeting = Stopping(
        _MeetsAnyway(comm),  # type: ignore[arg-type]  # all that it uses between steps
        lambda: comm.rank == 0 and own.heard(),
    )

    def is_over() -> bool:
        own.stopped = own.stopped or meeting.step_done()
        return own.stopped

    return is_over
