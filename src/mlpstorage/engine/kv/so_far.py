"""What the requests of a window say before its end: looked at about once a second, no more.

The threads that do the work note nothing for it: the board's times are there anyway. A look takes
those of the requests since the oldest that was unfinished last time, so it costs as much in a
window's tenth hour as in its first second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.board import DONE
from mlpstorage.engine.kv.latency import Latencies
from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.board import Board
    from mlpstorage.engine.kv.record import RankRecord

    Longs = NDArray[np.int64]
    Flags = NDArray[np.bool_]

# How far beyond the last request that had begun a look goes on searching for another.
_AHEAD = 4096


@dataclass(frozen=True)
class Standing:
    """How the requests of one rank's window stand.

    Args:
        requests: How many were restored.
        p95_ns: Their 95th percentile, from when they were due; 0 for none.
        share_within: The share of restores within their limit, of the class that keeps to it least;
            requests that wait for longer than their limit count as late. None without limits.
    """

    requests: int
    p95_ns: int
    share_within: float | None

    @classmethod
    def of(cls, record: RankRecord) -> Standing:
        """How a window stood at its end."""
        restores = Latencies.merged(kind.restore for kind in record.classes.values())
        shares = [
            kind.share_within()
            for kind in record.classes.values()
            if kind.slo_ppm.count or kind.unfinished_late
        ]
        return cls(restores.count, restores.quantile(0.95), min(shares, default=None))


class SoFar:
    """The standing of a window that is open.

    Args:
        board: The times of its requests.
        opens_ns: When it opened, by `perf_counter_ns`: what was restored before does not count.
    """

    def __init__(self, board: Board, opens_ns: int) -> None:
        plan, settings = board.plan, board.settings
        self._op, self._first_op, self._request_of = plan.op, plan.first_op, board.request_of
        self._outcome = np.frombuffer(board.outcome, np.uint8)
        self._due, self._dispatched = _of(board.due_ns), _of(board.dispatched_ns)
        self._restored, self._ended = _of(board.restored_ns), _of(board.ended_ns)
        self._reads = board.reads_in > 0
        self._ends_with_writes = settings.ends_with_writes
        self._kind, self._tokens = plan.kind, plan.hit_tokens
        self._per_token_ns = settings.slo_per_token_ns
        self._bases = {kind: base for kind, base in enumerate(settings.slo_base_ns) if base}
        self._seen_ns = opens_ns - 1
        self._oldest = self._behind = 0
        self._latencies = Latencies()
        self._within = dict.fromkeys(self._bases, 0)
        self._judged = dict.fromkeys(self._bases, 0)

    def look(self, now_ns: int) -> Standing:
        """How it stands now, by `perf_counter_ns`; to be called by one thread."""
        while self._dispatched[self._behind : self._behind + _AHEAD].any():
            self._behind += _AHEAD
        part = slice(self._oldest, self._behind)
        due, finished = self._due[part].copy(), self._finished(part)
        restored = finished > self._seen_ns
        restored[restored] = self._moved(part.start + np.flatnonzero(restored))
        waiting = (self._dispatched[part] > 0) & (finished == 0)
        latency = np.where(finished > 0, finished, now_ns) - due
        self._latencies = Latencies.merged([self._latencies, Latencies.of(latency[restored])])
        shares = list(self._shares(part, latency, restored, waiting))
        self._seen_ns = max(self._seen_ns, int(finished.max(initial=0)))
        unfinished = np.flatnonzero(finished == 0)
        self._oldest += int(unfinished[0]) if len(unfinished) else len(finished)
        found = self._latencies
        return Standing(found.count, found.quantile(0.95), min(shares, default=None))

    def _finished(self, part: slice) -> Longs:
        """When each was restored, or has ended where that is what counts; 0 if it has not yet."""
        if not self._ends_with_writes:
            return self._restored[part].copy()
        return np.where(self._reads[part], self._restored[part], self._ended[part])

    def _moved(self, requests: Longs) -> Flags:
        """Whether each of these ended requests moved any block: the others have no latency."""
        if not len(requests):
            return np.zeros(0, np.bool_)
        first, last = int(requests[0]), int(requests[-1]) + 1
        ops = slice(int(self._first_op[first]), int(self._first_op[last]))
        done = (self._outcome[ops] == DONE) & (self._op[ops] == Op.READ)
        request = self._request_of[ops]
        if self._ends_with_writes:
            done |= (self._outcome[ops] == DONE) & ~self._reads[request]
        moved = np.bincount(request[done] - first, minlength=last - first)
        flags: Flags = moved[requests - first] > 0
        return flags

    def _shares(
        self, part: slice, latency: Longs, restored: Flags, waiting: Flags
    ) -> Iterator[float]:
        """By class with a limit, the share within it."""
        tokens, kinds = self._tokens[part].astype(np.int64), self._kind[part]
        for kind, base in self._bases.items():
            mine = kinds == kind
            within = latency <= base + tokens * self._per_token_ns
            self._within[kind] += int((within & restored & mine).sum())
            self._judged[kind] += int((restored & mine).sum())
            judged = self._judged[kind] + int((~within & waiting & mine).sum())
            if judged:
                yield self._within[kind] / judged


def _of(values: array[int]) -> Longs:
    return np.frombuffer(values, np.int64)
