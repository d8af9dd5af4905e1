"""What a run measured, as figures that can be held against those of another run."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Better(enum.Enum):
    """Which direction of a figure is better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Measure:
    """One figure of one run.

    `name` is what `--fail-if` calls it. `samples` are the values of its parts, where the run has
    parts that repeat the same work, and `sampled` says what these are, such as "epochs".
    """

    name: str
    label: str
    unit: str
    better: Better
    value: float
    samples: tuple[float, ...] = ()
    sampled: str = ""


def measure(
    name: str,
    label: str,
    unit: str,
    better: Better,
    value: float | None,
    samples: tuple[float, ...] = (),
    sampled: str = "",
) -> tuple[Measure, ...]:
    """The figure, or nothing where the run does not have it.

    >>> measure("au", "AU", "%", Better.HIGHER, None)
    ()
    """
    if value is None:
        return ()
    return (Measure(name, label, unit, better, value, samples, sampled if samples else ""),)


def number(document: Mapping[str, Any], path: str) -> float | None:
    """The finite number at a dotted path of a JSON document; None where there is none.

    >>> number({"metric": {"rate": 5}}, "metric.rate"), number({"metric": None}, "metric.rate")
    (5.0, None)
    """
    return _finite(_at(document, path))


def numbers(document: Mapping[str, Any], path: str) -> tuple[float, ...]:
    """The list of numbers at a dotted path; empty where there is none, or one is not finite.

    >>> numbers({"rates": [1, 2]}, "rates"), numbers({"rates": [1, None]}, "rates")
    ((1.0, 2.0), ())
    """
    found = _at(document, path)
    return all_numbers(found) if isinstance(found, (list, tuple)) else ()


def all_numbers(values: Iterable[Any]) -> tuple[float, ...]:
    """The values, if each is a finite number; else none of them."""
    found = tuple(_finite(value) for value in values)
    return tuple(value for value in found if value is not None) if None not in found else ()


def entries(document: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """The list of objects at a dotted path; empty where there is none."""
    found = _at(document, path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _at(document: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 (any JSON value)
    found: Any = document
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _finite(value: Any) -> float | None:  # noqa: ANN401 (any JSON value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
