"""Ending DLIO's loops: on a small program with the parts of DLIO that are hooked into."""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.engine import stopping
from mlpstorage.engine.comm import PipeComm, SoloComm
from mlpstorage.engine.dlio.halt import asking_after_steps
from mlpstorage.engine.dlio.watch import follow, follow_generation
from mlpstorage.engine.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.dlio.watch import Noted

STEPS, EPOCHS, FILES = 8, 4, 6
# By the file below dlio_benchmark: what DLIO has there, as far as it is hooked into.
SOURCES = {
    "utils.statscounter": """
class StatsCounter:
    def __init__(self):
        self.output, self.ended = {}, 0
    def start_train(self, epoch):
        self.output[epoch] = {"load": {}, "proc": {}}
    def start_block(self, epoch, block):
        self.output[epoch]["load"][block], self.output[epoch]["proc"][block] = [], []
    def batch_processed(self, epoch, step, block, t0, computation_time):
        self.output[epoch]["load"][block].append(0.25)
        self.output[epoch]["proc"][block].append(1.0)
    def end_block(self, epoch, block, steps):
        assert len(self.output[epoch]["proc"][block]) == steps
    def end_train(self, epoch, steps):
        pass
    def end_run(self):
        self.ended += 1
""",
    "utils.utility": "progress = lambda count, total, status: None",
    "data_generator.one": f"""
from dlio_benchmark.utils.utility import progress
class Generator:
    def __init__(self):
        self.made = []
    def generate(self):
        for number in range({FILES}):
            progress(number + 1, {FILES}, "Generating")
            self.made.append(number)
""",
    "main": f"""
from dlio_benchmark.data_generator.one import Generator
from dlio_benchmark.utils.statscounter import StatsCounter
class DLIOBenchmark:
    def __init__(self, generates=False):
        self.stats = StatsCounter()
        self.data_generator = Generator() if generates else None
        self.total_training_steps = -1
        self.met = False
    def initialize(self):
        if self.data_generator:
            self.data_generator.generate()
        self.met = True  # by a barrier
    def _train(self, epoch):
        self.stats.start_block(epoch, 1)
        for step in range(1, {STEPS} + 1):
            self.stats.batch_processed(epoch, step, 1, 0.0, 0.0)
            if step == {STEPS} or step == self.total_training_steps:
                self.stats.end_block(epoch, 1, step)
                return step
    def run(self):
        for epoch in range(1, {EPOCHS} + 1):
            self.stats.start_train(epoch)
            self.stats.end_train(epoch, self._train(epoch))
        self.stats.end_run()
""",
}


@pytest.fixture
def dlio(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a class made here
    """The benchmark class of a DLIO that has nothing but its loops."""
    for name in ("", "utils", "data_generator"):
        whole = ".".join(filter(None, ("dlio_benchmark", name)))
        monkeypatch.setitem(sys.modules, whole, ModuleType(whole))
    for name, source in SOURCES.items():
        module = ModuleType(f"dlio_benchmark.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, vars(module))  # noqa: S102 - from above
    return vars(sys.modules["dlio_benchmark.main"])["DLIOBenchmark"]


class Stopper:
    """Wants the end after one step of one epoch, or no epoch from one on."""

    def __init__(self, epoch: int = EPOCHS + 1, step: int = 0, unwanted: int = EPOCHS + 1) -> None:
        self.at, self.unwanted = (epoch, step), unwanted
        self.seen: list[str] = []

    def wants(self, epoch: int) -> bool:
        """None once it is over."""
        return epoch < min(self.unwanted, self.at[0] + 1)

    def epoch_begins(self, epoch: int) -> None:
        """Note it."""
        self.seen.append(f"begins {epoch}")

    def step_done(self, epoch: int, step: int, noted: Noted) -> bool:
        """Whether it is the step."""
        assert len(noted.load) == len(noted.both) == step  # DLIO has noted it before we are told
        assert noted.seconds >= 0
        return (epoch, step) == self.at

    def epoch_ends(self, epoch: int, seconds: float) -> None:
        """Note it."""
        assert seconds >= 0
        self.seen.append(f"ends {epoch}")


def ran(dlio: Any, stopper: Stopper) -> Any:  # noqa: ANN401 - as the fixture
    """The benchmark after its run, which has summed up once."""
    follow(stopper)
    benchmark = dlio()
    benchmark.initialize()
    benchmark.run()
    assert benchmark.stats.ended == 1
    return benchmark


def test_a_run_that_nobody_stops_does_all_its_steps(dlio: Any) -> None:  # noqa: ANN401
    """Following alone changes nothing."""
    benchmark = ran(dlio, Stopper())
    assert [len(e["proc"][1]) for e in benchmark.stats.output.values()] == [STEPS] * EPOCHS


@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_an_epoch_ends_after_the_step(dlio: Any, step: int) -> None:  # noqa: ANN401
    """DLIO ends its block and epoch by itself, starts no further one, and sums up."""
    stopper = Stopper(2, step)
    benchmark = ran(dlio, stopper)
    assert [len(e["proc"][1]) for e in benchmark.stats.output.values()] == [STEPS, step]
    assert stopper.seen == ["begins 1", "ends 1", "begins 2", "ends 2"]


def test_an_epoch_that_is_not_wanted_does_not_begin(dlio: Any) -> None:  # noqa: ANN401
    """The run ends between epochs, before caches are dropped and DLIO notes anything."""
    stopper = Stopper(unwanted=3)
    benchmark = ran(dlio, stopper)
    assert list(benchmark.stats.output) == [1, 2]
    assert stopper.seen[-1] == "ends 2"


@pytest.mark.parametrize("before", [0, 4])
def test_a_generation_stops_before_a_file(dlio: Any, before: int) -> None:  # noqa: ANN401
    """Files that were begun are finished, no other is, and the rank meets the others."""
    begun: list[int] = []

    def stops() -> bool:
        if len(begun) == before:
            return True
        begun.append(1)
        return False

    follow_generation(stops)
    benchmark = dlio(generates=True)
    benchmark.initialize()
    assert benchmark.data_generator.made == list(range(before))
    assert benchmark.met


class Counting(SoloComm):
    """A rank alone that counts how it meets the others."""

    def __init__(self, wish: Callable[[], bool]) -> None:
        super().__init__()
        self.consulted = 0
        self.stopping = Stopping(self, wish)

    def barrier(self) -> None:
        """There is one in DLIO."""
        pytest.fail("one barrier after a step is enough")

    def consult(self, word: int) -> int:
        """Count."""
        self.consulted += 1
        return word


def test_steps_are_asked_about_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 s of steps of 5 ms, some thirty ask, and no barrier is added to DLIO's."""
    now, wish = [0.0], [False]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    comm = Counting(lambda: wish[0])
    is_over = asking_after_steps(comm)
    for _ in range(4000):
        now[0] += 0.005
        assert not is_over()
    assert 15 <= comm.consulted <= 35
    assert not comm.stopping.stopped
    wish[0] = True
    steps = 1
    while not is_over():
        now[0] += 0.005
        steps += 1
    assert steps <= 600
    assert comm.stopping.stopped
    asked = comm.consulted
    assert is_over()
    assert comm.consulted == asked  # nothing is left to ask


def test_ranks_end_after_the_same_step() -> None:
    """Two ranks that hear of it at different times do the same steps; one alone stops none."""
    up, down = os.pipe(), os.pipe()
    ranks = PipeComm(0, 2, [(up[0], down[1])]), PipeComm(1, 2, [(down[0], up[1])])
    wish = [threading.Event(), threading.Event()]
    counts = [0, 0]

    def work(number: int) -> None:
        comm = ranks[number]
        comm.stopping = Stopping(comm, wish[number].is_set)
        is_over = asking_after_steps(comm)
        while not is_over() and counts[number] < 1_000_000:
            counts[number] += 1
            if counts[number] == 50:
                wish[1].set()  # heard there first, and not followed
            if counts[number] == 200:
                wish[0].set()
            comm.barrier()  # DLIO's own

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counts[0] == counts[1] >= 200
    assert ranks[0].stopping.stopped
    assert ranks[1].stopping.stopped
