from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch.clock import ClockReading, clock_offset, parse_clock


def test_three_ways_to_tell_the_time() -> None:
    """Nanoseconds, a fraction, and whole seconds are read with the step in which they were told."""
    assert parse_clock("1700000000123456789\n") == (1700000000123456789, 1)
    assert parse_clock("1700000000.123456\n") == (1700000000123456000, 1000)
    assert parse_clock("1700000000%N\n") == (1700000000 * 10**9, 10**9)
    assert parse_clock("1700000000\n") == (1700000000 * 10**9, 10**9)


@pytest.mark.parametrize("text", ["", "N", "yesterday", "-5", "1.2.3", "²", "9" * 40])
def test_what_is_no_time(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="not a time"):
        parse_clock(text)


@given(
    offset=st.integers(-(10**12), 10**12),
    trips=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1),
)
def test_the_true_offset_lies_within_the_error(offset: int, trips: list[tuple[int, int]]) -> None:
    """However long the two ways take, the error bounds how wrong the offset can be."""
    start = 1_700_000_000 * 10**9
    readings = [
        ClockReading(start, start + there + offset, start + there + back, 1)
        for there, back in trips
    ]
    found = clock_offset(readings)
    assert abs(found.offset_ns - offset) <= found.error_ns + 1
    assert found.round_trip_ns == min(there + back for there, back in trips)


def test_whole_seconds_have_half_a_second_of_error() -> None:
    """A clock that is told in seconds is known to half a second, and says so."""
    true_offset = 3_400_000_000
    told = (10_000_000_000 + true_offset) // 10**9 * 10**9
    found = clock_offset([ClockReading(10_000_000_000, told, 10_000_000_000, 10**9)])
    assert found.error_ns == 500_000_000
    assert abs(found.offset_ns - true_offset) <= found.error_ns


def test_no_reading() -> None:
    """Without a reading there is no offset."""
    with pytest.raises(ValueError, match="no reading"):
        clock_offset([])
