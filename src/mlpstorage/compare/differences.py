"""Better, worse or no difference: one figure of two sides."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mlpstorage.compare.bootstrap import LEAST_SAMPLES, ratio_interval
from mlpstorage.core.measures import Better

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.measures import Measure

# Run-to-run changes of this size are of no use to anybody, however certain they are.
LEAST_PERCENT = 1.0


class Judgement(enum.Enum):
    """What the second side is against the first."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference"
    OPEN = "not decided"


@dataclass(frozen=True)
class Difference:
    """One figure of both sides.

    `percent` is how far the second lies from the first, `interval` its confidence interval; None
    where there is none. `basis` says over what the interval is, or why there is none.
    """

    name: str
    label: str
    unit: str
    better: Better
    before: float
    after: float
    percent: float | None
    interval: tuple[float, float] | None
    basis: str
    judgement: Judgement

    def as_dict(self) -> dict[str, Any]:
        """The difference as JSON-ready values."""
        low, high = self.interval or (None, None)
        return {
            "name": self.name,
            "label": self.label,
            "unit": self.unit,
            "better": self.better.value,
            "baseline": self.before,
            "candidate": self.after,
            "difference_percent": self.percent,
            "interval_low_percent": low,
            "interval_high_percent": high,
            "basis": self.basis,
            "judgement": self.judgement.value,
        }


@dataclass(frozen=True)
class Scale:
    """How strictly figures are told apart."""

    confidence: float = 0.95
    least_percent: float = LEAST_PERCENT


def difference_of(before: Sequence[Measure], after: Sequence[Measure], scale: Scale) -> Difference:
    """One figure of two sides, from each run of each side.

    The runs of a set are the samples where both sides have at least three; else the parts of the
    runs, such as epochs, from which nobody sees what changes from one run to the next.
    """
    first = before[0]
    (a, b), basis = _samples(before, after)
    interval = None
    if basis and min(*a, *b) > 0:
        low, high = ratio_interval(a, b, confidence=scale.confidence)
        interval = (100 * (low - 1), 100 * (high - 1))
    elif basis:
        basis = "not all values are positive"
    mean_a, mean_b = fmean(a), fmean(b)
    percent = 100 * (mean_b / mean_a - 1) if mean_a > 0 else None
    return Difference(
        name=first.name,
        label=first.label,
        unit=first.unit,
        better=first.better,
        before=mean_a,
        after=mean_b,
        percent=percent,
        interval=interval,
        basis=basis or "too few values for an interval",
        judgement=_judged(percent, interval, first.better, scale),
    )


Samples = tuple[tuple[float, ...], tuple[float, ...]]


def _samples(before: Sequence[Measure], after: Sequence[Measure]) -> tuple[Samples, str]:
    """The values to compare, and what they are; an empty word for too few of them."""
    runs = (tuple(one.value for one in before), tuple(one.value for one in after))
    if min(map(len, runs)) >= LEAST_SAMPLES:
        return runs, f"{len(runs[0])} and {len(runs[1])} runs"
    parts = tuple(
        tuple(sample for one in side for sample in one.samples) for side in (before, after)
    )
    kinds = {one.sampled for one in (*before, *after)}
    if min(map(len, parts)) >= LEAST_SAMPLES and len(kinds) == 1:
        return (parts[0], parts[1]), f"{len(parts[0])} and {len(parts[1])} {kinds.pop()}"
    return runs, ""


def _judged(
    percent: float | None, interval: tuple[float, float] | None, better: Better, scale: Scale
) -> Judgement:
    if interval is None or percent is None:
        return Judgement.OPEN
    low, high = interval
    if low <= 0 <= high or abs(percent) < scale.least_percent:
        return Judgement.SAME
    higher = percent > 0
    return Judgement.BETTER if higher == (better is Better.HIGHER) else Judgement.WORSE
