from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.comm import PeerLostError, PipeComm, SoloComm

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ring:
    """The pipes of a run, as a launcher would make them, and the comm at each rank's end."""

    def __init__(self, size: int) -> None:
        pairs = [(os.pipe(), os.pipe()) for _ in range(size - 1)]
        self.ends = [[(up[0], down[1]) for up, down in pairs]]
        self.ends += [[(down[0], up[1])] for up, down in pairs]
        self.comms = [PipeComm(rank, size, ends) for rank, ends in enumerate(self.ends)]

    def end(self, rank: int) -> None:
        """Close what a rank holds, as its death would."""
        for fd in itertools.chain.from_iterable(self.ends[rank]):
            os.close(fd)
        self.ends[rank] = []


@contextmanager
def ring_of(size: int) -> Iterator[Ring]:
    """The ring of a run, closed at the end."""
    ring = Ring(size)
    try:
        yield ring
    finally:
        for rank in range(size):
            ring.end(rank)


@settings(max_examples=25, deadline=None)
@given(
    delays=st.integers(2, 5).flatmap(
        lambda size: st.lists(
            st.lists(st.sampled_from([0, 0, 1, 3]), min_size=size, max_size=size),
            min_size=1,
            max_size=6,
        )
    )
)
def test_nobody_passes_before_all_have_come(delays: list[list[int]]) -> None:
    """Whatever the delays in milliseconds, nobody passes barrier k before all have reached it."""
    size = len(delays[0])
    came = [0] * len(delays)
    lock = threading.Lock()

    def run(comm: PipeComm) -> list[int]:
        seen = []
        for turn, row in enumerate(delays):
            time.sleep(row[comm.rank] / 1000)
            with lock:
                came[turn] += 1
            comm.barrier()
            seen.append(came[turn])
        return seen

    with ring_of(size) as ring, ThreadPoolExecutor(size) as pool:
        assert list(pool.map(run, ring.comms)) == [[size] * len(delays)] * size


def test_gather_and_barrier_mix() -> None:
    """Values bigger than a pipe arrive whole and in order between barriers, on rank 0 only."""

    def run(comm: PipeComm) -> list[object]:
        first = comm.gather({"rank": comm.rank, "text": "x" * 300_000})
        comm.barrier()
        second = comm.gather(comm.rank)
        return [first and [len(value["text"]) for value in first], second]

    with ring_of(3) as ring, ThreadPoolExecutor(3) as pool:
        got = list(pool.map(run, ring.comms))
    assert got == [[[300_000] * 3, [0, 1, 2]], [None, None], [None, None]]


def test_death_of_one_of_many_is_seen_by_rank_0() -> None:
    """Rank 0 sees the death of one rank although the others live."""
    with ring_of(4) as ring:
        ring.end(2)
        for rank in (1, 3):
            os.write(ring.ends[rank][0][1], b"b")
        with pytest.raises(PeerLostError, match="rank 2 ended before rank 0 met it"):
            ring.comms[0].barrier()


def test_death_of_rank_0_is_seen_by_all() -> None:
    """The other ranks do not wait for a rank 0 that is gone, be it before or after they came."""
    with ring_of(3) as ring, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ring.comms[1].barrier)
        ring.end(0)
        with pytest.raises(PeerLostError, match="rank 0 ended"):
            waiting.result(10)
        with pytest.raises(PeerLostError, match="rank 0 ended"):
            ring.comms[2].barrier()


def test_different_collective_calls_are_told() -> None:
    """A rank at a gather while rank 0 is at a barrier is an error that names it."""
    with ring_of(2) as ring:
        ring.comms[1].gather("value")
        with pytest.raises(BenchmarkError, match="rank 1 and rank 0 disagree"):
            ring.comms[0].barrier()


def test_solo_needs_nobody() -> None:
    """A single rank passes barriers at once and gathers from itself."""
    comm = SoloComm()
    comm.barrier()
    assert (comm.rank, comm.size, comm.local_size) == (0, 1, 1)
    assert comm.gather([1]) == [[1]]
