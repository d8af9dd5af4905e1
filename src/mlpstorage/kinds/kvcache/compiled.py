"""From requests to operations: the cache decided before the clock, in arrays for every rank."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.engine.kv.plan import KvPlan, Op
from mlpstorage.kinds.kvcache.sharing import rank_of_requests, shared_out
from mlpstorage.kinds.kvcache.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mlpstorage.kinds.kvcache.stream import RequestStream
    from mlpstorage.kinds.kvcache.tiers import Capacity, WritePolicy


@dataclass(frozen=True)
class CompiledPlan:
    """The operations of all ranks together, and what they mean; arrays as in `KvPlan`.

    Args:
        stream: The requests.
        op: `Op` of each operation, uint8.
        block: The operations' blocks, uint64.
        first_op: Where each request's operations begin, int64.
        hit_blocks: Blocks of each request found in G, C and S, int32 of shape (requests, 3).
        populate: Blocks that are stored before the clock, the least recently used first.
        resident: Blocks that are stored at the end, the least recently used first.
        block_bytes: The size of a block.
    """

    stream: RequestStream
    op: npt.NDArray[np.uint8]
    block: npt.NDArray[np.uint64]
    first_op: npt.NDArray[np.int64]
    hit_blocks: npt.NDArray[np.int32]
    populate: npt.NDArray[np.uint64]
    resident: npt.NDArray[np.uint64]
    block_bytes: int

    @cached_property
    def hit_tokens(self) -> npt.NDArray[np.int32]:
        """Prompt tokens found in G, C and S, int32 of shape (requests, 3).

        The tiers of a run are not ordered in it; a last block that is not full is counted in the
        tier that most of the run came from.
        """
        stream = self.stream
        tokens = self.hit_blocks.astype(np.int64) * stream.block_tokens
        over = np.maximum(tokens.sum(axis=1) - stream.input_tokens, 0)
        rows = np.arange(len(tokens))
        tokens[rows, np.argmax(tokens, axis=1)] -= over
        return tokens.astype(np.int32)

    def count(self, op: Op) -> int:
        """How many operations of a sort there are."""
        return int(np.count_nonzero(self.op == op))

    def share(self, rank: int, ranks: int) -> KvPlan:
        """The plan of one rank: the requests of its sessions, in their order (see `sharing`)."""
        stream = self.stream
        request_rank = rank_of_requests(stream.session, ranks)
        mine = np.flatnonzero(request_rank == rank)
        op_rank, request = shared_out(self.op, self.block, self.first_op, request_rank)
        own = np.flatnonzero(op_rank == rank)
        # What came from elsewhere makes room, like a request's own deletions: after its reads.
        after_reads = self.op[own] != Op.READ
        own = own[np.lexsort((own, after_reads, request[own]))]
        first = np.searchsorted(request[own], np.append(mine, stream.requests))
        return KvPlan(
            op=self.op[own],
            block=self.block[own],
            first_op=first.astype(np.int64),
            session=stream.session[mine],
            kind=stream.kind[mine],
            hit_tokens=self.hit_tokens[mine, 2],
            input_tokens=stream.input_tokens[mine],
            arrival_ns=stream.arrival_ns[mine],
            open_loop=stream.open_loop,
            kinds=stream.kinds,
            block_bytes=self.block_bytes,
        )

    def populate_share(self, rank: int, ranks: int) -> npt.NDArray[np.uint64]:
        """The blocks that one rank stores before the clock."""
        return self.populate[rank::ranks]

    def digest(self, parameters: Mapping[str, Any]) -> str:
        """The plan's hash: SHA-256 of the parameters and of all arrays, whoever executes them."""
        stream = self.stream
        digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
        arrays = (
            self.op, self.block, self.first_op, self.hit_blocks, self.populate, stream.session,
            stream.kind, stream.arrival_ns, stream.input_tokens, stream.output_tokens,
        )  # fmt: skip
        for array in arrays:
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str}{little.shape}".encode())
            digest.update(little.tobytes())
        return digest.hexdigest()


def compile_plan(
    stream: RequestStream,
    capacity: Capacity,
    policy: WritePolicy,
    *,
    block_bytes: int,
    populate: npt.NDArray[np.uint64] | None = None,
) -> CompiledPlan:
    """Decide every hit, write and eviction of a stream of requests.

    Args:
        stream: The requests in logical order.
        capacity: Blocks that each tier holds.
        policy: When blocks reach storage.
        block_bytes: The size of a block.
        populate: Blocks in storage at the start, the least recently used first; none by default.
    """
    resident = np.zeros(0, np.uint64) if populate is None else populate
    resident = resident[max(0, len(resident) - capacity.storage) :]
    known, dense = np.unique(np.concatenate([stream.block, resident]), return_inverse=True)
    numbers = dense.ravel().tolist()
    tiers = Tiers(capacity, policy)
    tiers.fill(numbers[len(stream.block) :])
    first_op = np.zeros(stream.requests + 1, np.int64)
    hits = np.zeros((stream.requests, 3), np.int32)
    borders, prompts = stream.first_block.tolist(), stream.prompt_blocks.tolist()
    counted = []
    ends = []
    for request, prompt in enumerate(prompts):
        blocks = numbers[borders[request] : borders[request + 1]]
        counted.append(tiers.serve(blocks, prompt))
        ends.append(len(tiers.block))
    if counted:
        hits[:], first_op[1:] = counted, ends
    return CompiledPlan(
        stream=stream,
        op=np.frombuffer(bytes(tiers.op), np.uint8),
        block=known[np.array(tiers.block, np.int64)] if tiers.block else np.zeros(0, np.uint64),
        first_op=first_op,
        hit_blocks=hits,
        populate=resident,
        resident=known[np.array(list(tiers.storage), np.int64)],
        block_bytes=block_bytes,
    )
