"""The interval of a ratio: right as often as it says, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from mlpstorage.compare.bootstrap import ratio_interval


def test_equal_samples_have_an_interval_around_one() -> None:
    """The same samples on both sides give a ratio of one, inside its interval."""
    values = [98.0, 101.0, 100.0, 99.5, 102.0]
    low, high = ratio_interval(values, values)
    assert low < 1 < high
    assert low * high == pytest.approx(1)


def test_the_same_samples_give_the_same_interval() -> None:
    """The draws are seeded: a gate that passes passes again."""
    a, b = [98.0, 101.0, 100.0], [104.0, 103.0, 108.0]
    assert ratio_interval(a, b) == ratio_interval(a, b)


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.05, 1.5])
def test_a_shift_beyond_the_spread_is_outside_one(factor: float) -> None:
    """Samples that are all shifted by more than their spread have an interval without one."""
    base = np.array([100.0, 100.4, 99.7, 100.1, 99.9])
    low, high = ratio_interval(base, base * factor)
    assert low < factor < high
    assert high < 1 or low > 1


def test_samples_without_spread_are_certain() -> None:
    """Two constants have no uncertainty; one constant and one that varies have some."""
    assert ratio_interval([2.0] * 3, [3.0] * 4) == (pytest.approx(1.5), pytest.approx(1.5))
    low, high = ratio_interval([0.1] * 3, [0.1, 0.11, 0.09])
    assert low < 1 < high


@pytest.mark.parametrize(
    ("sizes", "spread"),
    [
        ((3, 3), 0.02),
        ((5, 5), 0.02),
        ((5, 5), 0.2),
        ((5, 3), 0.05),
        ((10, 10), 0.05),
        ((5, 20), 0.1),
    ],
)
@pytest.mark.parametrize("shape", ["normal", "lognormal"])
def test_intervals_hold_the_truth_as_often_as_they_say(
    sizes: tuple[int, int], spread: float, shape: str
) -> None:
    """Of many pairs of samples with a known ratio, about 95 % of the intervals hold it."""
    random = np.random.default_rng(20_260_102)
    sigma = np.sqrt(np.log(1 + spread**2))

    def draw(count: int) -> np.ndarray:
        if shape == "normal":
            return np.maximum(random.normal(100, 100 * spread, count), 1e-3)
        return 100 * random.lognormal(-(sigma**2) / 2, sigma, count)

    tries, truth, held = 500, 1.1, 0
    for _ in range(tries):
        low, high = ratio_interval(draw(sizes[0]), truth * draw(sizes[1]), resamples=400)
        held += low <= truth <= high
    assert 0.92 <= held / tries <= 0.995


@pytest.mark.parametrize(
    ("before", "after"), [([1.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 0.0], [1.0, 2.0, 3.0])]
)
def test_what_cannot_be_judged_is_refused(before: list[float], after: list[float]) -> None:
    """Two samples are too few, and a value of zero has no ratio."""
    with pytest.raises(ValueError, match="positive samples"):
        ratio_interval(before, after)
