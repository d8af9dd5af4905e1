"""Durations as log-bucketed counts that merge by addition: values to 0.8 %, ends exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# Each power of two is cut into 128 equal parts.
_SUB_BITS = 7
_SUB = 1 << _SUB_BITS
# A percentile is given when at least this many values lie beyond it.
_LEAST_BEYOND = 10


def bucket_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket of each non-negative integer; below 256 each value has its own.

    >>> bucket_of(np.array([0, 127, 128, 255, 256, 257, 258])).tolist()
    [0, 127, 128, 255, 256, 256, 257]
    """
    values = np.maximum(values, 0)
    exponent = np.frexp(np.maximum(values, 1).astype(np.float64))[1].astype(np.int64) - 1
    shift = np.maximum(exponent - _SUB_BITS, 0)
    return (shift << _SUB_BITS) + (values >> shift)


def edges_of(bucket: int) -> tuple[int, int]:
    """The smallest and the largest value of a bucket.

    >>> edges_of(255), edges_of(256)
    ((255, 255), (256, 257))
    """
    if bucket < 2 * _SUB:
        return bucket, bucket
    shift = (bucket - _SUB) >> _SUB_BITS
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low, low + (1 << shift) - 1


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """How many values fell into each bucket, with the exact ends and the exact sum.

    The values are nanoseconds unless a field that holds one says otherwise. `buckets` are
    ascending, `counts` beside them.
    """

    buckets: list[int] = []
    counts: list[int] = []
    least: int = 0
    most: int = 0
    total: int = 0

    @classmethod
    def of(cls, values: NDArray[np.int64]) -> Latencies:
        """The histogram of some values; negative ones count as 0.

        >>> Latencies.of(np.array([5, 3, 3])).count
        3
        """
        if not len(values):
            return cls()
        values = np.maximum(values, 0)
        buckets, counts = np.unique(bucket_of(values), return_counts=True)
        return cls(
            buckets=buckets.tolist(),
            counts=counts.tolist(),
            least=int(values.min()),
            most=int(values.max()),
            total=int(values.sum()),
        )

    @classmethod
    def merged(cls, parts: Iterable[Latencies]) -> Latencies:
        """The histogram of all values that the parts counted."""
        filled = [part for part in parts if part.counts]
        if not filled:
            return cls()
        sums: dict[int, int] = {}
        for part in filled:
            for bucket, count in zip(part.buckets, part.counts, strict=True):
                sums[bucket] = sums.get(bucket, 0) + count
        ordered = sorted(sums)
        return cls(
            buckets=ordered,
            counts=[sums[bucket] for bucket in ordered],
            least=min(part.least for part in filled),
            most=max(part.most for part in filled),
            total=sum(part.total for part in filled),
        )

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The exact mean; 0 for no values."""
        return self.total / self.count if self.counts else 0.0

    def percentile(self, share: float) -> int | None:
        """The value that a share (0 to 1) of all values does not exceed, to 0.4 %.

        It is the middle of its bucket, and never beyond the exact ends. None for no values, and
        where fewer than 10 values lie beyond it: the 99.9th percentile takes 10,000 values.

        >>> spread = Latencies.of(np.arange(1, 10_001))
        >>> spread.percentile(0.5), spread.percentile(0.999), spread.percentile(0.9999)
        (5007, 10000, None)
        """
        count = self.count
        if not count or count * (1 - share) < _LEAST_BEYOND - 1e-6:
            return None
        return self.quantile(share)

    def quantile(self, share: float) -> int:
        """As `percentile`, but however few values there are; 0 for none."""
        rank, seen = share * self.count, 0
        for bucket, count in zip(self.buckets, self.counts, strict=True):
            seen += count
            if seen >= rank:
                low, high = edges_of(bucket)
                return min(max((low + high) // 2, self.least), self.most)
        return self.most
