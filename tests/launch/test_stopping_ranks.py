"""Interrupts: first the ranks stop in order, then they are ended, then nobody waits for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpstorage.launch import RankJob

    Job = Callable[..., RankJob]
    Alive = Callable[..., list[int]]
    Start = Callable[..., "Running"]

HERE = Path(__file__).parent


class Running:
    """A controller whose ranks have begun to work."""

    def __init__(self, argv: list[str], ranks: int) -> None:
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self._lines = self.process.stdout
        self.events: list[dict[str, Any]] = []
        while len(self.of("rank_started")) < ranks or not self.of("progress"):
            self._next()
        self.pids = [event["pid"] for event in self.of("rank_started")]

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, f"the controller has ended: {self.events}"
        self.events.append(json.loads(line))
        return self.events[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        return [event for event in self.events if event["type"] == kind]

    def press(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def until(self, kind: str) -> dict[str, Any]:
        """Read on to the next event of a kind."""
        event = self._next()
        while event["type"] != kind:
            event = self._next()
        return event

    def end(self) -> dict[str, Any]:
        """How it ended."""
        found = self.until("end")
        self._lines.close()
        assert self.process.wait(20) == 0
        return found


@pytest.fixture
def start(job: Job) -> Iterator[Start]:
    """Start a controller: the way, the worker, how many ranks, and the worker's argument."""
    running: list[Running] = []

    def begin(
        way: str,
        worker: str,
        size: int,
        *,
        stops_after: str = "step",
        grace: float = 1.0,
        **argument: object,
    ) -> Running:
        task = job(worker, size)
        words = [way, str(task.run_dir), task.worker, str(size), stops_after, str(grace)]
        script = str(HERE / "stoppable_controller.py")
        running.append(Running([sys.executable, script, *words, json.dumps(argument)], size))
        return running[-1]

    yield begin
    for one in running:
        one.process.kill()
        one.process.wait()


@pytest.fixture(params=["local", "mpi"])
def way(request: pytest.FixtureRequest) -> str:
    """Local ranks, and the same under mpirun."""
    if request.param == "mpi":
        request.getfixturevalue("mpirun")
    return str(request.param)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ranks_in_step_stop_after_the_same_step(
    start: Start, still_alive: Alive, way: str, number: signal.Signals
) -> None:
    """One interrupt: every rank gives its result, and all did the same number of steps."""
    running = start(way, "steps", 4, steps=10_000, seconds=0.01)
    running.press(number)
    told = running.until("interruption")
    assert (told["signal"], told["level"]) == (number.name, 1)
    assert told["text"].startswith("finishing the step; interrupt again")
    results = running.end()["results"]
    assert [stopped for _, stopped in results] == [True] * 4
    (done,) = {data["done"] for data, _ in results}
    assert 1 <= done < 10_000
    assert still_alive(running.pids) == []


def test_ranks_that_work_alone_hear_it_too(start: Start, way: str) -> None:
    """Ranks without a barrier stop as well, even when rank 0 has done its share long before."""
    running = start(way, "alone", 3, steps=3000, seconds=0.01)
    time.sleep(4.5)  # rank 0 needs three seconds
    running.press()
    first, *others = running.end()["results"]
    assert first == [{"done": 300}, False]
    for data, stopped in others:
        assert stopped
        assert data["done"] < 3000


def test_a_wish_after_the_last_step_changes_nothing(start: Start, way: str) -> None:
    """Ranks that have nothing left to do are complete, not stopped."""
    running = start(way, "last_step", 2, seconds=1.0)
    running.press()
    assert running.end()["results"] == [[{"done": 1}, False]] * 2


def test_a_second_interrupt_ends_the_ranks(start: Start, still_alive: Alive, way: str) -> None:
    """A step is not waited for when the user presses again."""
    running = start(way, "steps", 3, steps=10, seconds=30, first=0.0)
    running.press()
    assert running.until("interruption")["level"] == 1
    running.press()
    assert running.until("interruption")["level"] == 2
    assert running.end()["error"] == "InterruptedRunError"
    assert still_alive(running.pids) == []


def test_a_worker_that_cannot_stop_is_ended_at_the_first(
    start: Start, still_alive: Alive, way: str
) -> None:
    """Where a worker never asks, one interrupt ends the ranks at once."""
    running = start(way, "steps", 2, stops_after="", steps=10_000, seconds=0.01)
    running.press()
    assert running.until("interruption")["level"] == 2
    end = running.end()
    assert (end["error"], end["what"]) == (
        "InterruptedRunError",
        "the run was interrupted by SIGINT",
    )
    assert still_alive(running.pids) == []


def test_a_third_interrupt_does_not_wait(start: Start, still_alive: Alive) -> None:
    """Ranks that ignore SIGTERM are not waited for: what may be left is said, by process."""
    running = start("local", "deaf", 2, grace=60.0)
    began = time.monotonic()
    for level in (1, 2):
        running.press()
        assert running.until("interruption")["level"] == level
    running.press()
    end = running.end()
    assert time.monotonic() - began < 30  # not the 60 s that ranks have to end
    assert end["what"] == "left without waiting for the ranks to end"
    assert all(str(pid) in end["why"] for pid in running.pids)
    assert still_alive(running.pids) == []  # the kernel kills them when their launcher ends


def test_a_third_interrupt_while_the_second_is_told_does_not_wait(job: Job) -> None:
    """The user may press again before the launcher has begun to end the ranks."""
    task = job("deaf", 2)
    code = (
        "import signal, sys, stoppable_controller as c; show = c.show\n"
        "def press_at_the_second(event):\n"
        "    show(event)\n"
        "    if event.as_dict().get('level') == 2: signal.raise_signal(signal.SIGINT)\n"
        "c.show = press_at_the_second\n"
        "c.main(sys.argv[1:])"
    )
    words = ["local", str(task.run_dir), task.worker, "2", "", "60", "{}"]
    running = Running([sys.executable, "-c", code, *words], 2)
    began = time.monotonic()
    running.press()
    assert running.end()["what"] == "left without waiting for the ranks to end"
    assert time.monotonic() - began < 30


def test_an_ignored_hangup_stays_ignored(job: Job, still_alive: Alive) -> None:
    """Under nohup a closed terminal does nothing; Ctrl-C still does."""
    task = job("steps", 2)
    words = ["local", str(task.run_dir), task.worker, "2", "step", "1"]
    code = (
        "import signal, sys, stoppable_controller as c; real = signal.signal\n"
        "real(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal.signal = lambda n, h: None if n == signal.SIGHUP else real(n, h)\n"
        "c.main(sys.argv[1:])"
    )
    argument = json.dumps({"steps": 10_000, "seconds": 0.01})
    running = Running([sys.executable, "-c", code, *words, argument], 2)
    running.press(signal.SIGHUP)
    time.sleep(1.0)
    assert running.process.poll() is None
    running.press(signal.SIGINT)
    told = running.until("interruption")
    assert told["signal"] == "SIGINT"
    assert len(running.end()["results"]) == 2
    assert still_alive(running.pids) == []
