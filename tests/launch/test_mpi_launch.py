from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import AccessError, BenchmarkError, ConfigurationError, TimeLimitError
from mlpstorage.core.events import Progress, RankFailed
from mlpstorage.launch import wire
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.mpi import MpiLauncher, ask_dialect, find_launcher, plan_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Controller, Recorder
    from mlpstorage.core.events import Event, RankResult
    from mlpstorage.launch import RankJob

    Job = Callable[..., RankJob]
    Alive = Callable[..., list[int]]

pytestmark = pytest.mark.mpi

HOST = os.uname().nodename
OPTIONS = MpiOptions(oversubscribe=True, allow_run_as_root=os.geteuid() == 0)


@pytest.fixture(autouse=True)
def _mpi_or_skip() -> None:
    missing = "mpirun" if shutil.which("mpirun") is None else ""
    missing = missing or ("mpi4py" if importlib.util.find_spec("mpi4py") is None else "")
    if not missing:
        return
    if os.environ.get("CI"):
        pytest.fail(f"there is no {missing}, which CI must have")
    pytest.skip(f"there is no {missing}")


def launch(task: RankJob, on_event: Recorder, **limits: float) -> list[RankResult]:
    """Launch on this host."""
    return MpiLauncher([Host("localhost")], OPTIONS, **limits).run(task, on_event)


def test_results_come_ordered_by_rank(
    job: Job, recorder: Recorder, still_alive: Alive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks know their places, get our environment, and only rank 0's progress is told."""
    monkeypatch.setenv("MLPSTORAGE_TEST_VARIABLE", "two words, and = signs")
    results = launch(job("who", 4, word="hi"), recorder)
    assert [result.rank for result in results] == [0, 1, 2, 3]
    assert [result.data["local"] for result in results] == [[rank, 4] for rank in range(4)]
    assert results[0].data["gathered"] == [{"rank": rank, "word": "hi"} for rank in range(4)]
    assert {result.data["variable"] for result in results} == {"two words, and = signs"}
    assert [event.rank for event in recorder.of(Progress)] == [0]
    assert len(recorder.pids) == 4
    assert still_alive(recorder.pids) == []


def test_no_rank_leaves_a_barrier_early(job: Job, recorder: Recorder) -> None:
    """No process leaves barrier k before every process has reached it."""
    results = launch(job("staggered", 3, turns=100), recorder)
    for turn in range(100):
        last_came = max(result.data["came"][turn] for result in results)
        assert min(result.data["left"][turn] for result in results) >= last_came


def test_junk_and_big_results(job: Job, recorder: Recorder) -> None:
    """Results of 5 MB arrive whole although the workers litter their standard output."""
    task = job("junk_and_big", 2, bytes=5_000_000)
    results = launch(task, recorder)
    assert [len(result.data["payload"]) for result in results] == [5_000_000] * 2
    assert "from a child process" in (task.run_dir / "ranks" / "mpirun.log").read_text()


def test_killed_rank_is_named(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """A rank killed by SIGKILL is named with its host, and no process is left."""
    began = time.monotonic()
    with pytest.raises(BenchmarkError) as caught:
        launch(job("suicide", 3, who=2, others="wait"), recorder)
    assert time.monotonic() - began < 10  # the promise to the user
    if ask_dialect(find_launcher("mpirun")).family.is_open_mpi:
        assert caught.value.what == f"rank 2 on host {HOST}: killed by SIGKILL"
        assert [event.rank for event in recorder.of(RankFailed)] == [2]
    else:  # Hydra may name one of those that it kills itself
        assert f"on host {HOST}: killed by SIGKILL, or another rank" in caught.value.what
    assert still_alive(recorder.pids) == []


def test_exception_ends_all_ranks(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """A known error of one rank keeps its class and text, and ends the ranks that wait for it."""
    with pytest.raises(AccessError) as caught:
        launch(job("failing", 3, who=1, known=True), recorder)
    assert caught.value.what == f"rank 1 on host {HOST}: cannot write here"
    assert caught.value.fix == "remount it"
    assert still_alive(recorder.pids) == []


def test_silent_exit_is_a_failure(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """A rank that ends without a word fails the run."""
    with pytest.raises(BenchmarkError):
        launch(job("leaves", 2, who=1, code=0), recorder)
    assert still_alive(recorder.pids) == []


def test_time_limit(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """The time limit ends the launcher and its ranks."""
    with pytest.raises(TimeLimitError):
        launch(job("sleeps", 2), recorder, time_limit_seconds=2.0, grace_seconds=3.0)
    assert still_alive(recorder.pids) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_controller(
    controller: Callable[[str, int], Controller], still_alive: Alive, number: signal.Signals
) -> None:
    """Neither an interrupted nor a killed controller leaves ranks behind."""
    lone = controller("mpi", 2)
    _, said = lone.end(number)
    assert said == ("error InterruptedRunError\n" if number == signal.SIGTERM else "")
    assert still_alive(lone.pids) == []


def test_killed_launcher_leaves_no_ranks(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """Ranks that never communicate end, with their children, when mpirun is killed."""

    def killer(event: Event) -> None:
        recorder(event)
        if len(recorder.pids) == 2:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for pid in map(int, children):
                if "-n" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(BenchmarkError, match="mpirun was killed by SIGKILL"):
        MpiLauncher([Host("localhost")], OPTIONS).run(job("sleeps", 2), killer)
    assert still_alive(recorder.pids) == []


def test_world_of_another_size(job: Job) -> None:
    """Ranks whose MPI world is smaller than the job refuse to work, and say what to do."""
    command = plan_command(OPTIONS, [Host("localhost")], 1, os.environ)
    spec = wire.RankSpec.of(job("who", 2), "mpi").encode()
    done = subprocess.run(command, input=spec, capture_output=True, timeout=60, check=False)
    events = [event for event in map(wire.decode_event, done.stdout.splitlines()) if event]
    assert done.returncode == ConfigurationError.exit_code
    (failed,) = events
    assert isinstance(failed, RankFailed)
    assert failed.what == f"MPI shows a world of 1 rank on {HOST}, but the launcher started 2"
    assert "--mpi-bin" in failed.fix


def test_refused_launch_is_a_configuration_error(job: Job, recorder: Recorder) -> None:
    """A launcher that refuses its command line is quoted, as an error of configuration."""
    options = MpiOptions(
        allow_run_as_root=OPTIONS.allow_run_as_root, params=("--no-such-option-here",)
    )
    with pytest.raises(ConfigurationError, match="before any rank had started") as caught:
        MpiLauncher([Host("localhost")], options).run(job("who", 1), recorder)
    assert "mpirun.log" in caught.value.why
