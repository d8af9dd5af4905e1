"""How the ranks of a run agree: barriers and gathers, over nothing, pipes or MPI.

Code inside a rank knows the `Comm` protocol only. Nobody spins on a core for long, because in a
storage benchmark the ranks that wait share the cores with the ranks that still read.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Sequence

# How long a waiting MPI rank asks again and again, yielding the core each time, before it naps
# between questions. Long enough for ranks that arrive together never to nap (a nap in every hop of
# the barrier would add up); short enough to leave the core to others for most of a longer wait.
_SPIN_SECONDS = 200e-6
_NAP_SECONDS = 50e-6


class Comm(Protocol):
    """One rank's view of all ranks of the run."""

    @property
    def rank(self) -> int:
        """This rank's number, from 0."""

    @property
    def size(self) -> int:
        """How many ranks the run has."""

    @property
    def host(self) -> str:
        """The name of this rank's host, as the host calls itself."""

    @property
    def local_rank(self) -> int:
        """This rank's number among the ranks of its host, from 0."""

    @property
    def local_size(self) -> int:
        """How many ranks its host has."""

    @property
    def stopping(self) -> Stopping:
        """Whether the user wants the run to stop."""

    def barrier(self) -> None:
        """Return when every rank has called it."""

    def consult(self, word: int) -> int:
        """A barrier that brings rank 0's word, at most 2³¹ − 1, to every rank."""

    def gather(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever JSON can say
        """On rank 0 every rank's value, ordered by rank; None on the others.

        The value is whatever JSON can say. Every rank must call it, like a barrier.
        """

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever JSON can say
        """Rank 0's value, on every rank; what the others pass is ignored.

        The value is whatever JSON can say. Every rank must call it, like a barrier.
        """

    def abort(self, code: int) -> NoReturn:
        """End the run from any rank, at once, with this exit code."""


class PeerLostError(BenchmarkError):
    """Another rank ended while this one waited for it: a consequence, never the cause."""


def host_name() -> str:
    """What this host calls itself."""
    return os.uname().nodename


def _exit_now(code: int) -> NoReturn:
    """End this process without waiting for its threads, which may hang in I/O."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class SoloComm:
    """A run of one rank.

    >>> comm = SoloComm()
    >>> comm.barrier()
    >>> comm.gather({"bytes": 7})
    [{'bytes': 7}]
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def __init__(self) -> None:
        self.host = host_name()
        self.stopping = Stopping(self)

    def barrier(self) -> None:
        """Return: everybody is here."""

    def consult(self, word: int) -> int:
        """The word itself."""
        return word

    def gather(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever JSON can say
        """The value alone."""
        return [value]

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever JSON can say
        """The value itself."""
        return value

    def abort(self, code: int) -> NoReturn:
        """End this process."""
        _exit_now(code)


class PipeComm:
    """The ranks of one host, each tied to rank 0 by a pipe in either direction.

    A rank writes one byte and blocks in the kernel until rank 0, which has read a byte from
    everybody, answers with one. Nobody can take another's token, and a dead rank is an end of file
    at once, which a pipe shared by all writers would not show. Two system calls per rank and
    barrier, two per peer in rank 0: with 8 ranks on 2 cores this took two thirds of the time of
    shared arrival and release pipes.

    Args:
        rank: This rank's number.
        size: How many ranks the run has.
        channels: Pairs of file descriptors (to read, to write): in rank 0 those of rank 1, 2, ...;
            in the others the one to rank 0.
    """

    _ARRIVED = b"b"
    _ASKED = b"c"
    _VALUE = b"g"

    def __init__(self, rank: int, size: int, channels: Sequence[tuple[int, int]]) -> None:
        self.rank = self.local_rank = rank
        self.size = self.local_size = size
        self.host = host_name()
        self.stopping = Stopping(self)
        self._channels = [
            (peer, *pair) for peer, pair in enumerate(channels, 1 if rank == 0 else 0)
        ]

    def barrier(self) -> None:
        """Return when every rank has called it.

        Raises:
            PeerLostError: a rank ended before it arrived.
        """
        if self.rank == 0:
            for peer, source, _ in self._channels:
                self._expect(peer, source, self._ARRIVED)
            for peer, _, sink in self._channels:
                self._write(peer, sink, self._ARRIVED)
        else:
            peer, source, sink = self._channels[0]
            self._write(peer, sink, self._ARRIVED)
            self._expect(peer, source, self._ARRIVED)

    def consult(self, word: int) -> int:
        """A barrier that brings rank 0's word to every rank.

        Raises:
            PeerLostError: a rank ended before it arrived.
        """
        if self.rank == 0:
            for peer, source, _ in self._channels:
                self._expect(peer, source, self._ASKED)
            said = self._ASKED + word.to_bytes(4, "big")
            for peer, _, sink in self._channels:
                self._write(peer, sink, said)
            return word
        peer, source, sink = self._channels[0]
        self._write(peer, sink, self._ASKED)
        self._expect(peer, source, self._ASKED)
        return int.from_bytes(self._read(peer, source, 4), "big")

    def gather(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever JSON can say
        """On rank 0 every rank's value, ordered by rank; None on the others.

        Raises:
            PeerLostError: a rank ended before it gave its value.
            TypeError: JSON cannot say the value.
        """
        payload = json.dumps(value).encode()
        if self.rank != 0:
            peer, _, sink = self._channels[0]
            self._write(peer, sink, self._VALUE + len(payload).to_bytes(8, "big") + payload)
            return None
        return [json.loads(payload), *(self._value_of(p, s) for p, s, _ in self._channels)]

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever JSON can say
        """Rank 0's value, on every rank.

        Raises:
            PeerLostError: a rank ended before it gave or took the value.
            TypeError: JSON cannot say the value.
        """
        if self.rank != 0:
            peer, source, _ = self._channels[0]
            return self._value_of(peer, source)
        payload = json.dumps(value).encode()
        for peer, _, sink in self._channels:
            self._write(peer, sink, self._VALUE + len(payload).to_bytes(8, "big") + payload)
        return json.loads(payload)

    def abort(self, code: int) -> NoReturn:
        """End this process: the launcher sees it and ends the others."""
        _exit_now(code)

    def _value_of(self, peer: int, source: int) -> Any:  # noqa: ANN401 - whatever JSON can say
        self._expect(peer, source, self._VALUE)
        length = int.from_bytes(self._read(peer, source, 8), "big")
        return json.loads(self._read(peer, source, length))

    def _expect(self, peer: int, source: int, tag: bytes) -> None:
        got = self._read(peer, source, 1)
        if got != tag:
            raise BenchmarkError(
                f"rank {peer} and rank {self.rank} disagree: one is at a barrier, one at a gather",
                why="every rank must make the same collective calls in the same order",
            )

    def _read(self, peer: int, source: int, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.read(source, min(count, 1 << 20))
            if not part:
                raise self._lost(peer)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _write(self, peer: int, sink: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(sink, view) :]
        except BrokenPipeError as error:
            raise self._lost(peer) from error

    def _lost(self, peer: int) -> PeerLostError:
        return PeerLostError(
            f"rank {peer} ended before rank {self.rank} met it",
            why="a rank died, or made fewer collective calls than the others",
        )


class MpiComm:
    """All ranks of an MPI job: a polite wrapper around COMM_WORLD.

    Raises:
        ConfigurationError: mpi4py is missing, or it finds no MPI library.
    """

    def __init__(self) -> None:
        self._mpi = _mpi()
        self._world = self._mpi.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self.host = host_name()
        self.stopping = Stopping(self)
        neighbours = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank: int = neighbours.Get_rank()
        self.local_size: int = neighbours.Get_size()
        neighbours.Free()

    def barrier(self) -> None:
        """Return when every rank has called it; naps, where MPI_Barrier would burn a core."""
        _wait_politely(self._world.Ibarrier())

    def consult(self, word: int) -> int:
        """A barrier that brings rank 0's word to every rank, as the greatest of all words."""
        own = (word if self.rank == 0 else 0).to_bytes(4, sys.byteorder)
        greatest = bytearray(4)
        int32 = self._mpi.INT32_T
        request = self._world.Iallreduce([own, int32], [greatest, int32], op=self._mpi.MAX)
        _wait_politely(request)
        return int.from_bytes(greatest, sys.byteorder)

    def gather(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever JSON can say
        """On rank 0 every rank's value, ordered by rank; None on the others."""
        self.barrier()  # MPI's own wait in a gather burns a core until the last rank is there
        values: list[Any] | None = self._world.gather(value, root=0)
        return values

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever pickle can say
        """Rank 0's value, on every rank."""
        self.barrier()  # as in a gather: MPI's own wait burns a core until rank 0 is there
        return self._world.bcast(value, root=0)

    def abort(self, code: int) -> NoReturn:
        """End every rank of the job."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(code)
        os._exit(code)  # not every library's Abort ends the caller before it returns


def _wait_politely(request: Any) -> None:  # noqa: ANN401 - a request of mpi4py
    """Wait for all ranks, and leave the core to others when it takes long."""
    spin_until = time.monotonic() + _SPIN_SECONDS
    while not request.Test():
        if time.monotonic() > spin_until:
            time.sleep(_NAP_SECONDS)
        else:
            os.sched_yield()


def _mpi() -> Any:  # noqa: ANN401 - a module whose import needs an MPI library
    """Initialise MPI; importing mpi4py.MPI does."""
    fix = "pip install 'mlpstorage[mpich]' on every host, or pip install 'mlpstorage[mpi]'"
    try:
        from mpi4py import MPI  # here, because it initialises MPI
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this Python cannot import mpi4py on {host_name()}",
            why="ranks on several hosts agree by MPI",
            fix=f"{fix} beside the system's MPI",
        ) from error
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"mpi4py finds no MPI library on {host_name()}: {str(error).splitlines()[0]}",
            why="ranks on several hosts agree by MPI",
            fix="apt-get install openmpi-bin, or pip install 'mlpstorage[mpich]', on every host",
        ) from error
    return MPI
