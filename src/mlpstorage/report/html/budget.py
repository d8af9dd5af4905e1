"""How much detail a report can hold: it must be written quickly, and open from a mail."""

from __future__ import annotations

from dataclasses import dataclass

_INLINE_RUNS = 40
_POINTS_IN_ALL = 40_000
_FEWEST_POINTS, _MOST_POINTS = 60, 400
_HOSTS_IN_ALL = 240
_MOST_HOSTS = 12
_SERIES_BYTES = 192 << 20


@dataclass
class Budget:
    """What one report may spend; `series_bytes` is what is left to read of time series.

    `packed` keeps the details of each set compressed in the file until they are opened.
    """

    packed: bool
    points: int
    hosts: int
    series_bytes: int

    @classmethod
    def of(cls, runs: int) -> Budget:
        """The budget of a report of so many runs.

        >>> Budget.of(6).points, Budget.of(6).packed, Budget.of(2000).points, Budget.of(2000).packed
        (400, False, 60, True)
        """
        runs = max(runs, 1)
        return cls(
            packed=runs > _INLINE_RUNS,
            points=min(max(_POINTS_IN_ALL // runs, _FEWEST_POINTS), _MOST_POINTS),
            hosts=min(max(_HOSTS_IN_ALL // runs, 1), _MOST_HOSTS),
            series_bytes=_SERIES_BYTES,
        )

    def takes(self, size: int) -> bool:
        """Whether that many bytes of time series may still be read; if so, they are spent."""
        if size > self.series_bytes:
            return False
        self.series_bytes -= size
        return True
