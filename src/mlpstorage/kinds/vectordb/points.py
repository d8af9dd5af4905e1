"""One point of the sweep on one rank: caches, ramp, the window, and what was counted in it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.counters import Counters
from mlpstorage.engine.histogram import histogram
from mlpstorage.engine.links import busiest_share
from mlpstorage.kinds.vectordb.cache import make_cold, resident_share
from mlpstorage.kinds.vectordb.record import CacheProof, PointRecord
from mlpstorage.kinds.vectordb.search import Stream, Window, closed_loop, ids_of, open_loop
from mlpstorage.kinds.vectordb.so_far import SoFar, is_long, named
from mlpstorage.kinds.vectordb.ticking import Ticking
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.backends.interface import OwnCounters, Search
    from mlpstorage.kinds.vectordb.client import Client
    from mlpstorage.kinds.vectordb.control_group import ControlGroup
    from mlpstorage.kinds.vectordb.record import PointPlan

# A warm-up goes on until two rounds of it differ by less than this.
_SETTLED = 0.02
_MOST_ROUNDS = 12
_LEAST_ROUND_SECONDS = 0.5
# Longer than any window that ends by its number of requests should take.
_MOST_SECONDS = 86_400.0


@dataclass(frozen=True)
class Reading:
    """All counters at one moment."""

    kernel: Counters
    own: OwnCounters | None
    group: tuple[int, int] | None


class PointCounters:
    """Reads the counters of this rank: its own, its engine's, and on a host's first its group's."""

    def __init__(self, client: Client, group: ControlGroup) -> None:
        self._backend, self._group = client.backend, group
        self.counts_group = client.comm.local_rank == 0

    def read(self) -> Reading:
        """All of them, now."""
        return Reading(Counters.now(), self._backend.counters(), self.group())

    def group(self) -> tuple[int, int] | None:
        """Reads and bytes of the host's group, on the host's first rank."""
        return self._group.reads() if self.counts_group else None


class PointRunner:
    """Does the points of a run on one rank."""

    def __init__(self, client: Client, effort: int, group: ControlGroup) -> None:
        self._client, self._effort, self._group = client, effort, group
        self._argument, self._comm = client.argument, client.comm
        self._counters = PointCounters(client, group)

    def run(self, plan: PointPlan) -> PointRecord | None:
        """One point; every rank calls it, whether the point needs it or not.

        None on all of them if the user wants to stop, and its window was not begun.
        """
        active = is_active(self._comm.rank, self._comm.size, plan.clients)
        client = self._client
        cache = self._cold(plan) if self._argument.cache_state == "cold" else CacheProof(method="")
        place = _place(self._comm.rank, self._comm.size, plan.clients)
        stream = Stream(
            len(client.queries),
            place,
            plan.clients,
            self._argument.seed + plan.number,
            self._argument.batch,
        )
        search = client.backend.searcher(self._argument.k, self._effort)
        if self._argument.cache_state == "warm":
            cache, stopped = self._warm(search, stream, plan, active=active)
            if stopped:
                return None
        shown = SoFar(client, plan, stream)
        shown.begin()
        self._comm.barrier()
        if not active:
            return self._idle(plan, cache)
        with Ticking(shown.tick):
            if self._argument.ramp_seconds:
                self._loop(search, stream, plan, Window(), self._argument.ramp_seconds, ramp=True)
            before, window = self._counters.read(), shown.window()
            self._loop(search, stream, plan, window, self._argument.steady_seconds, ramp=False)
            after = self._counters.read()
        shown.end()
        if shown.early:
            self._client.wish.heard()  # something was left out, if it was the last point, too
        self._comm.barrier()
        return self._record(plan, cache, window, before, after, early=shown.early)

    def _loop(
        self,
        search: Search,
        stream: Stream,
        plan: PointPlan,
        window: Window,
        seconds: float,
        *,
        ramp: bool,
    ) -> Window:
        client, known = self._client, 0 if ramp else self._client.truth.queries
        if plan.rate is not None:
            # A seed of its own for every client, point and part.
            seed = hash((self._argument.seed, plan.number, self._comm.rank, ramp))
            return open_loop(
                search, client.queries, stream, seconds=seconds, known=known, window=window,
                rate=plan.rate / plan.clients, seed=seed,
            )  # fmt: skip
        most = 0 if ramp else -(-self._argument.most_requests // plan.clients)
        return closed_loop(
            search, client.queries, stream, seconds=_MOST_SECONDS if most else seconds,
            most=most, known=known, window=window,
        )  # fmt: skip

    def _cold(self, plan: PointPlan) -> CacheProof:
        """Close, drop, look, and open again: what a live process has mapped would stay."""
        del plan
        backend, comm = self._client.backend, self._comm
        method, share = "", None
        backend.close()
        comm.barrier()
        if comm.local_rank == 0:
            files = backend.files()
            method = make_cold(files)
            share = resident_share(files)
        comm.barrier()
        backend.open()
        return CacheProof(method=method, resident_share=share)

    def _warm(
        self, search: Search, stream: Stream, plan: PointPlan, *, active: bool
    ) -> tuple[CacheProof, bool]:
        """Ask until the rate settles, or the user wants to stop; rank 0 decides for all."""
        seconds = max(_LEAST_ROUND_SECONDS, self._argument.steady_seconds / 10)
        last, rounds, settled = 0.0, 0, False
        part, parts = self._client.place_of(plan)
        while not settled and rounds < _MOST_ROUNDS:
            if self._comm.rank == 0:
                name = f"warming up for {named(plan, part, parts)}"
                self._client.report(name, rounds, _MOST_ROUNDS, "rounds at most", 0)
            if self._client.wish.agreed():
                return CacheProof(method="warm-up"), True
            self._comm.barrier()
            done = 0
            if active:
                queries = self._client.queries
                done = len(closed_loop(search, queries, stream, seconds=seconds).latencies)
            answered = self._comm.gather(done)
            rate = sum(answered) / seconds if answered else 0.0
            near = abs(rate - last) < _SETTLED * max(rate, 1e-9)
            settled = bool(self._comm.broadcast(near))
            last, rounds = rate, rounds + 1
        share = None
        if self._comm.local_rank == 0:
            share = resident_share(self._client.backend.files())
        proof = CacheProof(
            method="warm-up", resident_share=share, warmup_rounds=rounds, settled=settled
        )
        return proof, False

    def _idle(self, plan: PointPlan, cache: CacheProof) -> PointRecord:
        """The record of a rank that waits; the first of a host still counts for its group."""
        reads = moved = None
        if self._counters.counts_group:
            self._sleep(self._argument.ramp_seconds)
            before = self._group.reads()
            if not self._argument.most_requests:
                self._sleep(self._argument.steady_seconds)
                reads, moved = difference(before, self._group.reads())
        self._comm.barrier()
        if self._counters.counts_group and self._argument.most_requests:
            reads, moved = difference(before, self._group.reads())
        return PointRecord(
            point=plan.number,
            active=False,
            cache=cache,
            group_reads=reads,
            group_bytes=moved,
            group_source=self._group.source if reads is not None else "",
        )

    def _sleep(self, seconds: float) -> None:
        """Sleep as long as the others measure; a long point may be ended early."""
        argument, until = self._argument, time.monotonic() + seconds
        long = is_long(argument.steady_seconds, argument.ramp_seconds, argument.most_requests)
        while (left := until - time.monotonic()) > 0:
            if long and self._client.wish.waits():
                return
            time.sleep(min(left, 1.0) if long else left)

    def _record(
        self,
        plan: PointPlan,
        cache: CacheProof,
        window: Window,
        before: Reading,
        after: Reading,
        *,
        early: bool,
    ) -> PointRecord:
        latencies = np.frombuffer(window.latencies, np.int64) / 1000
        counts = histogram(latencies.astype(np.int64))
        rows = np.array([row for row, _ in window.answers], np.int64)
        answers = ids_of([found[0] for _, found in window.answers], self._argument.k)
        start, end = before.kernel, after.kernel
        reads, moved = difference(before.group, after.group)
        ticks = os.sysconf("SC_CLK_TCK")
        own = (before.own, after.own) if before.own and after.own else None
        return PointRecord(
            point=plan.number,
            active=True,
            cache=cache,
            ended_early=early,
            window_seconds=window.seconds,
            requests=len(window.latencies),
            queries=len(window.latencies) * self._argument.batch,
            failed=window.failed,
            cut=window.cut,
            overdue=window.overdue,
            latency_us={str(bucket): count for bucket, count in counts.items()},
            latency_sum_us=float(latencies.sum()),
            latency_max_us=float(latencies.max(initial=0)),
            recalls=self._client.recalls_of(rows, answers),
            user_seconds=end.user_seconds - start.user_seconds,
            system_seconds=end.system_seconds - start.system_seconds,
            read_bytes=end.read_bytes - start.read_bytes,
            own_reads=own[1].reads - own[0].reads if own else None,
            own_bytes=own[1].bytes - own[0].bytes if own else None,
            group_reads=reads,
            group_bytes=moved,
            group_source=self._group.source if reads is not None else "",
            group_memory_bytes=self._group.memory_bytes() if self._counters.counts_group else None,
            host_busy_seconds=(end.host_busy_ticks - start.host_busy_ticks) / ticks,
            host_iowait_seconds=(end.host_iowait_ticks - start.host_iowait_ticks) / ticks,
            host_cpus=usable_cpus(),
            network_share=busiest_share(start.links, end.links, window.seconds),
            resident_bytes=_resident_bytes(),
        )


def is_active(rank: int, ranks: int, clients: int) -> bool:
    """Whether a rank takes part in a point of some clients: evenly over ranks, and so over hosts.

    >>> [rank for rank in range(8) if is_active(rank, 8, 2)]
    [0, 4]
    >>> [sum(is_active(rank, 7, c) for rank in range(7)) for c in range(1, 8)]
    [1, 2, 3, 4, 5, 6, 7]
    """
    return rank == 0 or _place(rank, ranks, clients) != _place(rank - 1, ranks, clients)


def _place(rank: int, ranks: int, clients: int) -> int:
    """The number of a rank among a point's clients, from 0; that of the last one before it."""
    return rank * clients // ranks


def difference(
    before: tuple[int, int] | None, after: tuple[int, int] | None
) -> tuple[int | None, int | None]:
    """Reads and bytes between two moments; None where they were not counted."""
    if before is None or after is None:
        return None, None
    return after[0] - before[0], after[1] - before[1]


def _resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
