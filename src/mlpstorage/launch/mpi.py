"""Ranks on many hosts, by mpirun or mpiexec.

A launcher's exit code is not trusted alone: some versions exit 0 after a host died. Success is exit
code 0 and a result from every rank. A launcher that hangs is ended; that a host is dead is known
from its lifeline, whatever the launcher thinks of it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import (
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
)
from mlpstorage.core.events import Note, RankFailed, RankResult, RankStarted
from mlpstorage.launch import process, tether, wire
from mlpstorage.launch.dialects import MpiOptions, command_line, dialect_of, root_error
from mlpstorage.launch.failures import died, error_of, quote_log, signal_name
from mlpstorage.launch.guard import RUN_MARK
from mlpstorage.launch.interruption import abandoned_on, stopping_after, stopping_now
from mlpstorage.launch.lifelines import Lifelines
from mlpstorage.launch.losses import host_error, placement_note
from mlpstorage.launch.mpi_obituary import victim_of
from mlpstorage.launch.network import NETWORK, is_on
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
_AFTER_FAILURE_SECONDS = 5.0
_AFTER_RESULTS_SECONDS = 60.0
# How long all ranks may take to find each other; more where there are many.
_START_SECONDS = 300.0
_START_SECONDS_EACH = 0.5
# How long hosts have to say that nothing is left of the run; after a failure, longer than it takes
# to be sure of a host whose connection was lost just now.
_CLEARED_SECONDS = 4.0
_VERDICT_SECONDS = 9.0
# A launcher that has lost a host seldom ends by itself.
_GRACE_AFTER_LOSS_SECONDS = 1.0
_VERSION_SECONDS = 30.0
_OR_ANOTHER = ", or another rank just before it"
_TRY_ALONE = "try it alone: mpirun --host HOST hostname; mlpstorage doctor checks the rest"
_OR_NETWORK = "; if the hosts have several networks, name one that all share with --mpi-network"
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
    on_network = bool(options.network) and is_on(options.network)
    return command_line(
        dialect,
        launcher,
        size=size,
        hosts=hosts,
        options=options,
        program=[sys.executable, *_RANK],
        variables=sorted(name for name in environ if name.startswith(_OURS)),
        on_network=on_network,
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
        mark = secrets.token_hex(16)
        environ = self._environ(mark)
        command = plan_command(self._options, self._hosts, job.size, environ)
        used = [h for h, n in zip(self._hosts, spread(job.size, self._hosts), strict=True) if n]
        run = _MpiRun(job, on_event, used, mark)
        with Interrupts(run.stop_gently, run.abandoned) as interrupts:
            try:
                stream = run.start(command, environ)
                deadline = Deadline(self._time_limit_seconds)
                pump([stream], run.finished, interrupts=interrupts, deadline=deadline)
            except InterruptedRunError:
                on_event(stopping_now(interrupts.seen))
                raise
            except KeyboardInterrupt as error:  # raised by on_event
                raise InterruptedRunError("the run was interrupted") from error
            finally:
                if not interrupts.abandoned:
                    run.end(self._grace_seconds)
        return run.results()

    def _environ(self, mark: str) -> dict[str, str]:
        """The launcher's environment; what begins with our name is for the ranks."""
        ours = {RUN_MARK: mark}
        if self._options.network:
            ours[NETWORK] = self._options.network
        left_out = (wire.LOCAL_RANK, NETWORK, RUN_MARK)
        others = {name: text for name, text in os.environ.items() if name not in left_out}
        # The last variable must not be ours: Hydra 5.0.2 forgets it when it is in -genvlist.
        others["PATH"] = others.pop("PATH", os.defpath)
        return {**ours, **others}


class _MpiRun:
    """One run of a launcher, and what its ranks have said."""

    def __init__(
        self,
        job: RankJob,
        on_event: Callable[[Event], None],
        hosts: Sequence[Host],
        mark: str,
    ) -> None:
        self._job = job
        self._on_event = on_event
        self._hosts = hosts
        self._lifelines = Lifelines(hosts, mark)
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
        self._must_start_by = float("inf")

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
        self._must_start_by = (
            time.monotonic() + _START_SECONDS + _START_SECONDS_EACH * self._job.size
        )
        self._stream = LineStream(self._child.output, self._take)
        return self._stream

    def stop_gently(self, signal_name: str) -> bool:
        """Ask the ranks to stop after what they are at, if all have started and will listen."""
        if not self._job.stops_after or len(self._started) < self._job.size:
            return False
        if not self._lifelines.stop_ranks():
            return False
        self._on_event(stopping_after(signal_name, self._job.stops_after))
        return True

    def abandoned(self) -> InterruptedRunError:
        """What is said when the user does not even wait for the ranks to end."""
        return abandoned_on([host.name for host in self._hosts])

    def _take(self, line: bytes) -> None:
        event = wire.decode_event(line)
        if event is None:
            with self._out.open("ab") as out:
                out.write(line + b"\n")
            return
        if isinstance(event, RankStarted):
            self._started[event.rank] = event
            if len(self._started) == self._job.size:
                self._all_started()
        elif isinstance(event, RankResult):
            self._results[event.rank] = event
            if len(self._results) == self._job.size:
                self._must_end_within(_AFTER_RESULTS_SECONDS)
        elif isinstance(event, RankFailed):
            self._failures.append(event)
            self._must_end_within(_AFTER_FAILURE_SECONDS)
        self._on_event(event)

    def _all_started(self) -> None:
        self._must_start_by = float("inf")
        self._lifelines.ranks_run()
        note = placement_note(self._hosts, self._job.size, self._started.values())
        if note is not None:
            self._on_event(note)

    def _must_end_within(self, seconds: float) -> None:
        if self._must_end_by is None:
            self._must_end_by = time.monotonic() + seconds

    def finished(self, _: bool) -> bool:
        """Whether the launcher has ended, or hangs, or has lost a host."""
        if self._child is None or self._stream is None:
            return True
        self._tell_notices()
        self._returncode = self._child.poll()
        if self._returncode is not None:
            self._stream.drain()
            return True
        now = time.monotonic()
        late = self._must_end_by is not None and now > self._must_end_by
        return late or now > self._must_start_by or bool(self._lifelines.lost)

    def end(self, grace_seconds: float) -> None:
        """Leave nothing behind, on no host that can be reached."""
        lost = bool(self._lifelines.lost)
        survivors: list[int] = []
        if self._child is not None:
            grace = min(grace_seconds, _GRACE_AFTER_LOSS_SECONDS) if lost else grace_seconds
            survivors = process.end_all([self._child], grace_seconds=grace)
            self._child.close()
        self._lifelines.close(_CLEARED_SECONDS if lost or self._complete else _VERDICT_SECONDS)
        self._tell_notices()
        if survivors:
            self._on_event(
                Note(f"{self._name} hangs in the kernel and cannot be killed", "warning")
            )

    def _tell_notices(self) -> None:
        for text in self._lifelines.notices():
            self._on_event(Note(text, "warning"))

    @property
    def _complete(self) -> bool:
        """Whether every rank has given its result and the launcher is content."""
        return not self._failures and self._returncode == 0 and len(self._results) == self._job.size

    def results(self) -> list[RankResult]:
        """Every rank's result, if the launcher exited 0 and none is missing.

        Raises:
            MlpstorageError: the failure of a rank, or of the launcher.
        """
        if self._complete:
            return [self._results[rank] for rank in range(self._job.size)]
        # A host that died explains whatever else has happened: ranks that lost their peers there, a
        # launcher that killed the others, or one that exited 0.
        lost = self._lifelines.lost
        if lost:
            raise host_error(lost, self._hosts, self._started.values(), self._log)
        if self._failures:
            raise error_of(self._failures[0], self._log)
        missing = [rank for rank in range(self._job.size) if rank not in self._results]
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
        if self._returncode is None and len(self._started) < self._job.size:
            return ConfigurationError(
                f"the ranks did not find each other in time; {self._name} was ended",
                why=why,
                fix="if the hosts have several networks, name the one to use with --mpi-network",
            )
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
                fix=_TRY_ALONE + (_OR_NETWORK if len(self._hosts) > 1 else ""),
            )
        return BenchmarkError(what, why=why)
