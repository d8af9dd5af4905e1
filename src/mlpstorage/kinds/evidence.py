"""What the rules of all benchmarks ask alike: where bytes came from, and where results go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.rules import Category, Issue

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes that the page cache may deliver: borders of ranks, re-read tails, counters; no working set.
MAX_CACHED_SHARE = 0.05
MAX_BYTES_DEVIATION = 0.01
# What the ranks move besides the data, such as records and counters of the kernel.
OWN_BYTES = 1 << 20
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def from_memory(
    rule: str, what: str, share: float | None, filesystem: str, *, most: float, fix: str
) -> Iterator[Issue]:
    """More than a share of the bytes came from the clients' memory; None is not known."""
    if share is None or share <= most:
        return
    memory = " (a filesystem in memory)" if filesystem in _IN_MEMORY else ""
    yield Issue(
        rule,
        Category.INVALID,
        f"the clients' memory delivered {what}{memory}",
        parameter="cached share of bytes",
        expected=f"<= {100 * most:.0f} %",
        actual=f"{100 * share:.1f} %",
        fix=fix,
    )


def not_accounted(
    rule: str, what: str, moved: int, expected: int, *, counter: str, fix: str
) -> Iterator[Issue]:
    """The kernel saw the ranks move something else than planned, beyond one percent."""
    if abs(moved - expected) <= max(MAX_BYTES_DEVIATION * expected, OWN_BYTES):
        return
    yield Issue(
        rule,
        Category.INVALID,
        what,
        parameter=counter,
        expected=f"{expected} ± 1 %",
        actual=str(moved),
        fix=fix,
    )


def same_place(rule: str, what: str, place: str, *, same: bool | None) -> Iterator[Issue]:
    """Results are written to the filesystem that is measured; None is not known."""
    if same:
        yield Issue(
            rule,
            Category.OPEN,
            f"{what} on the same filesystem",
            parameter="--results-dir",
            expected="another filesystem",
            actual=place,
            fix="choose a --results-dir on another filesystem",
        )
