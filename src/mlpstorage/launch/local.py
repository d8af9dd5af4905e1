"""Ranks as processes of this host, tied together by pipes: no MPI needed."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError, InterruptedRunError
from mlpstorage.core.events import Note, RankFailed, RankResult, RankStarted
from mlpstorage.launch import process, wire
from mlpstorage.launch.failures import died, error_of
from mlpstorage.launch.guard import STOP_SIGNAL
from mlpstorage.launch.interruption import abandoned_here, stopping_after, stopping_now
from mlpstorage.launch.pump import TICK_SECONDS, Deadline, Interrupts, LineStream, pump

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.core.events import Event
    from mlpstorage.launch import RankJob

# How long the loop waits for the cause after a rank has said that it lost another one.
_CAUSE_SECONDS = 2.0


class LocalLauncher:
    """Starts every rank on this host; each one's stderr goes to `<run_dir>/ranks/NN.log`.

    Args:
        time_limit_seconds: End the run after this time with TimeLimitError; None for no limit.
        grace_seconds: How long ranks have to end after SIGTERM, before SIGKILL.
    """

    def __init__(
        self, *, time_limit_seconds: float | None = None, grace_seconds: float = 2.0
    ) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._grace_seconds = grace_seconds

    def run(self, job: RankJob, on_event: Callable[[Event], None]) -> list[RankResult]:
        """See `mlpstorage.launch.Launcher.run`."""
        run = _LocalRun(job, on_event)
        with Interrupts(run.stop_gently, run.abandoned) as interrupts:
            try:
                run.start()
                streams = [rank.stream for rank in run.ranks]
                deadline = Deadline(self._time_limit_seconds)
                pump(streams, run.finished, interrupts=interrupts, deadline=deadline)
                return run.results()
            except InterruptedRunError:
                on_event(stopping_now(interrupts.seen))
                raise
            except KeyboardInterrupt as error:  # raised by on_event
                raise InterruptedRunError("the run was interrupted") from error
            finally:
                if not interrupts.abandoned:
                    run.end(self._grace_seconds)


@dataclass
class _Rank:
    """A rank's process and what is known of it."""

    number: int
    child: process.Child
    log: Path
    stream: LineStream
    ended: bool = False
    result: RankResult | None = None
    failed: RankFailed | None = None


class _LocalRun:
    """One run: its ranks, and the first sign of failure."""

    def __init__(self, job: RankJob, on_event: Callable[[Event], None]) -> None:
        self.ranks: list[_Rank] = []
        self._job = job
        self._on_event = on_event
        self._host = os.uname().nodename
        self._spec = wire.RankSpec.of(job, "local").encode()
        self._logs = job.run_dir / "ranks"
        self._cause: _Rank | None = None
        self._consequence: tuple[float, _Rank] | None = None
        self._look_at = 0.0
        self._started = 0

    def stop_gently(self, signal_name: str) -> bool:
        """Ask the ranks to stop after what they are at, if all have started and will listen."""
        if not self._job.stops_after or self._started < self._job.size:
            return False
        for rank in self.ranks:
            rank.child.send(STOP_SIGNAL)
        self._on_event(stopping_after(signal_name, self._job.stops_after))
        return True

    def abandoned(self) -> InterruptedRunError:
        """What is said when the user does not even wait for the ranks to end."""
        return abandoned_here([rank.child.pid for rank in self.ranks if not rank.ended])

    def start(self) -> None:
        """Start every rank; rank 0 last, because it holds a pipe pair to each of the others."""
        self._logs.mkdir(parents=True, exist_ok=True)
        process.make_room_for_fds(3 * self._job.size)
        centre: list[tuple[int, int]] = []
        try:
            for number in range(1, self._job.size):
                up, down = os.pipe(), os.pipe()
                centre.append((up[0], down[1]))
                try:
                    self._start_rank(number, [(down[0], up[1])])
                finally:
                    # A copy left open here would hide the death of the rank.
                    os.close(down[0])
                    os.close(up[1])
            self._start_rank(0, centre)
        finally:
            for pair in centre:
                os.close(pair[0])
                os.close(pair[1])
        self.ranks.sort(key=lambda rank: rank.number)

    def _start_rank(self, number: int, channels: list[tuple[int, int]]) -> None:
        width = max(2, len(str(self._job.size - 1)))
        log = self._logs / f"{number:0{width}}.log"
        seat = wire.LocalSeat(number, os.getpid(), tuple(channels))
        # Every rank reads a file of its own: a pipe would have to be fed while the rank starts.
        with tempfile.TemporaryFile() as stdin, log.open("wb") as stderr:
            stdin.write(self._spec)
            stdin.seek(0)
            try:
                child = process.start(
                    [sys.executable, "-m", "mlpstorage.rank"],
                    stdin=stdin,
                    stderr=stderr,
                    env={**os.environ, wire.LOCAL_RANK: seat.encode()},
                    pass_fds=[fd for pair in channels for fd in pair],
                )
            except OSError as error:
                raise ConfigurationError(
                    f"cannot start rank {number} of {self._job.size}: {error}",
                    fix="raise the limits of processes and open files (ulimit -u, ulimit -n), "
                    "or start fewer ranks",
                ) from error
        stream = LineStream(child.output, lambda line: self._take(rank, line))
        rank = _Rank(number, child, log, stream)
        self.ranks.append(rank)

    def _take(self, rank: _Rank, line: bytes) -> None:
        event = wire.decode_event(line)
        if event is None:
            with rank.log.open("ab") as log:
                log.write(line + b"\n")
            return
        if isinstance(event, RankStarted):
            self._started += 1
        elif isinstance(event, RankResult):
            rank.result = event
        elif isinstance(event, RankFailed):
            self._note_failure(rank, event)
        self._on_event(event)

    def _note_failure(self, rank: _Rank, event: RankFailed) -> None:
        rank.failed = rank.failed or event
        if event.exit_code != wire.PEER_LOST:
            self._cause = self._cause or rank
        elif self._consequence is None:
            self._consequence = (time.monotonic() + _CAUSE_SECONDS, rank)

    def finished(self, ending: bool) -> bool:
        """Whether every rank has ended, or the failure of one is clear."""
        now = time.monotonic()
        if ending or now >= self._look_at:
            self._look_at = now + TICK_SECONDS
            for rank in self.ranks:
                self._look_at_rank(rank)
        if self._cause is not None or all(rank.ended for rank in self.ranks):
            return True
        return self._consequence is not None and now >= self._consequence[0]

    def _look_at_rank(self, rank: _Rank) -> None:
        if rank.ended:
            return
        returncode = rank.child.poll()
        if returncode is None:
            return
        rank.ended = True
        rank.stream.drain()
        if rank.failed is None and (returncode != 0 or rank.result is None):
            event = died(rank.number, self._host, returncode)
            self._note_failure(rank, event)
            self._on_event(event)

    def results(self) -> list[RankResult]:
        """Every rank's result.

        Raises:
            MlpstorageError: the failure of a rank.
        """
        guilty = self._cause or (self._consequence and self._consequence[1])
        if guilty is not None and guilty.failed is not None:
            raise error_of(guilty.failed, guilty.log)
        return [rank.result for rank in self.ranks if rank.result is not None]

    def end(self, grace_seconds: float) -> None:
        """Leave nothing behind: end the ranks that still run and close what is open."""
        survivors = process.end_all(
            [rank.child for rank in self.ranks], grace_seconds=grace_seconds
        )
        for rank in self.ranks:
            rank.child.close()
        for pid in survivors:
            self._on_event(
                Note(f"process {pid} hangs in the kernel and cannot be killed yet", "warning")
            )
