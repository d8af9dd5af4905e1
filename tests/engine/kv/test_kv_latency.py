"""Latency histograms: exact ends, values to a percent, and merging that is counting together."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.engine.kv.latency import Latencies, bucket_of, edges_of

VALUES = st.lists(st.integers(0, 1 << 50), min_size=1, max_size=200)


def of(values: list[int]) -> Latencies:
    """The histogram of some values."""
    return Latencies.of(np.array(values, np.int64))


@given(VALUES)
def test_a_value_lies_in_its_bucket(values: list[int]) -> None:
    """The bucket's ends enclose the value, and lie within 1/128 of it."""
    for value, bucket in zip(values, bucket_of(np.array(values)).tolist(), strict=True):
        low, high = edges_of(bucket)
        assert low <= value <= high
        assert high - low <= value / 128


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_merged_is_the_histogram_of_the_union(parts: list[list[int]]) -> None:
    """Ranks' histograms merged equal the histogram of all their values, after JSON as well."""
    sent = [json.dumps(msgspec.to_builtins(of(part))) for part in parts]
    came = [msgspec.convert(json.loads(text), Latencies) for text in sent]
    assert Latencies.merged(came) == of([value for part in parts for value in part])


@given(VALUES, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_quantiles_are_within_a_percent_of_the_exact_ones(values: list[int], share: float) -> None:
    """The quantile is within 1 % of the exact one by the nearest rank."""
    rank = max(int(np.ceil(share * len(values))), 1)
    exact = sorted(values)[rank - 1]
    assert of(values).quantile(share) == pytest.approx(exact, rel=0.01, abs=1)


@given(VALUES)
def test_ends_count_and_mean_are_exact(values: list[int]) -> None:
    """Least, most, count and mean carry no rounding of buckets."""
    found = of(values)
    assert (found.least, found.most, found.count) == (min(values), max(values), len(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(("count", "known"), [(9_999, False), (10_000, True)])
def test_far_percentiles_need_enough_values(count: int, *, known: bool) -> None:
    """The 99.9th percentile of fewer than 10,000 values is not given."""
    found = Latencies.of(np.arange(count))
    assert (found.percentile(0.999) is not None) == known


def test_no_values() -> None:
    """An empty histogram has no percentile, and merges as nothing."""
    assert Latencies.of(np.zeros(0, np.int64)) == Latencies.merged([]) == Latencies()
    assert Latencies().percentile(0.5) is None
    assert Latencies().quantile(0.5) == 0
