"""How hard a data set is to search: contrast, local intrinsic dimension, the gap at the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.engine.vectors.distances import distances, straight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.vectors.files import Vectors
    from mlpstorage.engine.vectors.truth import Truth

_SAMPLE_ROWS = 1000
_SAMPLE_QUERIES = 500
_EDGE = 10


class Structure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures of a data set's neighbourhoods, as means over queries; None where undefined.

    `contrast` is the mean distance to any vector ÷ that to the nearest (He, Kumar and Chang 2012):
    near 1, neighbours mean nothing. `lid` is the local intrinsic dimension by maximum likelihood
    over the true neighbours (Amsaleg et al. 2015). `gap` is the distance of the 11th neighbour ÷
    that of the 10th.
    """

    contrast: float | None
    lid: float | None
    gap: float | None


def structure_of(
    queries: NDArray[np.float32], vectors: Vectors, truth: Truth, metric: str
) -> Structure:
    """The structure of a data set, by a sample of its queries and rows."""
    if metric == "ip":
        return Structure(contrast=None, lid=None, gap=None)
    count = min(len(truth.ids), _SAMPLE_QUERIES)
    near = straight(truth.distances[:count].astype(np.float64), metric)
    apart = near[:, 0] > 0
    spread = np.unique(np.linspace(0, vectors.count - 1, _SAMPLE_ROWS).astype(np.int64))
    sample = vectors.take(spread)
    mean = np.array(
        [straight(distances(q, sample, metric), metric).mean() for q in queries[:count]]
    )
    contrast = float((mean[apart] / near[apart, 0]).mean()) if apart.any() else None
    gap = None
    if near.shape[1] > _EDGE and bool((near[:, _EDGE - 1] > 0).any()):
        inside = near[:, _EDGE - 1] > 0
        gap = float((near[inside, _EDGE] / near[inside, _EDGE - 1]).mean())
    return Structure(contrast=contrast, lid=_lid(near[apart]), gap=gap)


def _lid(near: NDArray[np.float64]) -> float | None:
    """LID = −(mean of ln(d_i / d_k) over i < k)⁻¹, as the mean over queries."""
    if near.shape[0] == 0 or near.shape[1] < 2:  # noqa: PLR2004 (needs a ratio)
        return None
    logs = np.log(near[:, :-1] / near[:, -1:]).mean(axis=1)
    usable = logs < 0
    return float((-1 / logs[usable]).mean()) if usable.any() else None
