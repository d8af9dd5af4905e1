from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.engine.kv.layouts import Places
from mlpstorage.engine.kv.plan import Op
from mlpstorage.engine.kv.schedule import order_of
from mlpstorage.kinds.kvcache.compiled import compile_plan
from mlpstorage.kinds.kvcache.planner import combined_hash
from mlpstorage.kinds.kvcache.reuse import reuse_distances
from mlpstorage.kinds.kvcache.stream import RequestStream
from mlpstorage.kinds.kvcache.tiers import Capacity, WritePolicy

if TYPE_CHECKING:
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.kinds.kvcache.compiled import CompiledPlan

Requests = list[list[int]]
requests = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True), max_size=30)
capacities = st.builds(Capacity, st.integers(0, 4), st.integers(0, 6), st.integers(1, 10))


def stream_of(asked: Requests, sessions: int = 1) -> RequestStream:
    """Requests for these blocks, all of them looked up, ten tokens each."""
    lengths = [len(blocks) for blocks in asked]
    count = len(asked)
    return RequestStream(
        session=(np.arange(count) % sessions).astype(np.int32),
        kind=np.zeros(count, np.int8),
        arrival_ns=np.zeros(count, np.int64),
        input_tokens=np.array(lengths, np.int32) * 10,
        output_tokens=np.zeros(count, np.int32),
        prompt_blocks=np.array(lengths, np.int32),
        first_block=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        block=np.array([b for blocks in asked for b in blocks], np.uint64),
        block_tokens=10,
        open_loop=False,
        kinds=("any",),
    )


def compiled(asked: Requests, capacity: Capacity, policy: WritePolicy) -> CompiledPlan:
    """The plan of these requests on an empty cache."""
    return compile_plan(stream_of(asked), capacity, policy, block_bytes=4096)


@given(st.lists(st.integers(0, 8), max_size=60))
def test_reuse_distances_count_the_blocks_in_between(used: list[int]) -> None:
    """The fast count agrees with looking at every pair of uses."""
    expected = []
    for at, block in enumerate(used):
        earlier = [k for k in range(at) if used[k] == block]
        if earlier:
            expected.append(len(set(used[earlier[-1] + 1 : at])))
    assert reuse_distances(np.array(used, np.int64)).tolist() == expected


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 9))
def test_a_cache_hits_what_comes_back_in_time(used: list[int], capacity: int) -> None:
    """A use is a hit exactly if fewer different blocks than fit were used in between."""
    plan = compiled([[b] for b in used], Capacity(0, 0, capacity), WritePolicy.INCLUSIVE)
    distances = reuse_distances(np.array(used, np.int64))
    assert plan.hit_blocks.sum() == (distances < capacity).sum()


@settings(deadline=None)
@given(requests, capacities, st.sampled_from(list(WritePolicy)))
def test_a_plan_never_contradicts_storage(
    asked: Requests, capacity: Capacity, policy: WritePolicy
) -> None:
    """Only what is there is read or deleted, only what is missing is written, and it fits."""
    plan = compiled(asked, capacity, policy)
    there: set[int] = set()
    for op, block in zip(plan.op.tolist(), plan.block.tolist(), strict=True):
        if op == Op.WRITE:
            assert block not in there
            there.add(block)
            assert len(there) <= capacity.storage
        else:
            assert block in there
            if op == Op.DELETE:
                there.remove(block)
    assert there == set(plan.resident.tolist())


@settings(deadline=None)
@given(requests, capacities, st.sampled_from(list(WritePolicy)))
def test_hits_are_a_prefix_and_reads_are_the_hits_of_storage(
    asked: Requests, capacity: Capacity, policy: WritePolicy
) -> None:
    """Each request reads the blocks that storage alone has of the run from its prompt's start."""
    plan = compiled(asked, capacity, policy)
    for number, blocks in enumerate(asked):
        here = slice(plan.first_op[number], plan.first_op[number + 1])
        read = plan.block[here][plan.op[here] == Op.READ].tolist()
        run = int(plan.hit_blocks[number].sum())
        assert len(read) == plan.hit_blocks[number, 2]
        assert set(read) <= set(blocks[:run])


@settings(deadline=None)
@given(requests, capacities)
def test_a_gpu_tier_never_costs_hits(asked: Requests, capacity: Capacity) -> None:
    """With a tier in front that storage includes, as many blocks are hit in all, or more."""
    alone = Capacity(0, 0, capacity.storage)
    both = compiled(asked, capacity, WritePolicy.INCLUSIVE)
    assert both.hit_blocks.sum() >= compiled(asked, alone, WritePolicy.INCLUSIVE).hit_blocks.sum()


def test_exclusive_tiers_hold_their_sum() -> None:
    """Blocks that move between tiers fill all of them: 1 + 1 + 1 blocks hit a loop over three."""
    loop = [[1], [2], [3]] * 3
    exclusive = compiled(loop, Capacity(1, 1, 1), WritePolicy.EXCLUSIVE)
    inclusive = compiled(loop, Capacity(1, 1, 1), WritePolicy.INCLUSIVE)
    assert exclusive.hit_blocks.sum() == 6
    assert inclusive.hit_blocks.sum() == 0
    assert exclusive.hit_blocks[3].tolist() == [0, 0, 1]


def test_what_does_not_fit_is_not_stored() -> None:
    """A request larger than the cache keeps the beginning of its prompt, and evicts none of it."""
    plan = compiled([[1, 2, 3], [1, 2, 3]], Capacity(0, 0, 2), WritePolicy.INCLUSIVE)
    assert plan.hit_blocks[:, 2].tolist() == [0, 2]
    assert (plan.op == Op.WRITE).sum() == 2


def test_resident_blocks_are_there_at_the_start() -> None:
    """What is stored before the clock is read without having been written, the oldest evicted."""
    stream = stream_of([[7], [8]])
    plan = compile_plan(
        stream,
        Capacity(0, 0, 2),
        WritePolicy.INCLUSIVE,
        block_bytes=4096,
        populate=np.array([5, 6, 7], np.uint64),
    )
    assert plan.populate.tolist() == [6, 7]
    ops = list(zip(plan.op.tolist(), plan.block.tolist(), strict=True))
    assert ops == [(Op.READ, 7), (Op.DELETE, 6), (Op.WRITE, 8)]


def operations(plan: KvPlan) -> list[tuple[int, int]]:
    """The operations as pairs of block and operation."""
    return list(zip(plan.block.tolist(), plan.op.tolist(), strict=True))


@settings(deadline=None)
@given(requests, capacities, st.integers(1, 5), st.integers(1, 4))
def test_ranks_together_do_what_one_does(
    asked: Requests, capacity: Capacity, sessions: int, ranks: int
) -> None:
    """The ranks' operations are those of the plan, each once, and no rank contradicts itself."""
    stream = stream_of(asked, sessions)
    plan = compile_plan(stream, capacity, WritePolicy.INCLUSIVE, block_bytes=4096)
    shares = [plan.share(rank, ranks) for rank in range(ranks)]
    together = sorted(pair for share in shares for pair in operations(share))
    assert together == sorted(operations(plan.share(0, 1)))
    for share in shares:
        order_of(share, Places(share.block, np.full(len(share.block), -1, np.int64)))
        assert share.first_op[-1] == len(share.op)


def test_the_hash_covers_parameters_and_operations() -> None:
    """Another seed, or another operation, is another hash; the same again is the same."""
    one = compiled([[1], [2]], Capacity(0, 0, 5), WritePolicy.INCLUSIVE)
    other = compiled([[1], [3]], Capacity(0, 0, 5), WritePolicy.INCLUSIVE)
    assert one.digest({"seed": 1}) == one.digest({"seed": 1})
    assert len({one.digest({"seed": 1}), one.digest({"seed": 2}), other.digest({"seed": 1})}) == 3


def test_equal_hashes_of_ranks_are_the_plans() -> None:
    """Ranks that compiled one plan have its hash; caches of their own make one of all in order."""
    assert combined_hash(["a", "a"]) == "a"
    assert combined_hash(["a", "b"]) != combined_hash(["b", "a"])


@pytest.mark.parametrize("policy", list(WritePolicy))
def test_no_requests_are_no_plan(policy: WritePolicy) -> None:
    """An empty stream compiles to nothing."""
    plan = compiled([], Capacity(1, 1, 1), policy)
    assert len(plan.op) == 0
    assert len(plan.share(0, 1).session) == 0
