"""The order within blocks, compared with a plain simulation of what must precede what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kv.kv_rig import D, R, Request, W, plan_of
from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.kv.layouts import Places
from mlpstorage.engine.kv.plan import Op
from mlpstorage.engine.kv.schedule import most_blocks, order_of

if TYPE_CHECKING:
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.schedule import Order


def order(plan: KvPlan) -> Order:
    """The order when no slot is used twice."""
    return order_of(plan, Places(plan.block, np.full(len(plan.op), -1, np.int64)))


@st.composite
def valid_ops(draw: st.DrawFn) -> list[tuple[Op, int]]:
    """Operations on a few blocks that start resident; none is used after its deletion."""
    there = {1: True, 2: True, 3: True}
    ops = []
    for block, choice in draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)))):
        op = Op(choice) if there[block] else W
        there[block] = op != D
        ops.append((op, block))
    return ops


@settings(max_examples=200, deadline=None)
@given(valid_ops())
def test_the_order_is_that_of_a_plain_simulation(ops: list[tuple[Op, int]]) -> None:
    """Sources, followers and counts agree with a loop over the operations."""
    found = order(plan_of(Request(ops)))
    for index, (op, block) in enumerate(ops):
        before = [i for i in range(index) if ops[i][1] == block]
        behind = [i for i in range(index + 1, len(ops)) if ops[i][1] == block]
        exclusive = [i for i in before if ops[i][0] != R]
        last = exclusive[-1] if exclusive else -1
        assert found.source[index] == (last if op != W else -1)
        assert found.follower[index] == next((i for i in behind if ops[i][0] != R), -1)
        waits = [i for i in before if i >= last] if op != R else []
        assert found.needs[index] == len(waits)


def test_a_reused_slot_waits_for_its_delete_too() -> None:
    """The WRITE into a slot counts the DELETE that frees it, and that DELETE names it."""
    plan = plan_of(Request([(D, 1), (R, 2), (W, 9)]))
    found = order_of(plan, Places(plan.block, np.array([-1, -1, 0])))
    assert found.takes_place.tolist() == [2, -1, -1]
    assert found.needs.tolist() == [0, 0, 1]


@pytest.mark.parametrize("op", [R, D])
def test_use_after_deletion_is_refused(op: Op) -> None:
    """A plan that reads or deletes what it has deleted names the operation and the block."""
    with pytest.raises(
        ConfigurationError, match="operation 2 of the plan uses block 0000000000000005"
    ):
        order(plan_of(Request([(R, 5), (D, 5), (op, 5)])))


def test_most_blocks_is_the_peak() -> None:
    """The peak of what is there, the resident blocks included."""
    assert most_blocks(plan_of(Request([(W, 1), (W, 2), (D, 1), (W, 3)])), resident=10) == 12
    assert most_blocks(plan_of(Request([(D, 1), (W, 2)])), resident=10) == 10
    assert most_blocks(plan_of(Request([])), resident=3) == 3
