"""The plans that need no simulation do what their names say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.kv.plan import Op
from mlpstorage.engine.kv.plans import delete_plan, populate_plan, restore_plan, store_plan
from mlpstorage.engine.kv.schedule import most_blocks

SMALL = st.integers(1, 12)


def test_populating_writes_in_order_and_deleting_deletes() -> None:
    """Every block once, in the given order; deletes likewise."""
    blocks = np.array([9, 4, 7], np.uint64)
    for plan, op in (
        (populate_plan(blocks, 4096), Op.WRITE),
        (delete_plan(blocks, 4096), Op.DELETE),
    ):
        assert plan.block.tolist() == [9, 4, 7]
        assert set(plan.op.tolist()) == {op}


@given(SMALL, SMALL, st.integers(1, 60), SMALL)
def test_restoring_reads_runs_of_neighbours(
    concurrency: int, length: int, requests: int, runs: int
) -> None:
    """Each request is one run in the order of writing; no run repeats before all were read."""
    blocks = np.arange(100, 100 + runs * length, dtype=np.uint64)
    plan = restore_plan(
        blocks, 4096, concurrency=concurrency, requests=requests, blocks_per_request=length,
        seed=1, tokens_per_block=16,
    )  # fmt: skip
    rows = plan.block.reshape(requests, length).astype(np.int64)
    assert (np.diff(rows, axis=1) == 1).all()
    first = (rows[:, 0] - 100) // length
    for start in range(0, requests, runs):
        part = first[start : start + runs].tolist()
        assert len(set(part)) == len(part)
    assert plan.hit_tokens.tolist() == [16 * length] * requests
    assert len(set(plan.session.tolist())) == min(concurrency, requests)


@given(SMALL, SMALL, st.integers(1, 40), st.integers(0, 60))
def test_storing_keeps_so_many_blocks(
    concurrency: int, length: int, requests: int, keep: int
) -> None:
    """Every block is new, the oldest goes first, and no more than asked for stay."""
    plan = store_plan(
        5, 4096, concurrency=concurrency, requests=requests, blocks_per_request=length,
        keep_blocks=keep,
    )  # fmt: skip
    written = plan.block[plan.op == Op.WRITE].tolist()
    deleted = plan.block[plan.op == Op.DELETE].tolist()
    assert written == list(range(5, 5 + requests * length))
    assert deleted == written[: len(deleted)]
    assert most_blocks(plan, 0) <= max(keep, concurrency * length)
    assert plan.first_op[-1] == len(plan.op)
