"""Plans that need no cache to be simulated: filling a directory, peak reading, peak writing.

They are plans like any other, so the same executor runs them. All requests are of closed loops of
C sessions without think time: C requests are in flight at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.plan import KvPlan, Op

if TYPE_CHECKING:
    from numpy.typing import NDArray


def populate_plan(blocks: NDArray[np.uint64], block_bytes: int, *, concurrency: int = 16) -> KvPlan:
    """Write each of these blocks once, in this order; a block per request.

    Args:
        blocks: Block ids.
        block_bytes: The size of a block.
        concurrency: How many blocks are in the making at a time.
    """
    op = np.full(len(blocks), Op.WRITE, np.uint8)
    return _closed(op, blocks, np.ones(len(blocks), np.int64), concurrency, "populate", block_bytes)


def delete_plan(blocks: NDArray[np.uint64], block_bytes: int, *, concurrency: int = 16) -> KvPlan:
    """Delete each of these blocks, a block per request."""
    op = np.full(len(blocks), Op.DELETE, np.uint8)
    return _closed(op, blocks, np.ones(len(blocks), np.int64), concurrency, "delete", block_bytes)


def restore_plan(
    resident: NDArray[np.uint64],
    block_bytes: int,
    *,
    concurrency: int,
    requests: int,
    blocks_per_request: int,
    seed: int,
    tokens_per_block: int = 0,
) -> KvPlan:
    """Read runs of blocks that are there: `concurrency` requests are in flight at any moment.

    A request reads a run of neighbours in the order in which they were written, as a prefix is.
    Runs come in a random order and repeat only when all have been read; the last, shorter run of
    the resident blocks is left out if there is another.

    Args:
        resident: The ids of the blocks that are there, in the order in which they were written.
        block_bytes: The size of a block.
        concurrency: C.
        requests: How many requests there are.
        blocks_per_request: The blocks of a request.
        seed: Of the order.
        tokens_per_block: What a block stands for.
    """
    block, lengths = _runs(resident, requests, blocks_per_request, seed)
    op = np.full(len(block), Op.READ, np.uint8)
    return _closed(op, block, lengths, concurrency, "restore", block_bytes, tokens_per_block)


def overwrite_plan(
    resident: NDArray[np.uint64],
    block_bytes: int,
    *,
    concurrency: int,
    requests: int,
    blocks_per_request: int,
    seed: int,
) -> KvPlan:
    """Write runs of blocks again that are there, as `restore_plan` reads them."""
    block, lengths = _runs(resident, requests, blocks_per_request, seed)
    op = np.full(len(block), Op.WRITE, np.uint8)
    return _closed(op, block, lengths, concurrency, "store", block_bytes)


def _runs(
    resident: NDArray[np.uint64], requests: int, blocks_per_request: int, seed: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The blocks of runs of neighbours in random order, and the length of each run."""
    length = min(blocks_per_request, len(resident))
    runs = max(1, len(resident) // length)
    rng = np.random.Generator(np.random.Philox(seed))
    passes = -(-requests // runs)
    order = np.concatenate([rng.permutation(runs) for _ in range(passes)])[:requests]
    block = resident[(order[:, None] * length + np.arange(length)).ravel()]
    return block, np.full(requests, length, np.int64)


def store_plan(
    first_block: int,
    block_bytes: int,
    *,
    concurrency: int,
    requests: int,
    blocks_per_request: int,
    keep_blocks: int,
    tokens_per_block: int = 0,
) -> KvPlan:
    """Write new blocks, and delete the oldest when more than `keep_blocks` would be there.

    Use it with `Settings.ends_with_writes`, or the sessions do not wait for their writes.

    Args:
        first_block: The ids count upwards from here (modulo 2**64).
        block_bytes: The size of a block.
        concurrency: How many requests are in flight at any moment.
        requests: How many requests there are.
        blocks_per_request: The blocks of a request.
        keep_blocks: The most blocks that stay; at least those of all requests in flight, or
            requests would have to wait for one another.
        tokens_per_block: What a block stands for.
    """
    keep = max(keep_blocks, blocks_per_request * concurrency)
    written = np.arange(requests * blocks_per_request, dtype=np.int64)
    deleted = written - keep
    columns = np.stack([deleted, written], axis=1).reshape(requests, -1)
    kinds = np.tile(np.array([Op.DELETE, Op.WRITE], np.uint8), len(written))
    wanted = columns.ravel() >= 0
    lengths = (columns >= 0).sum(axis=1).astype(np.int64)
    block = columns.ravel()[wanted].astype(np.uint64) + np.uint64(first_block)
    plan_op = kinds[wanted]
    return _closed(plan_op, block, lengths, concurrency, "store", block_bytes, tokens_per_block)


def _closed(
    op: NDArray[np.uint8],
    block: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    concurrency: int,
    kind: str,
    block_bytes: int,
    tokens_per_block: int = 0,
) -> KvPlan:
    requests = len(lengths)
    tokens = (lengths * tokens_per_block).astype(np.int32)
    return KvPlan(
        op=op,
        block=block,
        first_op=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        session=(np.arange(requests) % max(1, concurrency)).astype(np.int32),
        kind=np.zeros(requests, np.int8),
        hit_tokens=tokens if kind == "restore" else np.zeros(requests, np.int32),
        input_tokens=tokens,
        arrival_ns=np.zeros(requests, np.int64),
        open_loop=False,
        kinds=(kind,),
        block_bytes=block_bytes,
    )
