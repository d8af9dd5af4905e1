"""From counters to rates, and from long lines to short ones that look the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlpstorage.watch.devices import role_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.report.html.samples import HostSamples

Points = list[tuple[float, float | None]]
_LATE = 1.75  # a step of so many intervals has lost a sample in it


def steps_of(host: HostSamples, interval_seconds: float | None) -> list[float | None]:
    """The seconds from each sample to the next; None where samples are missing in between.

    The host's uptime is used where it is known: it is read together with the counters.
    """
    steps: list[float | None] = []
    for index in range(1, len(host)):
        now, before = host.uptime[index], host.uptime[index - 1]
        step = host.wall[index] - host.wall[index - 1]
        if now is not None and before is not None:
            if now < before:  # the host was started anew, and so were its counters
                steps.append(None)
                continue
            step = now - before or step
        late = interval_seconds is not None and step > _LATE * interval_seconds
        steps.append(None if late or step <= 0 else step)
    return steps


def rates_of(
    counts: Sequence[Sequence[float] | None], column: int, steps: Sequence[float | None]
) -> list[float | None]:
    """The increase per second over each step; a counter that went back gives None.

    >>> rates_of([(0,), (10,), (4,), None, (9,)], 0, [2.0, 1.0, 1.0, 1.0])
    [5.0, None, None, None]
    """
    found: list[float | None] = []
    for index, step in enumerate(steps):
        before = counts[index] if index < len(counts) else None
        now = counts[index + 1] if index + 1 < len(counts) else None
        if step is None or before is None or now is None or now[column] < before[column]:
            found.append(None)
        else:
            found.append((now[column] - before[column]) / step)
    return found


def shares_of(
    counts: Sequence[tuple[float, float, float] | None], column: int, steps: Sequence[float | None]
) -> list[float | None]:
    """The percentage of the last column's increase that is this column's."""
    part, whole = rates_of(counts, column, steps), rates_of(counts, 2, steps)
    return [
        100 * own / every if own is not None and every else None
        for own, every in zip(part, whole, strict=True)
    ]


def disk_total(
    host: HostSamples, column: int, steps: Sequence[float | None]
) -> list[float | None] | None:
    """The sum over devices with I/O of their own, so that partitions do not count twice."""
    rows = [
        rates_of(counts, column, steps)
        for name, counts in host.disks.items()
        if role_of(name, {}) == "disk"
    ]
    if not rows:
        return None
    return [
        None if step is None else math.fsum(value or 0.0 for value in values)
        for step, values in zip(steps, zip(*rows, strict=True), strict=True)
    ]


def decimated(points: Points, most: int) -> Points:
    """A line of at most about `most` points that keeps the peaks, the troughs and the gaps.

    Of each bucket of neighbours the least and the greatest value stay, in their order.

    >>> decimated([(0, 1.0), (1, 9.0), (2, 2.0), (3, 3.0), (4, 0.0), (5, 3.0)], 4)
    [(0, 1.0), (1, 9.0), (3, 3.0), (4, 0.0)]
    """
    if len(points) <= most:
        return points
    buckets = max(most // 2, 1)
    short: Points = []
    for bucket in range(buckets):
        part = points[bucket * len(points) // buckets : (bucket + 1) * len(points) // buckets]
        known = [point for point in part if point[1] is not None]
        if not known:
            short += part[:1]
            continue
        low = min(known, key=lambda point: point[1] or 0.0)
        high = max(known, key=lambda point: point[1] or 0.0)
        short += sorted({low, high}, key=lambda point: point[0])
        gap = next((point for point in part if point[1] is None), None)
        if gap is not None:
            short.append((max(gap[0], short[-1][0]), None))
    return short
