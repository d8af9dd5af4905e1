"""Numbers that stand for content: 64-bit mixing, and draws that depend on their key alone.

Everything here is whole-number arithmetic, so that every machine makes the same plan.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEPS = 1024
_STEP_BITS = 10
_FRACTION_BITS = 16
_P95_SIGMAS = NormalDist().inv_cdf(0.95)


def _finalised(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function: every input bit changes every output bit."""
    words = words ^ (words >> np.uint64(30))
    words = words * _M1
    words = words ^ (words >> np.uint64(27))
    words = words * _M2
    return words ^ (words >> np.uint64(31))


def mixed(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One id from two numbers, elementwise; different pairs collide with probability 2⁻⁶⁴.

    >>> mixed(np.array([1, 2], np.uint64), np.array([2, 1], np.uint64)).tolist()
    [834844254806117752, 1562650993378815500]
    """
    with np.errstate(over="ignore"):
        return _finalised(_finalised(first + _GOLDEN) + second * _GOLDEN + _GOLDEN)


def random_words(seed: int, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` words of one stream of a seed: Philox, a counter-based generator.

    Any rank that knows seed and stream gets the same words, in any order of asking.

    >>> (random_words(42, 7, 8)[:4] == random_words(42, 7, 4)).all()
    np.True_
    """
    generator = np.random.Philox(key=np.array([seed, stream], np.uint64))
    words: npt.NDArray[np.uint64] = generator.random_raw(count)
    return words


def below(words: npt.NDArray[np.uint64], most: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Each word scaled to a whole number below `most` (itself below 2³²).

    >>> below(np.array([0, 2**64 - 1], np.uint64), np.array([10, 10], np.uint64)).tolist()
    [0, 9]
    """
    high = words >> np.uint64(32)
    return ((high * most) >> np.uint64(32)).astype(np.int64)


class Lognormal:
    """A lognormal distribution of whole numbers, given by its median and its 95th percentile.

    A table of 1,025 quantiles with straight lines between them; its ends are the quantiles 1/2048
    and 2047/2048. The table is rounded once, the rest is whole-number arithmetic.

    >>> draws = Lognormal(1000, 5000).draw(random_words(1, 1, 100_000))
    >>> bool(abs(np.median(draws) - 1000) < 20), bool(abs(np.quantile(draws, 0.95) - 5000) < 100)
    (True, True)
    """

    def __init__(self, median: float, p95: float) -> None:
        normal = NormalDist()
        spread = (p95 / median) ** (1 / _P95_SIGMAS)
        shares = [min(max(k / _STEPS, 0.5 / _STEPS), 1 - 0.5 / _STEPS) for k in range(_STEPS + 1)]
        values = [round(median * spread ** normal.inv_cdf(share)) for share in shares]
        self._table = np.array(values, np.int64)

    def draw(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The value at the quantile that each word stands for."""
        step = (words >> np.uint64(64 - _STEP_BITS)).astype(np.int64)
        shift = np.uint64(64 - _STEP_BITS - _FRACTION_BITS)
        mask = np.uint64((1 << _FRACTION_BITS) - 1)
        fraction = ((words >> shift) & mask).astype(np.int64)
        low, high = self._table[step], self._table[step + 1]
        return low + (((high - low) * fraction) >> _FRACTION_BITS)


class Choice:
    """A choice among a few, each with its weight.

    >>> Choice([3, 1]).draw(np.array([0, 2**63, 2**64 - 1], np.uint64)).tolist()
    [0, 0, 1]
    """

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        edges = [round(sum(weights[: k + 1]) / total * (1 << 32)) for k in range(len(weights))]
        self._edges = np.array(edges[:-1], np.uint64)

    def draw(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The number of what each word chooses."""
        return np.searchsorted(self._edges, words >> np.uint64(32), side="right")


def zipf(count: int, exponent: float = 1.0) -> Choice:
    """A choice among `count` things, the k-th with a weight of 1 / (k + 1)^exponent."""
    return Choice([1 / (k + 1) ** exponent for k in range(count)])
