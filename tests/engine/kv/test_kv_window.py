"""Ranks agree on a start although their clocks disagree."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.comm import PipeComm, SoloComm
from mlpstorage.engine.kv.window import agree_start, clock_offset, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000


@pytest.fixture
def comms() -> Iterator[list[PipeComm]]:
    """Three ranks, tied by pipes."""
    ends: list[int] = []
    channels: list[list[tuple[int, int]]] = [[], [], []]
    for rank in (1, 2):
        up, down = os.pipe(), os.pipe()
        ends += [*up, *down]
        channels[0].append((up[0], down[1]))
        channels[rank].append((down[0], up[1]))
    yield [PipeComm(rank, 3, channels[rank]) for rank in range(3)]
    for fd in ends:
        os.close(fd)


def test_ranks_with_other_clocks_start_together(comms: list[PipeComm]) -> None:
    """Clocks that are days apart: the starts agree to within the error that is told."""
    shift = [0, 123_456 * SECOND, -77 * SECOND]

    def start(rank: int) -> tuple[int, int, list[int], int]:
        found = agree_start(comms[rank], clock=lambda: perf_counter_ns() + shift[rank])
        return found.start_ns - shift[rank], found.error_ns, found.offsets_ns, found.skew_ns

    before = perf_counter_ns()
    with ThreadPoolExecutor(3) as ranks:
        found = list(ranks.map(start, range(3)))
    instants = [instant for instant, *_ in found]
    error = found[0][1]
    assert max(instants) - min(instants) <= 2 * error
    assert error < 50_000_000
    assert min(instants) > before
    for offset, wanted in zip(found[0][2], shift, strict=True):
        assert abs(offset - wanted) <= error
    assert [skew for *_, skew in found[1:]] == [0, 0]


def test_a_rank_that_hears_too_late_shows(comms: list[PipeComm]) -> None:
    """When a rank learns of the start after it, rank 0 knows by how much."""

    class Late:
        """Hears the broadcast later than the others."""

        def __init__(self, inner: PipeComm) -> None:
            self.rank, self.barrier, self.gather = inner.rank, inner.barrier, inner.gather
            self.inner = inner

        def broadcast(self, value: object) -> object:
            heard = self.inner.broadcast(value)
            time.sleep(0.2)
            return heard

    ranks = [comms[0], comms[1], Late(comms[2])]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda comm: agree_start(comm, lead_ns=50_000_000), ranks))
    assert found[0].skew_ns >= 140_000_000


def test_one_rank_agrees_with_itself() -> None:
    """Without others the start is in the near future, and waiting for it takes until then."""
    start = agree_start(SoloComm(), lead_ns=30_000_000)
    assert start.offsets_ns == [0]
    wait_until(start.start_ns)
    assert perf_counter_ns() >= start.start_ns


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(*[st.integers(0, 10**6)] * 4), min_size=1, max_size=8),
)
def test_the_true_offset_lies_within_the_error(
    offset: int, rounds: list[tuple[int, int, int, int]]
) -> None:
    """Whatever the delays around each barrier, the true difference is within the bounds."""
    ours, theirs = [], []
    moment = 0
    for before, after, other_before, other_after in rounds:
        moment += 10**7
        ours.append((moment - before, moment + after))
        theirs.append((moment - other_before + offset, moment + other_after + offset))
    found, error = clock_offset(ours, theirs)
    assert abs(found - offset) <= error


def test_drifting_clocks_leave_an_answer() -> None:
    """Bounds that contradict each other give the median and a wide error, and no exception."""
    found, error = clock_offset([(0, 10), (1000, 1010)], [(500, 510), (2500, 2510)])
    assert abs(found - 1000) <= error
