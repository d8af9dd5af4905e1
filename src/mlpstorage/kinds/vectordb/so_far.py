"""What can be said of a point of the sweep before its end, once a second.

It is a thread beside the timed loop, which knows nothing of it: what is new since the last look is
copied out of the loop's list of latencies.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.events import Figure, Progress
from mlpstorage.engine.comm import MpiComm
from mlpstorage.engine.histogram import histogram, merge, percentile
from mlpstorage.kinds.vectordb.search import Window

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.client import Client
    from mlpstorage.kinds.vectordb.record import PointPlan
    from mlpstorage.kinds.vectordb.search import Stream

# A user who wants to stop waits for a window that is no longer; others are ended early.
LONGEST_SECONDS = 60.0


def is_long(steady_seconds: float, ramp_seconds: float, most_requests: int) -> bool:
    """Whether a point may take so long that it is ended early when the user wants to stop.

    >>> is_long(60, 5, 0), is_long(600, 5, 0), is_long(60, 5, 10_000)
    (False, True, True)
    """
    return bool(most_requests) or max(steady_seconds, ramp_seconds) > LONGEST_SECONDS


class SoFar:
    """What one rank shows of one point, and whether it ends it early.

    Args:
        client: The rank.
        plan: The point.
        stream: Its requests; they are ended when the user wants to stop and the point is long.
    """

    def __init__(self, client: Client, plan: PointPlan, stream: Stream) -> None:
        argument = client.argument
        self._client, self._plan, self._stream = client, plan, stream
        self._window: Window | None = None
        self._seen = 0
        self._counts: dict[int, int] = {}
        self._began = time.monotonic()
        self._seconds = argument.ramp_seconds + argument.steady_seconds
        self._long = is_long(argument.steady_seconds, argument.ramp_seconds, argument.most_requests)
        # Under MPI one rank of a host is heard, so the others need not look.
        self._speaks = not isinstance(client.comm, MpiComm) or client.comm.local_rank == 0
        self.early = False

    def begin(self) -> None:
        """Name the point before any rank has a figure of it, which belongs to what is named.

        Caches may have been dropped, of programs too: what a look needs is read before the window,
        whose reads are counted.
        """
        rehearsal = Window(ended_ns=1)
        rehearsal.latencies.append(1)
        json.dumps([figure.as_dict() for figure in self._figures(rehearsal, 1)])
        self._seen, self._counts = 0, {}
        if self._client.comm.rank == 0:
            self._client.emit(self._progress(ended=False))

    def window(self) -> Window:
        """A new window, which is looked at from now on; the ramp before it is not."""
        self._window = Window()
        return self._window

    def tick(self, _seconds: int) -> None:
        """Show where the point is; called once a second on a thread of its own."""
        if self._long and not self.early and self._client.wish.waits():
            self.early = True
            self._stream.end()
        if self._speaks:
            self._show(ended=False)

    def end(self) -> None:
        """Show the figures of the whole window, when it is over."""
        if self._speaks:
            self._show(ended=True)

    def _show(self, *, ended: bool) -> None:
        client, window = self._client, self._window
        if client.comm.rank == 0:
            client.emit(self._progress(ended=ended))
        if window is not None and window.began_ns:
            until = window.ended_ns if ended else time.perf_counter_ns()
            for figure in self._figures(window, until):
                client.emit(figure)

    def _figures(self, window: Window, until_ns: int) -> list[Figure]:
        """What the window says up to a moment; nothing while there is no answer."""
        client, rank = self._client, self._client.comm.rank
        new = np.array(window.latencies[self._seen :], np.int64)
        seconds = (until_ns - window.began_ns) / 1e9
        self._seen += len(new)
        if not self._seen or seconds <= 0:
            return []
        if len(new):
            self._counts = merge([self._counts, histogram(new // 1000)])
        # Each client stands for all: so it is right whether all are heard, or one of each host.
        rate = self._seen * client.argument.batch * self._plan.clients / seconds
        p99 = percentile(self._counts, 0.99) / 1000
        most = client.argument.slo_ms
        return [
            Figure(rank, "QPS", rate, "queries/s"),
            Figure(rank, "p99", p99, "ms", most, better="lower", compares_hosts=True),
            *([client.recall_figure()] if rank == 0 else []),
        ]

    def _progress(self, *, ended: bool) -> Progress:
        """How far rank 0 is, in requests of all clients or in seconds."""
        plan, most = self._plan, self._client.argument.most_requests
        if most:
            total, unit = most, "requests"
            done = most if ended and not self.early else min(self._seen * plan.clients, most)
        else:
            total, unit = max(1, round(self._seconds)), "s"
            passed = round(time.monotonic() - self._began)
            done = total if ended and not self.early else min(passed, total)
        part, parts = self._client.place_of(plan)
        return Progress(0, named(plan, part, parts), done, total, unit, 0, part, parts)


def named(plan: PointPlan, part: int, parts: int) -> str:
    """What a point is called while it is measured.

    >>> from mlpstorage.kinds.vectordb.record import PointPlan
    >>> named(PointPlan(number=1, clients=8), 2, 4)
    'point 2/4, clients: 8'
    """
    rate = "" if plan.rate is None else f", {plan.rate:.0f} requests/s"
    return f"point {part}/{parts}, clients: {plan.clients}{rate}"
