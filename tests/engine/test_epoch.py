from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.epoch import file_order, plan_epoch, steps_per_epoch

if TYPE_CHECKING:
    from mlpstorage.engine.epoch import EpochPlan

SIZES = {
    "files": st.integers(1, 40),
    "samples_per_file": st.integers(1, 30),
    "batch": st.integers(1, 12),
    "ranks": st.integers(1, 7),
    "shuffle": st.sampled_from(["off", "seed"]),
}


def samples_of(plan: EpochPlan) -> list[tuple[int, int]]:
    """The (file, sample) pairs of a plan in its order."""
    visits = zip(plan.files.tolist(), plan.first.tolist(), plan.samples.tolist(), strict=True)
    return [(file, first + k) for file, first, count in visits for k in range(count)]


@given(**SIZES)
def test_all_ranks_together_read_each_sample_at_most_once(
    files: int, samples_per_file: int, batch: int, ranks: int, shuffle: str
) -> None:
    """Exactly steps × batch × ranks samples are read, all different, and less than a step is left.

    They are the beginning of the epoch's stream, cut among the ranks in order.
    """
    order = file_order(files, shuffle=shuffle, seed=3, epoch=1)
    plans = [
        plan_epoch(order, samples_per_file=samples_per_file, batch=batch, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    read = [sample for plan in plans for sample in samples_of(plan)]
    stream = [(int(file), k) for file in order for k in range(samples_per_file)]
    (steps,) = {plan.steps for plan in plans}
    assert len(read) == len(set(read)) == steps * batch * ranks
    assert read == stream[: len(read)]
    assert 0 <= len(stream) - len(read) < batch * ranks
    assert steps == steps_per_epoch(files, samples_per_file, batch, ranks)


@given(**SIZES)
def test_every_visit_is_of_some_samples_of_its_file(
    files: int, samples_per_file: int, batch: int, ranks: int, shuffle: str
) -> None:
    """No visit is empty or passes its file's end, and only a share's edges are partial."""
    order = file_order(files, shuffle=shuffle, seed=3, epoch=1)
    for rank in range(ranks):
        plan = plan_epoch(
            order, samples_per_file=samples_per_file, batch=batch, rank=rank, ranks=ranks
        )
        assert len(plan.files) == len(plan.first) == len(plan.samples)
        assert (plan.samples > 0).all()
        assert (plan.first >= 0).all()
        assert (plan.first + plan.samples <= samples_per_file).all()
        assert (plan.samples[1:-1] == samples_per_file).all()
        assert plan.samples.sum() == plan.steps * batch


def test_a_file_at_a_border_is_read_by_both_neighbours() -> None:
    """Two ranks that share a file read its samples up to the border, and from there on."""
    left, right = (
        plan_epoch(np.array([7, 5, 9]), samples_per_file=10, batch=5, rank=rank, ranks=2)
        for rank in range(2)
    )
    assert (left.files.tolist(), left.first.tolist(), left.samples.tolist()) == (
        [7, 5], [0, 0], [10, 5],
    )  # fmt: skip
    assert (right.files.tolist(), right.first.tolist(), right.samples.tolist()) == (
        [5, 9], [5, 0], [5, 10],
    )  # fmt: skip


def test_too_few_samples_for_a_step_are_no_steps() -> None:
    """When not every rank can have a batch, nobody reads anything."""
    plan = plan_epoch(np.arange(3), samples_per_file=1, batch=2, rank=1, ranks=2)
    assert (plan.steps, plan.files.tolist()) == (0, [])


@pytest.mark.parametrize("shuffle", ["seed", "random"])
def test_a_shuffled_order_depends_on_seed_and_epoch_only(shuffle: str) -> None:
    """Every rank draws the same order; another epoch or seed draws another of the same files."""
    order = file_order(100, shuffle=shuffle, seed=10, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() == file_order(100, shuffle=shuffle, seed=10, epoch=2).tolist()
    others = {(seed, epoch) for seed in (10, 11) for epoch in (1, 2)} - {(10, 2)}
    for seed, epoch in others:
        assert file_order(100, shuffle=shuffle, seed=seed, epoch=epoch).tolist() != order.tolist()


def test_without_shuffling_files_come_in_the_order_of_their_names() -> None:
    """Every epoch begins with the first file."""
    assert file_order(4, shuffle="off", seed=10, epoch=2).tolist() == [0, 1, 2, 3]
