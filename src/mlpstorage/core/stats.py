"""Small statistics of small samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; nan for no values.

    >>> mean([1.0, 3.0])
    2.0
    """
    return math.fsum(values) / len(values) if values else math.nan


def stdev(values: Sequence[float]) -> float:
    """The population standard deviation, as the reference engine reports it; nan for no values.

    >>> stdev([1.0, 3.0])
    1.0
    """
    if not values:
        return math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
