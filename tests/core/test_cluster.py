"""Hosts as users write them, and ranks spread over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.cluster import Host, parse_hosts, spread
from mlpstorage.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "words", [["h1,h2:4", "h3"], ["h1 h2:4 h3"], ["h1", "h2:4", "h3"], ["h1, h2:4,,h3 "]]
)
def test_every_usual_spelling_is_understood(words: list[str]) -> None:
    """Spaces, commas and separate words mean the same hosts."""
    assert parse_hosts(words) == (Host("h1"), Host("h2", 4), Host("h3"))


def test_a_file_of_hosts(tmp_path: Path) -> None:
    """@file holds hosts, one or more per line, with comments and empty lines."""
    path = tmp_path / "hosts"
    path.write_text("# the rack\nh1:2\n\nh2:2, h3:2  # new\n")
    assert [host.name for host in parse_hosts([f"@{path}"])] == ["h1", "h2", "h3"]


@pytest.mark.parametrize(
    "word", ["-oProxyCommand=x", "h1:0", "h1:x", "h1;rm", "$(id)", "h1:", "'h1", "h 1\nh1", "h1,h1"]
)
def test_what_is_no_host_is_refused(word: str) -> None:
    """Options, shell syntax, bad slots and repetitions never become a host."""
    with pytest.raises(UsageError):
        parse_hosts([word, "h1"] if word == "h 1\nh1" else [word])


def test_a_missing_file_is_named() -> None:
    """A hosts file that cannot be read is not found, by name."""
    with pytest.raises(NotFoundError, match="no-such-file"):
        parse_hosts(["@no-such-file"])


@given(st.integers(1, 40), st.integers(1, 200))
def test_ranks_are_spread_evenly(hosts: int, ranks: int) -> None:
    """Without slots the counts differ by at most one, larger ones first, and add up."""
    named = tuple(Host(f"h{i}") for i in range(hosts))
    if ranks < hosts:
        with pytest.raises(UsageError):
            spread(ranks, named)
        return
    placed = spread(ranks, named)
    assert sum(placed) == ranks
    assert max(placed) - min(placed) <= 1
    assert list(placed) == sorted(placed, reverse=True)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=10), st.data())
def test_slots_are_never_exceeded(slots: list[int], data: st.DataObject) -> None:
    """With slots every rank finds a place within them."""
    hosts = tuple(Host(f"h{i}", n) for i, n in enumerate(slots))
    ranks = data.draw(st.integers(1, sum(slots)))
    placed = spread(ranks, hosts)
    assert sum(placed) == ranks
    assert all(n <= limit for n, limit in zip(placed, slots, strict=True))


def test_too_few_slots_and_mixed_slots_are_refused() -> None:
    """Slots that cannot hold the ranks, or that only some hosts have, are a usage error."""
    with pytest.raises(UsageError, match="3 ranks do not fit in 2 slots"):
        spread(3, parse_hosts(["a:1", "b:1"]))
    with pytest.raises(UsageError, match="some hosts have slots"):
        spread(3, parse_hosts(["a:1", "b"]))
