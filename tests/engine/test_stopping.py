"""How ranks agree to stop, and how seldom they ask."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from mlpstorage.engine import stopping
from mlpstorage.engine.comm import PipeComm, SoloComm
from mlpstorage.engine.stopping import STOP_SIGNAL, Stopping, signalled_wish
from mlpstorage.launch import guard

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Counting(SoloComm):
    """A rank alone that counts how it meets the others."""

    def __init__(self) -> None:
        super().__init__()
        self.barriers = self.consulted = 0

    def barrier(self) -> None:
        """Count."""
        self.barriers += 1

    def consult(self, word: int) -> int:
        """Count."""
        self.consulted += 1
        return word


def pair() -> tuple[PipeComm, PipeComm]:
    """Two ranks tied by pipes, in this process."""
    up, down = os.pipe(), os.pipe()
    return PipeComm(0, 2, [(up[0], down[1])]), PipeComm(1, 2, [(down[0], up[1])])


def both(first: Callable[[], object], second: Callable[[], object]) -> list[object]:
    """What two ranks get when they call at the same time."""
    found: list[object] = [None, None]

    def call(index: int, what: Callable[[], object]) -> None:
        found[index] = what()

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return found


def test_the_word_of_rank_0_reaches_the_others() -> None:
    """Consulting is a barrier that brings rank 0's number, whatever the others pass."""
    zero, one = pair()
    for word in (0, 1, 77, (1 << 31) - 1):
        assert both(lambda word=word: zero.consult(word), lambda: one.consult(5)) == [word, word]  # type: ignore[misc]


def test_all_stop_after_the_same_step_whoever_is_told_first() -> None:
    """Only rank 0's wish counts; the other rank's earlier word alone stops nobody."""
    zero, one = pair()
    wish = [False, True]
    first, second = Stopping(zero, lambda: wish[0]), Stopping(one, lambda: wish[1])
    assert both(first.agreed, second.agreed) == [False, False]
    wish[0] = True
    assert both(first.agreed, second.agreed) == [True, True]
    assert first.stopped
    assert second.stopped


def test_fast_steps_ask_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 s of steps of 5 ms, some thirty ask; the others are plain barriers."""
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    comm = Counting()
    ranks = Stopping(comm)
    for _ in range(4000):
        now[0] += 0.005
        assert not ranks.step_done()
    assert comm.barriers + comm.consulted == 4000
    assert 15 <= comm.consulted <= 35


def test_slow_steps_ask_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step takes seconds, none is begun after the wish."""
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    wish = [False]
    ranks = Stopping(Counting(), lambda: wish[0])
    for _ in range(5):
        now[0] += 3.0
        assert not ranks.step_done()
    wish[0] = True
    assert ranks.step_done()


def test_the_signal_is_a_wish() -> None:
    """A process that listens is not ended by the launcher's signal, and knows of it."""
    before = signal.getsignal(STOP_SIGNAL)
    try:
        wish = signalled_wish()
        assert not wish()
        os.kill(os.getpid(), STOP_SIGNAL)
        assert wish()
    finally:
        signal.signal(STOP_SIGNAL, before)


def test_guard_and_rank_mean_the_same_signal() -> None:
    """The two rooms may not import each other; their constants are one."""
    assert STOP_SIGNAL == guard.STOP_SIGNAL
