"""A launcher without processes: the ranks are threads of this one, so a whole run takes no time.

What the worker does is real; only the starting of ranks is not. Results and events still pass
through JSON, so that what cannot be said there fails here as well.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from mlpstorage.core.errors import BenchmarkError, InterruptedRunError, MlpstorageError
from mlpstorage.core.events import RankFailed, RankResult, RankStarted
from mlpstorage.launch import wire
from mlpstorage.launch.failures import error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.launch import RankJob


class _NeverStops:
    """What `engine.stopping` is to a real rank; nobody can wish a thread to stop."""

    stopped = False

    def __init__(self, comm: ThreadComm) -> None:
        self._comm = comm

    def step_done(self) -> bool:
        """The barrier after a step."""
        self._comm.barrier()
        return False

    def agreed(self) -> bool:
        """Go on."""
        return False

    def heard(self) -> bool:
        """Go on."""
        return False


class ThreadComm:
    """A rank's view of the others when all are threads; the ranks of a run share a `Meeting`."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank = self.local_rank = rank
        self.size = self.local_size = meeting.size
        self.host = os.uname().nodename
        self.stopping = _NeverStops(self)
        self._meeting = meeting

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self._meeting.point.wait()

    def gather(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever JSON can say
        """On rank 0 every rank's value, ordered by rank; None on the others."""
        self._meeting.values[self.rank] = json.loads(json.dumps(value))
        self.barrier()
        values = list(self._meeting.values) if self.rank == 0 else None
        self.barrier()
        return values

    def abort(self, code: int) -> NoReturn:
        """End this rank; the others find the meeting broken."""
        self._meeting.point.abort()
        sys.exit(code)


class Meeting:
    """Where the threads of a run meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.point = threading.Barrier(size)
        self.values: list[Any] = [None] * size


class FakeLauncher:
    """Runs each rank of a job in a thread of this process, a single one in the calling thread."""

    def run(self, job: RankJob, on_event: Callable[[Event], None]) -> list[RankResult]:
        """See `mlpstorage.launch.Launcher.run`."""
        run = _FakeRun(job, on_event)
        try:
            if job.size == 1:
                run.rank(0)
            else:
                with ThreadPoolExecutor(job.size) as pool:
                    list(pool.map(run.rank, range(job.size)))
        except KeyboardInterrupt as error:
            raise InterruptedRunError("the run was interrupted") from error
        if run.failed is not None:
            raise error_of(run.failed)
        return [run.results[rank] for rank in range(job.size)]


class _FakeRun:
    """One run: the ranks' meeting and the first failure."""

    def __init__(self, job: RankJob, on_event: Callable[[Event], None]) -> None:
        self.failed: RankFailed | None = None
        self.results: dict[int, RankResult] = {}
        self._job = job
        self._on_event = on_event
        self._lock = threading.Lock()
        self._meeting = Meeting(job.size)

    def rank(self, rank: int) -> None:
        """Run one rank, and keep its result or failure."""
        comm = ThreadComm(rank, self._meeting)
        try:
            self._emit(RankStarted(rank, comm.host, os.getpid()))
            module, _, function = self._job.worker.partition(":")
            worker = getattr(importlib.import_module(module), function)
            argument = json.loads(json.dumps(self._job.argument))
            result = RankResult(rank, comm.host, worker(argument, comm, self._emit))
            self._emit(result)
        except threading.BrokenBarrierError:
            return  # another rank failed, and tells why
        except (Exception, SystemExit) as error:  # noqa: BLE001 - becomes the rank's failure
            self._fail(rank, comm.host, error)

    def _emit(self, event: Event) -> None:
        passed = wire.decode_event(wire.encode_event(event))
        if passed is not None:
            with self._lock:
                self._on_event(passed)
                if isinstance(passed, RankResult):
                    self.results[passed.rank] = passed

    def _fail(self, rank: int, host: str, error: BaseException) -> None:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        if isinstance(error, MlpstorageError):
            known = (error.what, error.why, error.fix)
            event = RankFailed(rank, host, *known, text, error.exit_code)
        else:
            what = f"{type(error).__name__}: {error}"
            event = RankFailed(rank, host, what, "", "", text, BenchmarkError.exit_code)
        with self._lock:
            self.failed = self.failed or event
        self._emit(event)
        self._meeting.point.abort()
