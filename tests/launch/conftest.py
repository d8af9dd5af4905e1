"""What the tests of launchers share: jobs of test workers, and a look at processes by pid."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.events import RankStarted
from mlpstorage.launch import RankJob

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from mlpstorage.core.events import Event

_HERE = Path(__file__).parent


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RankJob]:
    """Make a job of one of the test workers, which ranks can import."""
    path = os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)

    def make(worker: str, size: int, **argument: object) -> RankJob:
        return RankJob(f"rank_workers:{worker}", argument, size, tmp_path / "run")

    return make


class Recorder:
    """Keeps events, and knows the processes of the ranks."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one class."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def pids(self) -> list[int]:
        """The processes of the ranks that have started."""
        return [event.pid for event in self.of(RankStarted)]


@pytest.fixture
def recorder() -> Recorder:
    """A keeper of events."""
    return Recorder()


@pytest.fixture
def still_alive() -> Callable[..., list[int]]:
    """Which of some processes, or of a session's, still live after a wait of a few seconds."""
    return alive_after


def alive_after(pids: Iterable[int], seconds: float = 5.0) -> list[int]:
    """The processes of which something still runs when the time is over."""
    deadline = time.monotonic() + seconds
    left = [pid for pid in pids if _alive(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if _alive(pid)]
    return left


def _alive(pid: int) -> bool:
    """Whether the process or a member of its group runs (a zombie does not)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if after_name[0] != "Z" and pid in (int(stat.parent.name), int(after_name[2])):
                return True
    return False


class Controller:
    """A controller in a process of its own, whose ranks sleep."""

    def __init__(self, way: str, run_dir: Path, size: int) -> None:
        words = [way, str(run_dir), "rank_workers:sleeps", str(size)]
        self.process = subprocess.Popen(
            [sys.executable, str(_HERE / "lone_controller.py"), *words],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._lines = self.process.stdout
        self.pids = [int(self._lines.readline().split()[1]) for _ in range(size)]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Signal it; its exit code and what it still said."""
        self.process.send_signal(number)
        said = self._lines.read()
        self._lines.close()
        return self.process.wait(20), said


@pytest.fixture
def controller(job: Callable[..., RankJob]) -> Callable[[str, int], Controller]:
    """Start a controller, `local` or `mpi`, of so many ranks, and wait until all have started."""

    def start(way: str, size: int) -> Controller:
        return Controller(way, job("sleeps", size).run_dir, size)

    return start
