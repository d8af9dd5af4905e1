"""Histograms keep counts exactly and values to three percent, and merge by addition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.histogram import bucket_of, histogram, lower_edge, merge, percentile

VALUES = st.lists(st.integers(0, 1 << 50), min_size=1, max_size=200)


@given(VALUES)
def test_a_value_lies_in_its_bucket(values: list[int]) -> None:
    """The bucket's lower edge is at most the value, and within 1/32 of it."""
    for value, bucket in zip(values, bucket_of(np.array(values)).tolist(), strict=True):
        assert lower_edge(bucket) <= value < lower_edge(bucket + 1)
        assert lower_edge(bucket) >= value * (1 - 1 / 32) - 1


@given(VALUES, VALUES)
def test_merging_is_counting_together(first: list[int], second: list[int]) -> None:
    """The merged histograms of two ranks are the histogram of all their values."""
    together = histogram(np.array(first + second))
    assert merge([histogram(np.array(first)), histogram(np.array(second))]) == together
    assert sum(together.values()) == len(first) + len(second)


@given(VALUES, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_near_the_exact_ones(values: list[int], share: float) -> None:
    """A percentile is the lower edge of the bucket that holds the exact one."""
    rank = np.searchsorted(np.cumsum([1] * len(values)), share * len(values))
    exact = sorted(values)[min(int(rank), len(values) - 1)]
    found = percentile(histogram(np.array(values)), share)
    assert found == lower_edge(int(bucket_of(np.array([exact]))[0]))


def test_no_values_have_no_percentile() -> None:
    """An empty histogram answers 0."""
    assert percentile({}, 0.5) == pytest.approx(0)
