"""What runs in every rank of every benchmark kind: `python -m mlpstorage.rank`.

The rank reads its job as one JSON line, joins the others, calls the worker, and reports events as
marked lines. Imports at the top are the standard library and `mlpstorage.core` in effect: hundreds
of ranks start at once, often from a network file system.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, MlpstorageError
from mlpstorage.core.events import Figure, Progress, RankFailed, RankResult, RankStarted
from mlpstorage.engine.comm import MpiComm, PeerLostError, PipeComm, SoloComm, host_name
from mlpstorage.engine.stopping import STOP_SIGNAL, Stopping, signalled_wish
from mlpstorage.launch.network import use_network
from mlpstorage.launch.tether import die_with_parent, tie_to_parent
from mlpstorage.launch.wire import PEER_LOST, LocalSeat, RankSpec, encode_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

    Worker = Callable[[dict[str, Any], Comm, Callable[[Event], None]], dict[str, Any]]

# Under mpirun, lines of several ranks share a pipe, where writes up to this size stay whole.
_PIPE_BUF = 4096
_TRACEBACK_CHARS = 2000
# What mpirun needs to forward a last line before an abort ends everything.
_FORWARD_SECONDS = 0.3
# Per launcher family: the variables that hold the rank and the size (which some leave out).
_MPI_VARIABLES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)


@dataclass(frozen=True)
class Place:
    """What a rank knows before it has talked to anybody."""

    rank: int
    launcher_size: int | None
    seat: LocalSeat | None
    under_mpi: bool


def place_of(environ: dict[str, str]) -> Place:
    """The rank's place, by the environment; a local seat is stronger than MPI's variables.

    A controller may itself run inside an MPI job, whose variables its local ranks inherit.

    >>> place_of({"PMI_RANK": "3", "PMI_SIZE": "8"})
    Place(rank=3, launcher_size=8, seat=None, under_mpi=True)
    """
    seat = LocalSeat.take(environ)
    if seat is not None:
        return Place(seat.rank, None, seat, under_mpi=False)
    for rank_name, size_name in _MPI_VARIABLES:
        if rank_name in environ:
            size = environ.get(size_name)
            return Place(int(environ[rank_name]), int(size) if size else None, None, under_mpi=True)
    return Place(0, None, None, under_mpi=False)


class EventPipe:
    """The rank's only way to its launcher: the real standard output.

    From here on, whatever libraries print to standard output goes to standard error.
    """

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Write one event as one line, in a single call as far as the pipe takes it."""
        view = memoryview(encode_event(event))
        with self._lock:
            while view:
                view = view[os.write(self._fd, view) :]


def main() -> None:
    """Run one rank from its standard input to its result."""
    place = place_of(os.environ)  # type: ignore[arg-type]  # a dict in all that is used here
    if place.seat is not None:
        tie_to_parent(place.seat.parent, signal.SIGKILL)
    elif place.under_mpi:
        die_with_parent()
    wish = signalled_wish()
    pipe = EventPipe()
    comm: SoloComm | PipeComm | MpiComm | None = None
    try:
        comm, spec = _join(place)
        comm.stopping = Stopping(comm, wish)
        _report_start(comm, pipe)
        result = _load(spec.worker)(spec.argument, comm, _emitter(comm, pipe))
        # Nothing is left to stop, and the interpreter's end would make the signal deadly again.
        signal.signal(STOP_SIGNAL, signal.SIG_IGN)
        _report_result(comm, pipe, result)
    except BaseException as error:  # noqa: BLE001 - even SystemExit must not look like success
        _fail(error, place, comm, pipe)


def _join(place: Place) -> tuple[SoloComm | PipeComm | MpiComm, RankSpec]:
    """Read the job and join the other ranks."""
    if not place.under_mpi:
        spec = _read_spec("local")
        return _local_comm(place.seat, spec.size), spec
    use_network(os.environ)
    comm = MpiComm()
    check_world(comm.size, place.launcher_size)
    spec = comm.broadcast(_read_spec("mpi") if comm.rank == 0 else None)
    check_world(comm.size, spec.size)
    return comm, spec


def _local_comm(seat: LocalSeat | None, size: int) -> SoloComm | PipeComm:
    """The ranks of this host, tied by pipes that no child of ours inherits."""
    if seat is None or size == 1:
        return SoloComm()
    for channel in seat.channels:
        for fd in channel:
            os.set_inheritable(fd, False)
    return PipeComm(seat.rank, size, seat.channels)


def _read_spec(transport: str) -> RankSpec:
    line = sys.stdin.buffer.readline()
    if not line:
        raise ConfigurationError(
            "a rank got no job on its standard input",
            why="ranks are started by mlpstorage; under MPI the launcher must forward its input",
            fix="remove options that redirect standard input from --mpi-params",
        )
    spec = RankSpec.decode(line)
    if spec.transport != transport:
        raise ConfigurationError(
            f"the launcher started this rank for {spec.transport}, but it finds itself {transport}",
            why="no variable of a known MPI launcher is in the environment of the rank",
            fix="use mpirun or mpiexec of Open MPI, MPICH or Intel MPI as --mpi-bin",
        )
    return spec


def check_world(size: int, asked: int | None) -> None:
    """Raise ConfigurationError if MPI's world has another size than the launcher's job."""
    if asked is not None and size != asked:
        raise ConfigurationError(
            f"MPI shows a world of {size} rank{'s' * (size != 1)} on {host_name()}, "
            f"but the launcher started {asked}",
            why="the launcher and the MPI library that mpi4py loads are of different installations",
            fix="name the launcher of mpi4py's library with --mpi-bin, "
            "or install one MPI only (pip install 'mlpstorage[mpich]')",
        )


def _load(name: str) -> Worker:
    """The worker function that `module:function` names."""
    module, _, function = name.partition(":")
    worker: Worker = getattr(importlib.import_module(module), function)
    return worker


def _emitter(comm: Comm, pipe: EventPipe) -> Callable[[Event], None]:
    """How the worker reports; under MPI one rank of each host speaks for all of the host.

    Its progress is counted once for every rank of the host: they move in step, or have equal
    shares. So thousands of ranks are a few lines a second, which the launcher forwards anyway.
    """
    neighbours = comm.local_size if isinstance(comm, MpiComm) else 1

    def emit(event: Event) -> None:
        if isinstance(event, (Progress, Figure)):
            if neighbours > 1 and comm.local_rank != 0:
                return
            event = replace(event, host=comm.host)
            event = _for_host(event, neighbours) if neighbours > 1 else event
        pipe.write(event)

    return emit


def _for_host(event: Progress | Figure, ranks: int) -> Progress | Figure:
    """The event of one rank as that of all its host's."""
    if isinstance(event, Figure):
        return replace(event, value=event.value * ranks) if event.combine == "sum" else event
    done, total, moved = event.done * ranks, event.total * ranks, event.bytes * ranks
    return replace(event, done=done, total=total, bytes=moved)


def _report_start(comm: Comm, pipe: EventPipe) -> None:
    for rank, host, pid in _collected(comm, [comm.rank, comm.host, os.getpid()]):
        pipe.write(RankStarted(rank, host, pid))


def _report_result(comm: Comm, pipe: EventPipe, result: dict[str, Any]) -> None:
    encode_event(RankResult(comm.rank, comm.host, result))  # the rank at fault fails, not rank 0
    stopped = comm.stopping.stopped
    for values in _collected(comm, [comm.rank, comm.host, result, stopped]):
        pipe.write(RankResult(*values))


def _collected(comm: Comm, value: Any) -> list[Any]:  # noqa: ANN401 - whatever JSON can say
    """What this rank has to report: its own value, or under MPI everybody's on rank 0."""
    return (comm.gather(value) or []) if isinstance(comm, MpiComm) else [value]


def _fail(error: BaseException, place: Place, comm: Comm | None, pipe: EventPipe) -> NoReturn:
    """Report the failure and end the rank, and under MPI the whole job."""
    traceback.print_exception(type(error), error, error.__traceback__)
    event = failure(error, comm.rank if comm else place.rank)
    with contextlib.suppress(BrokenPipeError):  # the launcher is gone: nobody is left to tell
        pipe.write(fitted(event, _PIPE_BUF) if place.under_mpi else event)
    if place.under_mpi:
        time.sleep(_FORWARD_SECONDS)
    (comm or SoloComm()).abort(event.exit_code)


def failure(error: BaseException, rank: int) -> RankFailed:
    """The event of an exception.

    >>> failure(ValueError("odd"), 1).what
    'ValueError: odd'
    """
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, PeerLostError):
        return RankFailed(rank, host_name(), error.what, error.why, exit_code=PEER_LOST)
    if isinstance(error, MlpstorageError):
        known = (error.what, error.why, error.fix)
        return RankFailed(rank, host_name(), *known, text, error.exit_code)
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    return RankFailed(rank, host_name(), what, traceback=text, exit_code=BenchmarkError.exit_code)


def fitted(event: RankFailed, most_bytes: int) -> RankFailed:
    """The event shortened until its line has at most so many bytes; a traceback keeps its end."""
    event = replace(event, what=event.what[:300], why=event.why[:300], fix=event.fix[:300])
    keep = min(_TRACEBACK_CHARS, len(event.traceback))
    shorter = replace(event, traceback=event.traceback[len(event.traceback) - keep :])
    while keep and len(encode_event(shorter)) > most_bytes:
        keep //= 2
        shorter = replace(event, traceback=event.traceback[len(event.traceback) - keep :])
    return shorter


if __name__ == "__main__":
    main()
