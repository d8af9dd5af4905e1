"""The timed loops: requests one after the other, and what each took.

In the loop there is a request, two readings of the clock, and an append; histograms, recall and
sums come after the window. Every request's own time is kept, also of a request of many queries.
"""

from __future__ import annotations

import random
import time
from array import array
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.kinds.vectordb.backends.interface import QueryFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import Search

# Requests that may fail one after the other before the run counts as failed itself.
_MOST_FAILURES = 100
# A client sleeps until shortly before a request is due, and then watches the clock.
_WATCH_NS = 150_000
Request = tuple[Any, int]
"""What selects a request's queries in the pool, and the first one's row."""


@dataclass
class Window:
    """What one client saw: latencies of answered requests (ns), failures, and some answers.

    `cut` is 1 if a request was under way at the window's end: not counted, but it has read, too.
    `overdue` counts requests of an open loop that were due within the window and were not begun.
    """

    began_ns: int = 0
    ended_ns: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))
    failed: int = 0
    cut: int = 0
    overdue: int = 0
    answers: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.ended_ns - self.began_ns) / 1e9


class Stream:
    """The requests of one client in one point: its own share of the pool, in an order of its own.

    The pool is shuffled anew for every point, and dealt out: no two clients of a point ask the same
    query, before one of them has asked all of its share.

    Args:
        pool: Queries in the pool.
        client: Which client, of how many.
        clients: Clients of the point.
        seed: Another one for every point.
        batch: Queries per request.
    """

    def __init__(self, pool: int, client: int, clients: int, seed: int, batch: int) -> None:
        order = np.random.default_rng(seed).permutation(pool)
        mine = order[client::clients] if pool >= clients else order
        whole = max(1, len(mine) // batch)
        if batch == 1:
            rows = mine.tolist()
            self.requests: list[Request] = [(slice(row, row + 1), row) for row in rows]
        else:
            parts = np.resize(mine, whole * batch).reshape(whole, batch)
            self.requests = [(part, int(part[0])) for part in parts]
        self.asked = 0

    def end(self) -> None:
        """Let every loop over it end after the request under way; from any thread.

        The list is emptied, and the iteration runs into its end: a question whether to go on would
        cost something in every turn of the timed loops.
        """
        self.requests.clear()

    @property
    def ended(self) -> bool:
        """Whether somebody has ended it."""
        return not self.requests

    def __iter__(self) -> Iterator[Request]:
        """The requests, from where the last iteration stopped, without end of their own."""
        requests, count = self.requests, max(1, len(self.requests))
        try:
            while True:
                request = requests[self.asked % count]
                self.asked += 1
                yield request
        except IndexError:
            return


def closed_loop(
    search: Search,
    pool: NDArray[np.float32],
    stream: Stream,
    *,
    seconds: float,
    most: int = 0,
    known: int = 0,
    window: Window | None = None,
) -> Window:
    """Ask again as soon as an answer is there, for some seconds or until `most` requests.

    A request that ends after the window is not counted: requests ÷ seconds is then no estimate.
    When the stream is ended early, so is the window, with the last answer.

    Args:
        search: The backend's function.
        pool: The queries.
        stream: Which are asked.
        seconds: The length of the window; with `most`, a limit.
        most: End after so many requests; 0 for none.
        known: Answers to queries below this row are kept, for recall.
        window: What is filled, where another thread looks at it meanwhile.

    Raises:
        BenchmarkError: requests fail one after the other.
    """
    window, clock = window or Window(), perf_counter_ns
    took, keep = window.latencies.append, window.answers.append
    window.began_ns = ended = clock()
    until = window.began_ns + round(seconds * 1e9)
    in_a_row = 0
    for selector, row in stream:
        started = clock()
        if started >= until or (most and len(window.latencies) >= most):
            break
        try:
            found = search(pool[selector])
        except QueryFailedError as error:
            window.failed += 1
            in_a_row += 1
            _give_up(in_a_row, error)
            continue
        ended = clock()
        if ended > until:
            window.cut = 1
            break
        took(ended - started)
        in_a_row = 0
        if row < known:
            keep((row, found))
    early = stream.ended or bool(most and len(window.latencies) >= most)
    window.ended_ns = min(ended, until) if early else until
    return window


def open_loop(
    search: Search,
    pool: NDArray[np.float32],
    stream: Stream,
    *,
    seconds: float,
    rate: float,
    seed: int,
    known: int = 0,
    window: Window | None = None,
) -> Window:
    """Ask at random times of a rate, whether answers are there or not; see `closed_loop`.

    A latency runs from the moment a request was due: what waited behind a slow one is slow too.
    Requests that are due in the window and were not begun at its end are counted as overdue.

    Args:
        search: As in `closed_loop`.
        pool: As there.
        stream: As there.
        seconds: As there.
        rate: Requests per second of this client; the gaps are exponential (Poisson arrivals).
        seed: Decides the gaps.
        known: As there.
        window: As there.
    """
    window, clock = window or Window(), perf_counter_ns
    took, keep = window.latencies.append, window.answers.append
    gap = random.Random(seed).expovariate  # noqa: S311 (arrivals, no secrets)
    window.began_ns = clock()
    until = window.began_ns + round(seconds * 1e9)
    window.ended_ns = until
    due, in_a_row = window.began_ns + round(gap(rate) * 1e9), 0
    requests = iter(stream)
    try:
        while due < until:
            _wait(due)
            if clock() >= until:
                break
            selector, row = next(requests)
            try:
                found = search(pool[selector])
                took(clock() - due)
                in_a_row = 0
                if row < known:
                    keep((row, found))
            except QueryFailedError as error:
                window.failed += 1
                in_a_row += 1
                _give_up(in_a_row, error)
            due += round(gap(rate) * 1e9)
    except StopIteration:  # the stream was ended early
        window.ended_ns = until = min(clock(), until)
    while due < until:
        window.overdue += 1
        due += round(gap(rate) * 1e9)
    return window


def _wait(due: int) -> None:
    left = due - perf_counter_ns()
    if left > _WATCH_NS:
        time.sleep((left - _WATCH_NS) / 1e9)
    while perf_counter_ns() < due:
        pass


def _give_up(in_a_row: int, error: QueryFailedError) -> None:
    if in_a_row >= _MOST_FAILURES:
        raise BenchmarkError(
            f"{in_a_row} requests failed one after the other: {error.what}",
            why=error.why,
            fix=error.fix or "see whether the database is still running",
        ) from error


def ids_of(answers: Sequence[Sequence[Any]], k: int) -> NDArray[np.int64]:
    """The ids of answers, each of one query, as (answers, k); short ones are filled with −1.

    >>> ids_of([[5, 7], [9]], 2).tolist()
    [[5, 7], [9, -1]]
    """
    out = np.full((len(answers), k), -1, np.int64)
    for number, answer in enumerate(answers):
        found = list(answer)[:k]
        out[number, : len(found)] = found
    return out
