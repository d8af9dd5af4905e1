"""What every benchmark kind gives the workflow to execute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.core.problems import Problem
    from mlpstorage.launch import Launcher, RankJob
    from mlpstorage.preflight.needs import Needs


@dataclass(frozen=True)
class Safeguards:
    """What is made sure of before a run, and on which hosts; empty `hosts` is this one alone."""

    hosts: tuple[Host, ...] = ()
    lockfile: Path | None = None
    skip_validation: bool = False


class Measurement(Protocol):
    """One run, from its plan to its outcome; the workflow calls the methods in this order."""

    @property
    def plan(self) -> Plan:
        """What will be done; worked out without touching storage beyond reading a manifest."""

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""

    @property
    def tolerates_invalid(self) -> bool:
        """Whether an INVALID verdict still means success for the user."""

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""

    def prerequisite(self) -> Measurement | None:
        """A run that must come first, such as generating the data of a trial."""

    @property
    def safeguards(self) -> Safeguards:
        """What the user wants checked."""

    @property
    def series_interval(self) -> float | None:
        """Seconds between samples of every host while the ranks run; None for no samples."""

    def needs(self) -> Needs:
        """What preflight has to look at for this very run."""

    def problems(self) -> Sequence[Problem]:
        """Whatever else would make this run fail, found before any work."""

    def launcher(self) -> Launcher:
        """How the ranks will be started."""

    def job(self, run_dir: Path) -> RankJob:
        """What the ranks do; may prepare directories for them."""

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """What the ranks' records mean; may finish what the ranks began."""


@runtime_checkable
class Stoppable(Protocol):
    """A measurement whose ranks stop in order when the user wants it (`RankJob.stops_after`)."""

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """What the records of ranks mean that have left out what was still to do."""


@runtime_checkable
class Sized(Protocol):
    """A measurement that rules judge by the memory of its hosts."""

    def on_hosts(self, memory_bytes: int) -> Measurement:
        """The same run, now that the memory of the largest of its hosts is known."""
