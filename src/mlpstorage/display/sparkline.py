"""A curve in one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """The values as bars from 0 to the greatest of them.

    >>> sparkline([0, 1, 2, 4])
    '▁▃▅█'
    >>> sparkline([])
    ''
    """
    top = max(values, default=0.0)
    if top <= 0:
        return _LEVELS[0] * len(values)
    last = len(_LEVELS) - 1
    return "".join(_LEVELS[min(last, round(last * max(value, 0.0) / top))] for value in values)
