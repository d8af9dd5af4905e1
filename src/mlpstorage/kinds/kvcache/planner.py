"""From a setup to plans: what one rank, and all of them together, will do."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.kinds.kvcache.compiled import compile_plan
from mlpstorage.kinds.kvcache.mlperf_v3 import v3_plan, v3_profile
from mlpstorage.kinds.kvcache.synthetic import Pace, Population
from mlpstorage.kinds.kvcache.tiers import Capacity, WritePolicy
from mlpstorage.kinds.kvcache.trace import trace_stream
from mlpstorage.kinds.kvcache.users import closed_loop, residents

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.kinds.kvcache.compiled import CompiledPlan
    from mlpstorage.kinds.kvcache.setup import Setup
    from mlpstorage.kinds.kvcache.stream import RequestStream
    from mlpstorage.kinds.kvcache.users import Residents

# What fits in memory as a plan of one rank: 25 bytes each, and as many again while compiling.
MOST_OPERATIONS = 4_000_000


class Planner:
    """Makes the plans of a rank; any rank makes the same plan of all ranks.

    With a shared key space there is one cache: everybody compiles all of it, and takes the
    operations of its own sessions. With a private one, every rank has users and a cache of its own,
    a share of what was asked for.

    Args:
        setup: What is asked.
        rank: This rank's number.
        ranks: How many there are.
    """

    def __init__(self, setup: Setup, rank: int = 0, ranks: int = 1) -> None:
        self.setup = setup
        self.rank, self.ranks = rank, ranks
        self._parts = ranks if setup.private else 1

    @property
    def capacity(self) -> Capacity:
        """Blocks of each tier, of one cache."""
        setup, size = self.setup, self.setup.shape.block_bytes * self._parts
        return Capacity(
            setup.gpu_bytes // size, setup.cpu_bytes // size, setup.capacity_bytes // size
        )

    @cached_property
    def population(self) -> Population:
        """The synthetic users."""
        setup = self.setup
        return Population(
            setup.workload,
            setup.seed,
            setup.shape.block_tokens,
            multi_turn=setup.multi_turn,
            shared_prefixes=setup.shared_prefixes,
            namespace=self.rank if setup.private else 0,
        )

    @cached_property
    def residents(self) -> Residents:
        """What the cache holds before a plan of synthetic users."""
        return residents(self.population, self.capacity.storage, multi_turn=self.setup.multi_turn)

    @property
    def most_users(self) -> int:
        """How many users find a session that goes on, over all ranks."""
        return max(1, self.residents.returning) * self._parts

    def own_users(self, users: int) -> int:
        """This cache's share of a number of users."""
        return users // self._parts + (self._parts > 1 and self.rank < users % self._parts)

    def serve(self, users: int, seconds: float) -> CompiledPlan:
        """What a number of users ask within a time, on a cache that is full."""
        setup = self.setup
        stream = closed_loop(
            self.population,
            self.own_users(users),
            seconds,
            Pace(setup.prefill_tokens_per_second, setup.decode_ns_per_token),
            returning=self.residents.returning,
        )
        return self._compiled(stream, self.residents.block)

    def replay(self) -> CompiledPlan:
        """The trace, on an empty cache."""
        trace = self.setup.trace
        if trace is None:
            raise ValueError("there is no trace to replay")
        stream = trace_stream(
            Path(trace.path),
            block_tokens=self.setup.shape.block_tokens,
            speed=trace.speed,
            limit=trace.limit,
        )
        return self._compiled(stream, None)

    def v3(self, seconds: float) -> CompiledPlan:
        """The published requests of this rank's users, on an empty cache."""
        setup = self.setup
        capacity, size = self.capacity, setup.shape.block_bytes
        return v3_plan(
            v3_profile(),
            setup.users,
            seed=setup.seed,
            seconds=seconds,
            block_bytes=size,
            cpu_blocks=setup.cpu_bytes // size,
            storage_blocks=capacity.storage,
            most_operations=MOST_OPERATIONS,
            first_user=self.rank * setup.users,
        )

    def _compiled(
        self,
        stream: RequestStream,
        populate: npt.NDArray[np.uint64] | None,
    ) -> CompiledPlan:
        setup = self.setup
        return compile_plan(
            stream,
            self.capacity,
            WritePolicy(setup.write_policy),
            block_bytes=setup.shape.block_bytes,
            populate=populate,
        )

    def share(self, plan: CompiledPlan) -> KvPlan:
        """This rank's operations of a plan."""
        return plan.share(0, 1) if self._is_own else plan.share(self.rank, self.ranks)

    def populate_share(self, plan: CompiledPlan) -> npt.NDArray[np.uint64]:
        """The blocks that this rank stores before a plan."""
        return plan.populate if self._is_own else plan.populate_share(self.rank, self.ranks)

    @property
    def _is_own(self) -> bool:
        return self.setup.private or self.ranks == 1

    def digest(self, plan: CompiledPlan) -> str:
        """The plan's hash, as this rank knows it: of everybody's plan, or of its own."""
        return plan.digest(identifying(self.setup))


def identifying(setup: Setup) -> dict[str, Any]:
    """The parameters that a plan's hash covers; not where a trace lies, nor how long it runs."""
    values: dict[str, Any] = msgspec.to_builtins(setup)
    for name in ("duration_seconds", "first_users", "users"):
        values.pop(name)
    if values["trace"]:
        values["trace"].pop("path")
    return values


def combined_hash(digests: Sequence[str]) -> str:
    """One hash of the ranks' hashes: theirs if all are equal, else of all of them in order.

    >>> combined_hash(["ab", "ab"]), len(combined_hash(["ab", "cd"]))
    ('ab', 64)
    """
    if len(set(digests)) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
