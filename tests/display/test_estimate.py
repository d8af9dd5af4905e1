"""The time that is left: a range while the pace is not steady, one figure when it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.display.estimate import Pace, TimeLeft


def pace_of(*shares: float) -> Pace:
    """A share each second."""
    pace = Pace()
    for second, share in enumerate(shares):
        pace.add(float(second), share)
    return pace


def test_nothing_is_said_before_anything_is_known() -> None:
    """One moment gives no pace, a standstill none, and what is done needs no time."""
    assert pace_of().left() is None
    assert pace_of(0.1).left() is None
    assert pace_of(0.1, 0.1, 0.1).left() is None
    assert pace_of(0.0, 0.5, 1.0).left() is None


def test_a_young_pace_gives_a_wide_range() -> None:
    """After two seconds the guess may be off by a half."""
    left = pace_of(0.0, 0.1, 0.2).left()
    assert left == TimeLeft(pytest.approx(6.0), pytest.approx(12.0))


def test_a_steady_pace_gives_one_figure() -> None:
    """Half done in thirty steady seconds leaves thirty."""
    assert str(pace_of(*(second / 60 for second in range(31))).left()) == "30 s left"


def test_an_uneven_pace_gives_the_range_of_its_rates() -> None:
    """What ran now at one and now at two percent a second may go on at either."""
    shares = [0.0]
    for second in range(24):
        shares.append(shares[-1] + (0.01 if second % 8 < 4 else 0.02))
    left = pace_of(*shares).left()
    assert left is not None
    rest = 1 - shares[-1]
    assert left.least == pytest.approx(rest / 0.02)
    assert left.most == pytest.approx(rest / 0.01)


def test_a_stall_has_no_upper_end() -> None:
    """While nothing moves, only the least is known."""
    shares = [second / 100 for second in range(20)] + [0.19] * 20
    assert "more than" in str(pace_of(*shares).left())


@given(st.lists(st.floats(0, 0.01), min_size=2, max_size=300))
def test_the_range_is_never_upside_down(steps: list[float]) -> None:
    """Whatever the pace, the least is at most the most, and neither is negative."""
    pace, share = Pace(), 0.0
    for second, step in enumerate(steps):
        share = min(share + step, 0.999)
        pace.add(float(second), share)
    left = pace.left()
    assert left is None or 0 <= left.least <= left.most * (1 + 1e-9)


def test_a_new_beginning_forgets_the_old_pace() -> None:
    """A share that falls is another piece of work."""
    assert pace_of(0.5, 0.9, 0.0).left() is None
