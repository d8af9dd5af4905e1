from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
    TimeLimitError,
)
from mlpstorage.core.events import Progress, RankFailed, RankStarted
from mlpstorage.launch.local import LocalLauncher

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Controller, Recorder
    from mlpstorage.core.events import Event, RankResult
    from mlpstorage.launch import RankJob

    Job = Callable[..., RankJob]
    Alive = Callable[..., list[int]]

HOST = os.uname().nodename


def test_results_come_ordered_by_rank(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """Each rank knows its place and the launcher returns the results in the order of ranks."""
    results = LocalLauncher().run(job("who", 3, word="hi"), recorder)
    assert [result.rank for result in results] == [0, 1, 2]
    assert [result.data["local"] for result in results] == [[0, 3], [1, 3], [2, 3]]
    assert results[0].data["gathered"] == [{"rank": rank, "word": "hi"} for rank in range(3)]
    assert results[2].data["gathered"] is None
    assert {event.rank for event in recorder.of(Progress)} == {0, 1, 2}
    assert still_alive(recorder.pids) == []


def test_single_rank(job: Job, recorder: Recorder) -> None:
    """A run of one rank needs no pipes and gathers from itself."""
    (result,) = LocalLauncher().run(job("who", 1, word="solo"), recorder)
    assert result.data["gathered"] == [{"rank": 0, "word": "solo"}]


def test_no_rank_leaves_a_barrier_early(job: Job, recorder: Recorder) -> None:
    """No process leaves barrier k before every process has reached it."""
    results = LocalLauncher().run(job("staggered", 5, turns=150), recorder)
    for turn in range(150):
        last_came = max(result.data["came"][turn] for result in results)
        first_left = min(result.data["left"][turn] for result in results)
        assert first_left >= last_came


def test_junk_and_big_results(job: Job, recorder: Recorder) -> None:
    """Results of 5 MB arrive whole although the worker litters its standard output."""
    task = job("junk_and_big", 3, bytes=5_000_000)
    results = LocalLauncher().run(task, recorder)
    assert [len(result.data["payload"]) for result in results] == [5_000_000] * 3
    log = (task.run_dir / "ranks" / "01.log").read_text()
    assert "a banner of some library" in log
    assert "from a child process" in log


@pytest.mark.parametrize("others", ["wait", "sleep"])
def test_killed_rank_is_named(
    job: Job, recorder: Recorder, still_alive: Alive, others: str
) -> None:
    """A rank killed by SIGKILL is named with its host and log, and the others are ended."""
    began = time.monotonic()
    with pytest.raises(BenchmarkError) as caught:
        LocalLauncher().run(job("suicide", 4, who=2, others=others), recorder)
    assert time.monotonic() - began < 10  # the promise to the user
    assert caught.value.what == f"rank 2 on host {HOST}: killed by SIGKILL"
    assert "02.log" in caught.value.why
    assert [event.rank for event in recorder.of(RankFailed) if event.exit_code == 6] == [2]
    assert len(recorder.pids) == 4
    assert still_alive(recorder.pids) == []


def test_death_of_rank_0_is_named(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """The death of rank 0, to which all others are tied, is told as such."""
    with pytest.raises(BenchmarkError, match=r"rank 0 on host .*: killed by SIGKILL"):
        LocalLauncher().run(job("suicide", 3, who=0, others="wait"), recorder)
    assert still_alive(recorder.pids) == []


def test_exception_is_told_with_its_traceback(job: Job, recorder: Recorder) -> None:
    """An exception in a worker is told in one line, with the end of its traceback and the log."""
    with pytest.raises(BenchmarkError) as caught:
        LocalLauncher().run(job("failing", 3, who=1), recorder)
    assert caught.value.what == f"rank 1 on host {HOST}: ValueError: a surprise"
    assert "in failing" in caught.value.why
    assert "01.log" in caught.value.why


def test_known_error_keeps_its_class(job: Job, recorder: Recorder) -> None:
    """An error that says what, why and fix keeps them, and its exit code, on its way out."""
    with pytest.raises(AccessError) as caught:
        LocalLauncher().run(job("failing", 3, who=2, known=True), recorder)
    assert caught.value.what == f"rank 2 on host {HOST}: cannot write here"
    assert caught.value.why.startswith("it is read-only")
    assert caught.value.fix == "remount it"


@pytest.mark.parametrize(
    ("code", "told"), [(0, "exited with code 0 but without a result"), (4, "exited with code 4")]
)
def test_silent_exit_is_a_failure(job: Job, recorder: Recorder, code: int, told: str) -> None:
    """A rank that ends without a result has failed, whatever its exit code; its log is quoted."""
    with pytest.raises(BenchmarkError) as caught:
        LocalLauncher().run(job("leaves", 3, who=1, code=code), recorder)
    assert caught.value.what == f"rank 1 on host {HOST}: {told}"
    assert caught.value.exit_code == 6
    assert "last words" in caught.value.why


def test_sys_exit_is_a_failure(job: Job, recorder: Recorder) -> None:
    """A worker that calls sys.exit(0) has not succeeded."""
    with pytest.raises(BenchmarkError, match=r"rank 0 on host .*: SystemExit: 0"):
        LocalLauncher().run(job("exits", 1), recorder)


def test_skipped_barrier_does_not_hang(job: Job, recorder: Recorder) -> None:
    """A rank that makes fewer collective calls than the others fails the run instead of it."""
    with pytest.raises(BenchmarkError, match="rank 1 ended before rank 0 met it"):
        LocalLauncher().run(job("skips_barrier", 3), recorder)


def test_result_that_is_no_json(job: Job, recorder: Recorder) -> None:
    """A result that JSON cannot say is the failure of the rank that returned it."""
    with pytest.raises(BenchmarkError, match=r"rank 1 on host .*: TypeError: .* not JSON"):
        LocalLauncher().run(job("not_json", 2), recorder)


def test_missing_worker(job: Job, recorder: Recorder) -> None:
    """A worker that does not exist is told by name."""
    with pytest.raises(BenchmarkError, match="no attribute 'nonsense'"):
        LocalLauncher().run(job("nonsense", 2), recorder)


def test_time_limit(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """The time limit ends ranks and what they started, even those that ignore SIGTERM."""
    launcher = LocalLauncher(time_limit_seconds=1.0, grace_seconds=0.3)
    with pytest.raises(TimeLimitError):
        launcher.run(job("stubborn", 2), recorder)
    assert len(recorder.pids) == 2
    assert still_alive(recorder.pids) == []


def test_interrupt_in_the_callback(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """KeyboardInterrupt out of the callback ends the ranks and becomes InterruptedRunError."""

    def impatient(event: Event) -> None:
        recorder(event)
        if len(recorder.of(RankStarted)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        LocalLauncher().run(job("sleeps", 2), impatient)
    assert still_alive(recorder.pids) == []


def test_failing_callback_leaves_nothing(job: Job, recorder: Recorder, still_alive: Alive) -> None:
    """Any exception out of the callback ends the ranks and comes through."""

    def broken(event: Event) -> None:
        recorder(event)
        raise RuntimeError("display")

    with pytest.raises(RuntimeError, match="display"):
        LocalLauncher().run(job("sleeps", 2), broken)
    assert still_alive(recorder.pids) == []


def test_runs_outside_the_main_thread(job: Job, recorder: Recorder) -> None:
    """A launcher works in a thread, where signal handlers cannot be set."""
    results: list[RankResult] = []
    task = job("who", 2)
    thread = threading.Thread(target=lambda: results.extend(LocalLauncher().run(task, recorder)))
    thread.start()
    thread.join(30)
    assert [result.rank for result in results] == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signalled_controller(
    controller: Callable[[str, int], Controller], still_alive: Alive, number: signal.Signals
) -> None:
    """A controller that is told to end ends its ranks and their children, and says interrupted."""
    lone = controller("local", 3)
    code, said = lone.end(number)
    assert (code, said) == (0, "error InterruptedRunError\n")
    assert still_alive(lone.pids, 0.5) == []


def test_killed_controller(controller: Callable[[str, int], Controller]) -> None:
    """Ranks die with a controller that was killed by SIGKILL."""
    lone = controller("local", 3)
    lone.end(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in lone.pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [pid for pid in lone.pids if _runs(pid)]
    for pid in lone.pids:  # the children that the ranks forked: the kernel's tie is not inherited
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    assert left == []


def test_too_many_files_is_told_before_the_start(
    job: Job, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of open files that is too low for the ranks is told before any rank starts."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(ConfigurationError, match="may open 64 files"):
        LocalLauncher().run(job("who", 3), recorder)
    assert recorder.events == []


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - may vanish while it is read
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
