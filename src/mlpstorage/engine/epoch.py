"""Which bytes a rank reads in one epoch, in which order, and in which step each is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class EpochPlan:
    """A rank's reads of one epoch, one entry per visit of a file.

    `files`, `first` and `samples` are arrays of one length: the file's index in the data set, the
    first sample in it that this rank wants, and how many from there on. All ranks of an epoch do
    the same number of `steps` of `batch` samples.
    """

    files: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    steps: int
    batch: int


def steps_per_epoch(files: int, samples_per_file: int, batch: int, ranks: int) -> int:
    """Whole steps that every rank can do; what is left over is not read, as with drop_last.

    >>> steps_per_epoch(168, 1, 7, 4)
    6
    """
    return files * samples_per_file // (batch * ranks)


def file_order(files: int, *, shuffle: str, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of the files in an epoch, the same on every rank.

    `off` keeps the order of the names; `seed` and `random` draw a new order each epoch (for
    `random` the caller passes a seed that differs from run to run).
    """
    if shuffle == "off":
        return np.arange(files)
    return np.random.default_rng((seed, epoch)).permutation(files)


def plan_epoch(
    order: npt.NDArray[np.int64], *, samples_per_file: int, batch: int, rank: int, ranks: int
) -> EpochPlan:
    """Cut the epoch's stream of samples into equal shares and describe the share of one rank.

    The stream is the samples of the files in `order`; a rank's share is contiguous in it, so with
    many samples per file at most two files are shared with a neighbour.

    >>> plan = plan_epoch(np.arange(4), samples_per_file=3, batch=2, rank=1, ranks=2)
    >>> plan.files.tolist(), plan.first.tolist(), plan.samples.tolist(), plan.steps
    ([2, 3], [0, 0], [3, 3], 3)
    """
    steps = steps_per_epoch(len(order), samples_per_file, batch, ranks)
    share = steps * batch
    begin, end = rank * share, (rank + 1) * share
    slots = np.arange(begin // samples_per_file, -(-end // samples_per_file))
    first = np.maximum(begin - slots * samples_per_file, 0)
    last = np.minimum(end - slots * samples_per_file, samples_per_file)
    return EpochPlan(order[slots], first, last - first, steps, batch)


def cut_visits(plan: EpochPlan, unit: int) -> EpochPlan:
    """The plan with every visit cut at the multiples of `unit` samples of its file.

    >>> plan = EpochPlan(np.array([7]), np.array([2]), np.array([5]), steps=1, batch=5)
    >>> cut = cut_visits(plan, 3)
    >>> cut.files.tolist(), cut.first.tolist(), cut.samples.tolist()
    ([7, 7, 7], [2, 3, 6], [1, 3, 1])
    """
    ends = plan.first + plan.samples
    begin_unit, end_unit = plan.first // unit, -(-ends // unit)
    pieces = end_unit - begin_unit
    before = np.repeat(np.cumsum(pieces) - pieces, pieces)
    units = np.repeat(begin_unit, pieces) + np.arange(pieces.sum()) - before
    first = np.maximum(units * unit, np.repeat(plan.first, pieces))
    last = np.minimum((units + 1) * unit, np.repeat(ends, pieces))
    return EpochPlan(np.repeat(plan.files, pieces), first, last - first, plan.steps, plan.batch)
