"""What the faces show, worked out once for all of them: events in, the state of the run out.

    Stage, RunStarted ──► title, stage and its clock
    Progress          ──► Tally ──► share, rate, curve of rates, time left
    Figure            ──► the ranks' values as one, and the host that stands out
    Note, RankFailed  ──► warnings, each with the moment it came

It has no clock of its own: every moment is given, in monotonic seconds.
"""

from __future__ import annotations

import re
import statistics
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core import events
from mlpstorage.display.estimate import Pace
from mlpstorage.display.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlpstorage.core.events import Event, Figure, Stage
    from mlpstorage.display.estimate import TimeLeft

RATES_KEPT = 60
# Over how many ticks a rate is taken: a large file counts when it has been read as a whole.
_SMOOTHED = 10
_COMBINE: dict[str, Callable[[list[float]], float]] = {
    "mean": statistics.fmean,
    "sum": sum,
    "max": max,
    "min": min,
}
# A host stands out when it is so far from the median of the others, in percent of it and in units.
_STANDS_OUT_SHARE = 0.2
_STANDS_OUT_UNITS = 2.0


@dataclass(frozen=True)
class Warned:
    """A warning, and when it came."""

    text: str
    at: float


class Scene:
    """The state of one run, as far as its events have told it."""

    def __init__(self) -> None:
        self.title = ""
        self.directory = ""
        self.stage: Stage | None = None
        self.stage_began = 0.0
        self.tally: Tally | None = None
        self.warnings: list[Warned] = []
        self.stopping = ""
        self.rates: deque[float] = deque(maxlen=RATES_KEPT)
        self._pace = Pace()
        self._pace_of = ""
        self._part = 1
        self._figures: dict[str, dict[int, Figure]] = {}
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SMOOTHED)
        self.counts_bytes = False

    def take(self, event: Event, now: float) -> None:
        """Take note of an event."""
        if isinstance(event, events.Stage):
            self.stage, self.stage_began = event, now
            self.tally, self._pace_of = None, ""
            self._figures.clear()
        elif isinstance(event, events.RunStarted):
            self.title, self.directory = event.title, event.directory
        elif isinstance(event, events.Progress):
            self._progress(event, now)
        elif isinstance(event, events.Figure):
            self._figures.setdefault(event.name, {})[event.rank] = event
        elif isinstance(event, events.Interruption):
            self.stopping = event.text
        elif isinstance(event, events.RankFailed):
            text = f"rank {event.rank} on {event.host} failed: {event.what}"
            self.warnings.append(Warned(text, now))
        elif isinstance(event, events.Note) and event.level == "warning":
            self.warnings.append(Warned(event.text, now))

    def is_current(self, event: events.Progress) -> bool:
        """Whether an event is of the activity that is shown."""
        return self.tally is not None and self.tally.activity == event.activity

    def is_late(self, event: events.Progress) -> bool:
        """Whether it is of a part that others have left already: it came after their first word."""
        return bool(self._pace_of == _kind(event.activity) and event.part < self._part)

    def _progress(self, event: events.Progress, now: float) -> None:
        if self.is_late(event):
            return
        self._part = event.part
        if self.tally is None or not self.is_current(event):
            self.tally = Tally(event.activity, now)
            self._figures.clear()
            self._samples.clear()
            kind = _kind(event.activity)
            if kind != self._pace_of:
                self._pace, self._pace_of = Pace(), kind
                self.rates.clear()
                self.counts_bytes = False
        self.tally.add(event, now)

    def tick(self, now: float) -> None:
        """Take a sample of the rate and of the pace; called about once a second."""
        tally = self.tally
        if tally is None:
            return
        self._pace.add(now, tally.overall)
        if tally.moved and not self.counts_bytes:
            self.counts_bytes = True
            self.rates.clear()  # they were of units
            moments = [(at, 0) for at, _ in self._samples]
            self._samples.clear()
            self._samples.extend(moments)
        count = tally.moved if self.counts_bytes else tally.done
        if self._samples:
            # Reports come once a second, too: over one second there may be none, or two.
            at, before = self._samples[0]
            if now > at:
                self.rates.append(max(count - before, 0) / (now - at))
        self._samples.append((now, count))

    @property
    def left(self) -> TimeLeft | None:
        """The time that is left, of all parts where the activity has any."""
        return self._pace.left()

    @property
    def figures(self) -> list[Figure]:
        """The figures so far, each as one value for all ranks."""
        return [_as_one(list(ranks.values())) for ranks in self._figures.values()]

    def slowest(self) -> str:
        """The host that stands out and by what; empty when none does."""
        for ranks in self._figures.values():
            found = _stands_out([one for one in ranks.values() if one.compares_hosts])
            if found:
                return found
        return ""


def _kind(activity: str) -> str:
    """What activities have in common whose names differ in their numbers."""
    return re.sub(r"\d+", "#", activity)


def _as_one(figures: list[Figure]) -> Figure:
    first = figures[0]
    value = _COMBINE[first.combine]([figure.value for figure in figures])
    return events.Figure(
        0, first.name, float(value), first.unit, first.needed, first.better, first.combine
    )


def _stands_out(figures: Iterable[Figure]) -> str:
    hosts: dict[str, list[float]] = {}
    for figure in figures:
        hosts.setdefault(figure.host, []).append(figure.value)
        name, unit, lower = figure.name, figure.unit, figure.better == "lower"
    if len(hosts) < 2:  # noqa: PLR2004 (nobody to compare with)
        return ""
    means = {host: statistics.fmean(values) for host, values in hosts.items()}
    worst = (max if lower else min)(means, key=lambda host: means[host])
    median = statistics.median(value for host, value in means.items() if host != worst)
    apart = abs(means[worst] - median)
    if apart < max(_STANDS_OUT_SHARE * abs(median), _STANDS_OUT_UNITS):
        return ""
    return f"{worst}: {name} {means[worst]:.1f} {unit}, the others {median:.1f} {unit}"
