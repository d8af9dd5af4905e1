"""How far a ratio of two means can be trusted, from few samples of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_SAMPLES = 3
RESAMPLES = 10_000
_SEED = 20_260_101


def ratio_interval(
    before: Sequence[float],
    after: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The confidence interval of mean(after) ÷ mean(before); always the same for the same samples.

    A symmetric bootstrap-t interval of the logarithm of the ratio: both samples are drawn anew with
    replacement, and the distance of each draw from the estimate is counted in its own standard
    error. Plain percentiles of the draws would be far too narrow for five samples. Source: Hall,
    "On symmetric bootstrap confidence intervals", J. R. Stat. Soc. B 50 (1988).

    Args:
        before: At least three positive values.
        after: At least three positive values.
        confidence: How often the interval holds the true ratio, such as 0.95.
        resamples: How many draws.

    Raises:
        ValueError: too few samples, or one is not positive.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if min(len(a), len(b)) < LEAST_SAMPLES or min(a.min(), b.min()) <= 0:
        raise ValueError(f"needs {LEAST_SAMPLES} positive samples of each")
    estimate, error = (one.item() for one in _log_ratio(a, b))
    if error == 0:  # neither of them varies: nothing is uncertain
        return (float(np.exp(estimate)), float(np.exp(estimate)))
    random = np.random.default_rng(_SEED)
    drawn, errors = _log_ratio(_draw(a, resamples, random), _draw(b, resamples, random))
    varies = errors > 0  # a draw of one and the same value has no scale of its own
    distances = np.abs(drawn[varies] - estimate) / errors[varies]
    reach = float(np.quantile(distances, confidence)) * error
    return (float(np.exp(estimate - reach)), float(np.exp(estimate + reach)))


def _draw(
    values: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Shape (resamples, values): each row drawn from the values with replacement."""
    drawn: NDArray[np.float64] = values[random.integers(len(values), size=(resamples, len(values)))]
    return drawn


def _log_ratio(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log(mean b ÷ mean a) over the last axis, and its standard error by the delta method."""
    spread = np.hypot(_relative_error(a), _relative_error(b))
    return np.log(b.mean(axis=-1) / a.mean(axis=-1)), spread


def _relative_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard error of the mean over the mean; of equal values exactly 0, unlike std's."""
    count, mean = values.shape[-1], values.mean(axis=-1)
    error = values.std(axis=-1, ddof=1) / np.sqrt(count) / mean
    return np.where(values.max(axis=-1) == values.min(axis=-1), 0.0, error)
