"""Sizes and durations, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import UsageError
from mlpstorage.core.units import GIB, format_bytes, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("4096", 4096), ("4k", 4096), ("4KiB", 4096), ("4KB", 4000), ("1.5G", 3 * GIB // 2)],
)
def test_sizes_with_units(text: str, expected: int) -> None:
    """Binary and decimal units mean what fio and the standards say."""
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "abc", "1X", "1 2", "nan", "inf", "1e3", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Anything else is a usage error, negative numbers above all."""
    with pytest.raises(UsageError):
        parse_bytes(text)
    with pytest.raises(UsageError):
        parse_seconds(text or "-")


@given(st.integers(0, 1 << 60))
def test_formatted_sizes_read_back(count: int) -> None:
    """A formatted size reads back to within the shown digits."""
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.01, abs=0)
