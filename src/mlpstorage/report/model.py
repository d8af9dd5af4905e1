"""What a report of many runs says, renderer-free: terminal, JSON, CSV and HTML all read this.

    ReportDocument
    └── RunSet          runs that belong together: one verdict, metrics with their spread
        └── RunView     one run; what is large about it is read when `details()` is called
            └── RunDetails   curves, per-rank spread, phases, time series, settings, hosts

Everything is text or numbers and ready to show; nothing here is safe HTML. Texts may come from
files of others and hold anything: a renderer escapes them. Moments are UTC, as ISO texts with `Z`;
values that are not known are None or empty, never invented.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.core.rules import Category


class Role(enum.Enum):
    """What a run is within its set; only measured runs count in a set's metrics.

    `other` is a run that measures nothing, such as one that only generates data.
    """

    WARM_UP = "warm-up"
    MEASURED = "measured"
    OTHER = "other"


class Better(enum.Enum):
    """Which direction of a metric is better; a neutral one describes, and is not ranked."""

    HIGHER = "higher"
    LOWER = "lower"
    NEUTRAL = "neutral"


@dataclass(frozen=True)
class Finding:
    """What one rule found; `rule` is its number, `scope` is run, set or tree.

    `category` is the best that the run or set with this finding can still be called.
    """

    rule: str
    title: str
    category: Category
    what: str
    parameter: str = ""
    expected: str = ""
    actual: str = ""
    fix: str = ""
    scope: str = "run"


@dataclass(frozen=True)
class Unjudged:
    """A rule that could not be judged, for what it needs is not recorded: `why` says what."""

    rule: str
    title: str
    why: str


@dataclass(frozen=True)
class Metric:
    """One figure of one run; `name` is stable and carries the unit, `label` is for people.

    `unit` is as written behind a number ("samples/s", "%", "GB/s", "ms", "queries/s"); a value is
    never nan. The headline metrics come first and are few.
    """

    name: str
    label: str
    value: float
    unit: str
    better: Better = Better.HIGHER
    headline: bool = True


@dataclass(frozen=True)
class Limit:
    """What limited a run, such as "storage-bound", and the numbers behind it in a sentence.

    `phase` is what the run was doing ("writing"), empty where it does one thing only.
    """

    verdict: str
    explanation: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Spread:
    """One figure over the measured runs of a set.

    `values` are in the order of the runs; `stdev` is the population's, as the reference tools have
    it, and 0 for one run.
    """

    name: str
    label: str
    unit: str
    better: Better
    headline: bool
    values: tuple[float, ...]
    mean: float
    stdev: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Line:
    """A line of a curve; `x` and `y` are as long as each other; a y of None is a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """Lines over one axis: AU over epochs, QPS or latency over clients, seconds over checkpoints.

    `limit` is a line to stay above or below, such as the floor of the AU; `y_from_zero` says that
    the axis begins at zero. `points` draws marks instead of a line where x is a count of few.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    limit: float | None = None
    limit_label: str = ""
    y_from_zero: bool = True
    points: bool = True


@dataclass(frozen=True)
class RankSpread:
    """One figure of every rank: `ranks`, `hosts` and `values` are as long as each other."""

    label: str
    unit: str
    ranks: tuple[int, ...]
    hosts: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class PhaseSpan:
    """A part of the run, for the background of time series: an epoch, a checkpoint, a trial."""

    name: str
    start: str
    end: str


@dataclass(frozen=True)
class SeriesReference:
    """Where the samples of the hosts are; read only by whoever draws them.

    `path` is the `…_timeseries.json` (or `.jsonl` where a run was killed); it lies in the run's own
    directory and is no link.
    """

    path: Path
    interval_seconds: float | None
    hosts: tuple[str, ...]
    samples: int | None


@dataclass(frozen=True)
class Setting:
    """A value of the configuration, by its dotted name, and where it came from (may be empty)."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class HostView:
    """A client host: what it is, as label and value pairs in the order to show."""

    name: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunDetails:
    """What is large about a run."""

    curves: tuple[Curve, ...] = ()
    ranks: tuple[RankSpread, ...] = ()
    phases: tuple[PhaseSpan, ...] = ()
    series: SeriesReference | None = None
    settings: tuple[Setting, ...] = ()
    hosts: tuple[HostView, ...] = ()
    problems: tuple[str, ...] = ()
    """Files that could not be read, each with its name and what is wrong with it."""


def _no_details() -> RunDetails:
    return RunDetails()


@dataclass(frozen=True)
class RunView:
    """One run.

    `status` is complete, failed, interrupted, started, killed, broken or unknown (a record of
    another tool that does not say how the run ended); `reason` says what broke or failed.
    `verdict` is None for a run that is not judged, or that never ended. `details` reads what is
    large, and never raises: what cannot be read is listed in `RunDetails.problems`. `limits` is
    what limited it, empty where its record does not say.
    """

    run_id: str
    kind: str
    command: str
    model: str
    accelerator: str
    role: Role
    status: str
    reason: str
    verdict: Category | None
    findings: tuple[Finding, ...]
    metrics: tuple[Metric, ...]
    start: str
    end: str
    runtime_seconds: float | None
    ranks: int | None
    hosts: int | None
    directory: Path
    executed_command: str = ""
    warnings: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    details: Callable[[], RunDetails] = field(default=_no_details, repr=False, compare=False)

    @property
    def counts(self) -> bool:
        """Whether its figures are in those of its set."""
        return self.role is Role.MEASURED and self.status in {"complete", "unknown"}


@dataclass(frozen=True)
class RunSet:
    """Runs that belong together: a warm-up and repetitions, or a single run.

    `origin` is who wrote the results: "mlpstorage", "DLIO", or the layout of a published round
    ("v1.0", "v2.0", "v3.0"). `verdict` is the worst of the set's findings and its members', None
    where nothing could be judged. `unjudged` lists rules whose data are not recorded.

    `not_a_set` says what a result needs, where this is a single run that the rules of sets do not
    judge. `differs` names the settings, with their values, in which the set differs from others of
    the same workload in the report.
    """

    id: str
    kind: str
    model: str
    accelerator: str
    organisation: str
    system: str
    origin: str
    edition: str
    asked: str
    ranks: int | None
    hosts: int | None
    runs: tuple[RunView, ...]
    verdict: Category | None
    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...]
    metrics: tuple[Spread, ...]
    not_a_set: str = ""
    differs: tuple[tuple[str, str], ...] = ()

    @property
    def measured(self) -> tuple[RunView, ...]:
        """The runs whose figures count."""
        return tuple(run for run in self.runs if run.counts)

    @property
    def headline(self) -> tuple[Spread, ...]:
        """The few metrics to show first."""
        return tuple(metric for metric in self.metrics if metric.headline)

    @property
    def state(self) -> str:
        """CLOSED, OPEN or INVALID; how its runs ended, where none counts; else "not judged"."""
        if not self.measured:
            ends = {run.status for run in self.runs if run.status not in {"complete", "unknown"}}
            if ends:
                return min(ends)
        return self.verdict.name if self.verdict is not None else "not judged"

    @property
    def start(self) -> str:
        """When the first run of it began; empty where nobody recorded it."""
        return self.runs[0].start if self.runs else ""


@dataclass(frozen=True)
class ReportDocument:
    """A whole report: sets in the order of kind, system, model and start.

    `others` are runs that measure nothing (datasize, datagen); `problems` are files or directories
    that could not be read and belong to no run; each is named.
    """

    title: str
    root: str
    created: str
    version: str
    sets: tuple[RunSet, ...]
    others: tuple[RunView, ...] = ()
    problems: tuple[str, ...] = ()
