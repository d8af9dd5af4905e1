from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.kinds.vectordb.backends.interface import QueryFailedError
from mlpstorage.kinds.vectordb.calibrate import calibrate
from mlpstorage.kinds.vectordb.points import is_active
from mlpstorage.kinds.vectordb.search import Stream, Window, closed_loop, ids_of, open_loop

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.record import CalibrationStep

POOL = np.arange(400, dtype=np.float32).reshape(100, 4)
ANSWER = np.array([[3, 2, 1]])


class Backend:
    """Answers after a while; every `slow`-th request takes long, those of `bad` fail."""

    def __init__(self, seconds: float = 0.0, slow: int = 0, bad: tuple[int, ...] = ()) -> None:
        self.seconds, self.slow, self.bad = seconds, slow, bad
        self.asked: list[float] = []

    def __call__(self, queries: np.ndarray) -> np.ndarray:
        """Answer one request."""
        self.asked.append(float(queries[0, 0]))
        number = len(self.asked)
        if number in self.bad:
            raise QueryFailedError("no")
        long = self.slow and number == self.slow
        time.sleep(0.2 if long else self.seconds)
        return np.repeat(ANSWER, len(queries), axis=0)


def stream(client: int = 0, clients: int = 1, batch: int = 1) -> Stream:
    """A client's requests."""
    return Stream(len(POOL), client, clients, 7, batch)


def test_a_closed_loop_counts_what_ended_within_the_window() -> None:
    """Latencies are those of answered requests, and the window is as long as was asked."""
    backend = Backend(0.01)
    window = closed_loop(backend, POOL, stream(), seconds=0.3)
    assert window.seconds == pytest.approx(0.3)
    assert 5 <= len(window.latencies) <= 30
    assert len(backend.asked) == len(window.latencies) + window.cut
    assert min(window.latencies) >= 10_000_000


def test_a_request_cut_off_by_the_end_is_told() -> None:
    """What is under way when the window ends is no part of the rate."""
    window = closed_loop(Backend(0.2), POOL, stream(), seconds=0.3)
    assert (len(window.latencies), window.cut) == (1, 1)


def test_a_number_of_requests_ends_the_loop() -> None:
    """With `most`, the window ends with the last of them."""
    window = closed_loop(Backend(), POOL, stream(), seconds=60, most=25)
    assert len(window.latencies) == 25
    assert 0 < window.seconds < 10


def test_answers_to_known_queries_are_kept() -> None:
    """Of the first rows the answers are kept with their row, of others none."""
    window = closed_loop(Backend(), POOL, stream(), seconds=60, most=100, known=10)
    assert sorted(row for row, _ in window.answers) == list(range(10))
    assert ids_of([found[0] for _, found in window.answers], 4)[0].tolist() == [3, 2, 1, -1]


def test_clients_ask_different_queries() -> None:
    """No query is asked twice in a point before a client has asked all of its share."""
    seen: list[float] = []
    for client in range(4):
        backend = Backend()
        closed_loop(backend, POOL, stream(client, 4), seconds=60, most=25)
        seen += backend.asked[:25]
    assert len(set(seen)) == 100


def test_a_request_may_hold_several_queries() -> None:
    """A batch is one request with one latency, of as many queries."""
    window = closed_loop(Backend(), POOL, stream(batch=8), seconds=60, most=5, known=100)
    assert len(window.latencies) == 5
    assert len(window.answers[0][1]) == 8


def test_failures_are_counted_and_are_no_answers() -> None:
    """A failed request is not in the rate; many in a row end the run."""
    window = closed_loop(Backend(bad=(2, 3)), POOL, stream(), seconds=60, most=10)
    assert (window.failed, len(window.latencies)) == (2, 10)
    with pytest.raises(BenchmarkError, match="100 requests failed"):
        closed_loop(Backend(bad=tuple(range(1, 200))), POOL, stream(), seconds=60, most=10)


def test_an_open_loop_measures_from_when_a_request_was_due() -> None:
    """Requests that queue behind a slow one are slow too, though each was answered at once."""
    window = open_loop(Backend(slow=5), POOL, stream(), seconds=1.0, rate=100, seed=1)
    slow = sum(latency > 50_000_000 for latency in window.latencies)
    assert slow >= 5
    assert len(window.latencies) == pytest.approx(100, rel=0.4)


def test_an_open_loop_that_cannot_keep_up_says_so() -> None:
    """What was due and not begun is overdue, and is no answer."""
    window = open_loop(Backend(0.05), POOL, stream(), seconds=0.5, rate=200, seed=1)
    assert window.overdue > 50
    assert len(window.latencies) < 15


@pytest.mark.parametrize("rate", [0, 200])
def test_a_stream_that_is_ended_ends_the_window(rate: int) -> None:
    """The request under way is finished and counted, and the window ends with it."""
    requests, backend = stream(), Backend(0.01)

    def search(queries: np.ndarray) -> np.ndarray:
        if len(backend.asked) == 7:
            requests.end()
        return backend(queries)

    window = (
        open_loop(search, POOL, requests, seconds=600, rate=rate, seed=1)
        if rate
        else closed_loop(search, POOL, requests, seconds=600)
    )
    assert requests.ended
    assert (len(window.latencies), window.cut) == (8, 0)
    assert 0.08 <= window.seconds < 60
    assert len(closed_loop(search, POOL, requests, seconds=600).latencies) == 0


def test_a_window_can_be_watched_by_a_thread() -> None:
    """Another thread copies what is new of a window, and the loop does not notice."""
    window, seen, over = Window(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            seen[0] += len(window.latencies[seen[0] :])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        closed_loop(Backend(), POOL, stream(), seconds=60, most=20_000, window=window)
    finally:
        over.set()
        watcher.join()
    assert len(window.latencies) == 20_000
    assert 0 < seen[0] <= 20_000


def test_calibration_finds_the_least_effort() -> None:
    """The effort reaches the target, and one that is 10 % smaller does not."""
    for needed in (1, 7, 50, 333, 4000):
        steps: list[CalibrationStep] = []
        effort = calibrate(lambda e, n=needed: min(1.0, e / n), 1.0, 1, 10_000, 64, steps)  # type: ignore[misc]  # bound now
        assert effort is not None
        assert needed <= effort <= needed * 1.1 + 1
        assert len(steps) < 25
        assert steps[-1].effort > 0


def test_calibration_gives_the_most_when_nothing_is_enough() -> None:
    """An index that cannot reach the recall is searched with all effort, and judged later."""
    steps: list[CalibrationStep] = []
    effort = calibrate(lambda _effort: 0.3, 0.95, 10, 100, 10, steps)
    assert effort == 100
    assert max(step.effort for step in steps) == 100


@pytest.mark.parametrize("ranks", [1, 5, 8, 12])
def test_points_use_ranks_of_all_hosts(ranks: int) -> None:
    """A point of c clients has c active ranks, spread evenly."""
    for clients in range(1, ranks + 1):
        active = [rank for rank in range(ranks) if is_active(rank, ranks, clients)]
        assert len(active) == clients
        gaps = [b - a for a, b in itertools.pairwise(active)]
        assert not gaps or max(gaps) - min(gaps) <= 1
