"""Log-linear histograms of durations that merge over ranks by addition."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

# Each power of two is cut into 32 equal parts: a value is known to about 3 %.
_SUB_BITS = 5
_SUB = 1 << _SUB_BITS


def bucket_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bucket of each non-negative integer; below 32 each value has its own.

    >>> bucket_of(np.array([0, 31, 32, 33, 64, 65, 66])).tolist()
    [0, 31, 32, 33, 64, 64, 65]
    """
    values = np.maximum(values, 0)
    exponent = np.frexp(np.maximum(values, 1).astype(np.float64))[1].astype(np.int64) - 1
    shift = np.maximum(exponent - _SUB_BITS, 0)
    return (shift << _SUB_BITS) + (values >> shift)


def lower_edge(bucket: int) -> int:
    """The smallest value of a bucket.

    >>> all(bucket_of(np.array([lower_edge(b)])) == b for b in range(1500))
    True
    """
    if bucket < 2 * _SUB:
        return bucket
    shift, _ = divmod(bucket - _SUB, _SUB)
    return (bucket - (shift << _SUB_BITS)) << shift


def histogram(values: npt.NDArray[np.int64]) -> dict[int, int]:
    """How many values fall in each bucket; empty buckets are left out."""
    buckets, counts = np.unique(bucket_of(values), return_counts=True)
    return {int(bucket): int(count) for bucket, count in zip(buckets, counts, strict=True)}


def percentile(counts: Mapping[int, int], share: float) -> int:
    """The lower edge of the bucket that holds a share (0 to 1) of the values; 0 when empty.

    >>> percentile(histogram(np.arange(1, 101)), 0.5)
    50
    """
    total = sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= share * total:
            return lower_edge(bucket)
    return 0


def merge(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The histogram of all values that the parts counted.

    >>> merge([{1: 2}, {1: 1, 5: 1}])
    {1: 3, 5: 1}
    """
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
