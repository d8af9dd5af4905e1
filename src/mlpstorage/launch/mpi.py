"""Ranks on many hosts, by mpirun or mpiexec.

A launcher's exit code is not trusted alone: some versions exit 0 after a host died. Success is exit
code 0 and a result from every rank. A launcher that hangs is ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import (
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
)
from mlpstorage.core.events import Note, RankFailed, RankResult, RankStarted
from mlpstorage.launch import process, tether, wire
from mlpstorage.launch.dialects import MpiOptions, command_line, dialect_of, root_error
from mlpstorage.launch.failures import died, error_of, quote_log, signal_name
from mlpstorage.launch.mpi_obituary import victim_of
from mlpstorage.launch.pump import Deadline, Interrupts, LineStream, pump

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.core.cluster import Host
    from mlpstorage.core.errors import MlpstorageError
    from mlpstorage.core.events import Event
    from mlpstorage.launch import RankJob
    from mlpstorage.launch.dialects import Dialect

_OURS = "MLPSTORAGE_"
_RANK = ("-m", "mlpstorage.rank")
# How long a launcher may live on after a rank has failed, or after the last result.
_AFTER_FAILURE_SECONDS = 10.0
_AFTER_RESULTS_SECONDS = 60.0
_VERSION_SECONDS = 30.0
_OR_ANOTHER = ", or another rank just before it"
_HYDRA_KILLS = (
    "the launcher kills all other ranks when one is killed, and may name one of those; "
    "the kernel's log of each host tells"
)


def find_launcher(mpi_bin: str) -> str:
    """The launcher's path: a path as given, a name beside this Python first, then on PATH.

    Beside this Python is where the wheels of MPI put theirs, which fits the library that mpi4py
    loads there.

    Raises:
        ConfigurationError: there is no such program.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which(mpi_bin, path=beside) or shutil.which(mpi_bin)
    if found is None:
        raise ConfigurationError(
            f"there is no MPI launcher {mpi_bin!r} on this host",
            why="ranks on several hosts are started by MPI",
            fix="apt-get install openmpi-bin (Debian, Ubuntu), or anywhere "
            "pip install 'mlpstorage[mpich]'; or name one with --mpi-bin",
        )
    return str(Path(found).absolute())


def ask_dialect(launcher: str) -> Dialect:
    """The dialect of a launcher, asked with `--version`.

    Raises:
        ConfigurationError: it does not run, or says nothing known.
    """
    try:
        answer = subprocess.run(
            [launcher, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(
            f"the MPI launcher {launcher} does not run: {error}",
            fix="name a working one with --mpi-bin, or reinstall MPI",
        ) from error
    return dialect_of((answer.stdout + answer.stderr).decode(errors="replace"))


def plan_command(
    options: MpiOptions, hosts: Sequence[Host], size: int, environ: Mapping[str, str]
) -> list[str]:
    """The launcher's command line for a job of this size, as it will be run.

    Raises:
        ConfigurationError: there is no launcher, or it will refuse to run as root.
        UsageError: the ranks cannot be spread over the hosts.
    """
    launcher = find_launcher(options.mpi_bin)
    dialect = ask_dialect(launcher)
    allowed = environ.get("OMPI_ALLOW_RUN_AS_ROOT") and environ.get(
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"
    )
    refusal = root_error(dialect, options) if os.geteuid() == 0 and not allowed else None
    if refusal is not None:
        raise refusal
    ours = sorted(name for name in environ if name.startswith(_OURS) and name != wire.LOCAL_RANK)
    return command_line(
        dialect,
        launcher,
        size=size,
        hosts=hosts,
        options=options,
        program=[sys.executable, *_RANK],
        variables=ours,
    )


class MpiLauncher:
    """Starts ranks on hosts; the launcher's output goes to `<run_dir>/ranks/mpirun.{out,log}`.

    Args:
        hosts: Where ranks go, in order; with slots for all or for none.
        options: What the user said about MPI.
        time_limit_seconds: End the run after this time with TimeLimitError; None for no limit.
        grace_seconds: How long the launcher has to end its ranks after SIGTERM, before SIGKILL.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        options: MpiOptions | None = None,
        *,
        time_limit_seconds: float | None = None,
        grace_seconds: float = 10.0,
    ) -> None:
        self._hosts = tuple(hosts)
        self._options = options or MpiOptions()
        self._time_limit_seconds = time_limit_seconds
        self._grace_seconds = grace_seconds

    def run(self, job: RankJob, on_event: Callable[[Event], None]) -> list[RankResult]:
        """See `mlpstorage.launch.Launcher.run`."""
        environ = {name: text for name, text in os.environ.items() if name != wire.LOCAL_RANK}
        command = plan_command(self._options, self._hosts, job.size, environ)
        run = _MpiRun(job, on_event)
        with Interrupts() as interrupts:
            try:
                stream = run.start(command, environ)
                deadline = Deadline(self._time_limit_seconds)
                pump([stream], run.finished, interrupts=interrupts, deadline=deadline)
            except KeyboardInterrupt as error:  # raised by on_event
                raise InterruptedRunError("the run was interrupted") from error
            finally:
                run.end(self._grace_seconds)
        return run.results()


class _MpiRun:
    """One run of a launcher, and what its ranks have said."""

    def __init__(self, job: RankJob, on_event: Callable[[Event], None]) -> None:
        self._job = job
        self._on_event = on_event
        self._name = "mpirun"
        self._out = job.run_dir / "ranks" / "mpirun.out"
        self._log = job.run_dir / "ranks" / "mpirun.log"
        self._child: process.Child | None = None
        self._stream: LineStream | None = None
        self._started: dict[int, RankStarted] = {}
        self._results: dict[int, RankResult] = {}
        self._failures: list[RankFailed] = []
        self._returncode: int | None = None
        self._must_end_by: float | None = None

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> LineStream:
        """Start the launcher with the job on its standard input."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_bytes(b"")
        self._name = Path(command[0]).name
        here = str(Path(command[0]).parent)  # Intel's mpirun wants its own tools on PATH
        env = {**environ, "PATH": os.pathsep.join([here, environ.get("PATH", os.defpath)])}
        # SIGTERM, not SIGKILL, when we die: the launcher must still end its ranks on other hosts.
        tie = [str(Path(tether.__file__)), str(os.getpid()), str(int(signal.SIGTERM))]
        with tempfile.TemporaryFile() as stdin, self._log.open("wb") as stderr:
            stdin.write(wire.RankSpec.of(self._job, "mpi").encode())
            stdin.seek(0)
            self._child = process.start(
                [sys.executable, "-I", "-S", *tie, *command], stdin=stdin, stderr=stderr, env=env
            )
        self._stream = LineStream(self._child.output, self._take)
        return self._stream

    def _take(self, line: bytes) -> None:
        event = wire.decode_event(line)
        if event is None:
            with self._out.open("ab") as out:
                out.write(line + b"\n")
            return
        if isinstance(event, RankStarted):
            self._started[event.rank] = event
        elif isinstance(event, RankResult):
            self._results[event.rank] = event
            if len(self._results) == self._job.size:
                self._must_end_within(_AFTER_RESULTS_SECONDS)
        elif isinstance(event, RankFailed):
            self._failures.append(event)
            self._must_end_within(_AFTER_FAILURE_SECONDS)
        self._on_event(event)

    def _must_end_within(self, seconds: float) -> None:
        if self._must_end_by is None:
            self._must_end_by = time.monotonic() + seconds

    def finished(self, _: bool) -> bool:
        """Whether the launcher has ended, or hangs."""
        if self._child is None or self._stream is None:
            return True
        self._returncode = self._child.poll()
        if self._returncode is not None:
            self._stream.drain()
            return True
        return self._must_end_by is not None and time.monotonic() > self._must_end_by

    def end(self, grace_seconds: float) -> None:
        """Leave nothing behind."""
        if self._child is None:
            return
        survivors = process.end_all([self._child], grace_seconds=grace_seconds)
        self._child.close()
        if survivors:
            self._on_event(
                Note(f"{self._name} hangs in the kernel and cannot be killed", "warning")
            )

    def results(self) -> list[RankResult]:
        """Every rank's result, if the launcher exited 0 and none is missing.

        Raises:
            MlpstorageError: the failure of a rank, or of the launcher.
        """
        missing = [rank for rank in range(self._job.size) if rank not in self._results]
        if self._failures:
            raise error_of(self._failures[0], self._log)
        if self._returncode == 0 and not missing:
            return [self._results[rank] for rank in range(self._job.size)]
        raise self._launcher_error(missing)

    def _launcher_error(self, missing: Sequence[int]) -> MlpstorageError:
        victim = victim_of([self._log, self._out], self._started.values())
        if victim is not None:
            event = died(victim.rank, victim.host, victim.returncode)
            if not victim.certain:
                event = replace(event, what=f"{event.what}{_OR_ANOTHER}", why=_HYDRA_KILLS)
            self._on_event(event)
            return error_of(event, self._log)
        why = quote_log(self._log)
        if self._returncode is None:
            what = f"{self._name} did not end after the last rank had given its result"
        elif self._returncode == 0:
            some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")  # noqa: PLR2004
            what = f"{self._name} exited 0, but no result came from rank {some}"
        elif self._returncode < 0:
            what = f"{self._name} was killed by {signal_name(-self._returncode)}"
        else:
            what = f"{self._name} exited with code {self._returncode}"
        if not self._started:
            return ConfigurationError(
                f"{what} before any rank had started",
                why=why,
                fix="try it alone: mpirun --host HOST hostname; mlpstorage doctor checks the rest",
            )
        return BenchmarkError(what, why=why)
