"""The plans of `restore`: prefixes that are there, read by so many requests at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.plan import KvPlan, Op
from mlpstorage.kinds.kvcache.mixing import random_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_ORDER = 3 << 60


def restore_runs(
    runs: Sequence[npt.NDArray[np.uint64]],
    *,
    in_flight: int,
    operations: int,
    seed: int,
    block_bytes: int,
    block_tokens: int,
) -> KvPlan:
    """Read whole prefixes, in a random order that repeats only when all have been read.

    Args:
        runs: The blocks of each prefix.
        in_flight: How many requests there are at any moment.
        operations: How many blocks are read at least.
        seed: Of the order.
        block_bytes: The size of a block.
        block_tokens: What a block stands for.
    """
    lengths = np.array([len(run) for run in runs], np.int64)
    passes = max(1, -(-operations // int(lengths.sum())))
    words = random_words(seed, _ORDER, passes * len(runs)).reshape(passes, len(runs))
    order = np.argsort(words, axis=1, kind="stable").ravel()
    counts = lengths[order]
    tokens = (counts * block_tokens).astype(np.int32)
    requests = len(order)
    return KvPlan(
        op=np.full(int(counts.sum()), Op.READ, np.uint8),
        block=np.concatenate([runs[int(k)] for k in order]),
        first_op=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        session=(np.arange(requests) % in_flight).astype(np.int32),
        kind=np.zeros(requests, np.int8),
        hit_tokens=tokens,
        input_tokens=tokens,
        arrival_ns=np.zeros(requests, np.int64),
        open_loop=False,
        kinds=("restore",),
        block_bytes=block_bytes,
    )
