"""Synthetic vectors that anybody can make again, bit for bit, from any row on.

Every number comes from the keystream of `engine.payload`, which is addressed by byte: a row depends
on the seed and its own number alone, never on ranks, chunks or threads. And every value is a whole
number until the last two operations, chosen so small that float32 and float64 hold all sums
exactly. So neither the BLAS, nor the processor, nor the version of numpy changes a bit:

    clustered   x = (C[a] + g) · P + e       then x · (1 / √Σx²), where the data are normalised
                a  a cluster by Zipf's law (exponent 0.7), C its centre, g, e bell-shaped noise,
                P  a projection of 64 latent dimensions, whose weights fall as 1/√j
    uniform     independent, [0, 65535]; as the reference tool's data, without any structure
    normal      independent and bell-shaped
    zipfian     independent, heavy-tailed (exponent 1.5, cut at 65535)

Structured data are what embeddings look like: the distances of a query differ (contrast about 2),
and the neighbours lie on far fewer dimensions than the vectors have. In independent data the
nearest and the farthest vector are equally far, and recall says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Another generator gives other bytes for the same recipe.
GENERATOR_VERSION = 1
DISTRIBUTIONS = ("clustered", "uniform", "normal", "zipfian")
Pool = Literal["base", "query"]
LATENT = 64
ZIPF_EXPONENT = 0.7
# Whole-number weights of the projection. 64 terms of at most 1020 · 255 stay below 2**24, so that
# float32 adds them exactly, in whatever order.
_MOST_WEIGHT = 255
_NOISE = 32
# Rows that are made at a time: what is in the making stays in the cache.
_STEP_ROWS = 256
_BELL_CENTRE = 510
_CENTRES, _PROJECTION, _CHOICE, _LATENT, _NOISES = range(5)
# Queries come from the same model, but from streams of their own.
_POOL_STREAMS: dict[Pool, int] = {"base": 0, "query": 16}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a synthetic data set's vectors, but for their number.

    Args:
        distribution: One of `DISTRIBUTIONS`.
        dimension: Numbers per vector.
        seed: Any non-negative integer.
        clusters: Clusters of `clustered`; 0 for the others.
        normalised: Whether every vector has length 1.
    """

    distribution: str
    dimension: int
    seed: int = 42
    clusters: int = 0
    normalised: bool = True

    def rows(self, pool: Pool, begin: int, end: int) -> Floats:
        """Vectors [begin, end) of the base or of the queries: float32 (end − begin, dimension).

        >>> recipe = Recipe("clustered", 8, clusters=10)
        >>> bool((recipe.rows("base", 0, 700)[600:605] == recipe.rows("base", 600, 605)).all())
        True
        >>> bool((recipe.rows("base", 0, 1) == recipe.rows("query", 0, 1)).any())
        False
        """
        out = np.empty((end - begin, self.dimension), np.float32)
        for first in range(begin, end, _STEP_ROWS):
            last = min(first + _STEP_ROWS, end)
            self._fill(out[first - begin : last - begin], _POOL_STREAMS[pool], first)
        return out

    def _fill(self, out: Floats, streams: int, first: int) -> None:
        if self.distribution == "clustered":
            self._clustered(out, streams, first)
        else:
            self._independent(out, streams, first)
        if self.normalised:
            # Exact sums: whole numbers whose squares add up to less than 2**53.
            wide = out.astype(np.float64)
            length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            out *= (1.0 / np.maximum(length, 1.0)).astype(np.float32)[:, None]

    def _clustered(self, out: Floats, streams: int, first: int) -> None:
        count, dimension = out.shape
        draws = self._words(streams + _CHOICE, first, count)
        cluster = np.searchsorted(self._limits, draws, side="right")
        latent = _bell(self._words(streams + _LATENT, first * LATENT, count * LATENT))
        latent = latent.reshape(count, LATENT) + self._centres[cluster]
        np.matmul(latent, self._projection, out=out)
        noise = _bell(self._words(streams + _NOISES, first * dimension, count * dimension))
        noise *= _NOISE
        out += noise.reshape(out.shape)

    def _independent(self, out: Floats, streams: int, first: int) -> None:
        size = out.size
        words = self._words(streams + _NOISES, first * out.shape[1], size)
        if self.distribution == "normal":
            values = _bell(words)
        else:
            values = (words >> np.uint32(16)).astype(np.float32)
            if self.distribution == "zipfian":
                values = _ZIPF_TABLE[words >> np.uint32(16)]
        out[:] = values.reshape(out.shape)

    def _words(self, stream: int, begin: int, count: int) -> NDArray[np.uint32]:
        """Random words number `begin` and following of a stream."""
        words = np.empty(count, "<u4")
        Payload(self.seed, stream, begin * 4).fill(words.data.cast("B"))
        return words

    @cached_property
    def _centres(self) -> Floats:
        return _bell(self._words(_CENTRES, 0, self.clusters * LATENT)).reshape(-1, LATENT)

    @cached_property
    def _projection(self) -> Floats:
        shape = (LATENT, self.dimension)
        free = _bell(self._words(_PROJECTION, 0, LATENT * self.dimension)).reshape(shape)
        weights = np.array([1 / math.sqrt(j + 1) for j in range(LATENT)])
        whole = np.rint(free * (weights * _MOST_WEIGHT / _BELL_CENTRE)[:, None])
        return np.ascontiguousarray(whole, np.float32)

    @cached_property
    def _limits(self) -> NDArray[np.uint64]:
        """Up to which draw (of 32 bits) a row belongs to each cluster."""
        weights = [math.pow(a + 1, -ZIPF_EXPONENT) for a in range(self.clusters)]
        total, upto, limits = math.fsum(weights), 0.0, []
        for weight in weights[:-1]:
            upto += weight
            limits.append(round(upto / total * 2**32))
        return np.array(limits, np.uint64)


def clusters_for(vectors: int) -> int:
    """How many clusters a number of vectors gets: 1000 per 100,000, growing as the square root.

    >>> clusters_for(100_000), clusters_for(20_000), clusters_for(10_000_000)
    (1000, 447, 10000)
    """
    return max(8, round(1000 * math.sqrt(vectors / 1e5)))


def _bell(words: NDArray[np.uint32]) -> Floats:
    """One bell-shaped whole number in [−510, 510] per word: the sum of its four bytes, centred.

    A sum of four uniform numbers (Irwin–Hall): standard deviation 147.8, and no tails beyond 3.45
    of it.
    """
    low = np.uint32(0x00FF00FF)
    pairs = (words & low) + ((words >> np.uint32(8)) & low)
    sums = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return sums.astype(np.float32) - np.float32(_BELL_CENTRE)


# A draw r of 16 bits stands for (65536 / (r + 1))², cut at 65535.
_ZIPF_TABLE = np.minimum(
    2**32 // np.arange(1, 65537, dtype=np.int64) ** 2, 65535, dtype=np.int64
).astype(np.float32)
