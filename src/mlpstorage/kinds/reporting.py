"""What every benchmark kind gives reports: how its runs are read, grouped and judged together."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.kinds import KINDS
from mlpstorage.report.model import RunDetails, Unjudged
from mlpstorage.store.codec import encode
from mlpstorage.store.files import read_as

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mlpstorage.core.rules import Issue, Rule
    from mlpstorage.report.model import Limit, Metric, Role
    from mlpstorage.store.runs import StoredRun

CURRENT_EDITION = "3.0"
_Summary = TypeVar("_Summary")


@dataclass(frozen=True)
class RunFacts:
    """What a kind makes of one run.

    `problem` says why there are no figures though the run ended. `issues` and `unjudged` are of
    runs that another tool made, judged as far as they say. `setup` names what the runs of a set
    must have in common: equal texts, equal setups. `limits` is what limited the run.
    """

    metrics: tuple[Metric, ...] = ()
    problem: str = ""
    issues: tuple[Issue, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    hosts: int | None = None
    setup: str = ""
    writes: int | None = None
    reads: int | None = None
    limits: tuple[Limit, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """The value of a metric, if the run has it."""
        return next((metric.value for metric in self.metrics if metric.name == name), None)


def summary_of(run: StoredRun, kind: type[_Summary]) -> _Summary | RunFacts:
    """The summary of a run in the form of its kind, or why there is none."""
    if run.summary is None:
        return RunFacts(problem=f"{run.directory}: there is no summary.json")
    try:
        return read_as(run.summary, kind)
    except MlpstorageError as error:
        return RunFacts(problem=error.what)


@dataclass(frozen=True)
class Member:
    """A run of a set, with the part it plays and what its kind made of it."""

    run: StoredRun
    role: Role
    facts: RunFacts


@dataclass(frozen=True)
class SetSubject:
    """What the rules of a set judge: its members in the order of their starts.

    `measured` are those whose figures count; `foreign` says that another tool made them.
    """

    members: tuple[Member, ...]
    measured: tuple[Member, ...]
    edition: str
    foreign: bool = False


class Reporter(Protocol):
    """A kind's part in reports."""

    @property
    def kind(self) -> str:
        """The name of the kind's directories and records."""

    @property
    def set_rules(self) -> tuple[Rule[SetSubject], ...]:
        """The rules of the kind's sets."""

    @property
    def least_runs(self) -> int:
        """How many runs that ended make a set where no record ties them together."""

    @property
    def result_needs(self) -> str:
        """What a result consists of, and how it is made, for whoever made fewer runs."""

    def setup(self, run: StoredRun) -> str:
        """What a run of ours has in common with the others of its set, whether it ended or not."""

    def facts(self, run: StoredRun) -> RunFacts:
        """The figures of a run; never raises: what cannot be read is its `problem`."""

    def details(self, run: StoredRun) -> RunDetails:
        """What is large about a run; never raises."""

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Divide runs of one setup, oldest first, that no record of a set ties together."""

    def has_warm_up(self, edition: str, count: int) -> bool:
        """Whether the first of so many runs is a warm-up where no record says so."""

    def size_record(self, run: StoredRun) -> dict[str, Any] | None:
        """The record of the size of a run's data that a submission needs; None if it needs none."""


@dataclass(frozen=True)
class Nobody:
    """The reporter of runs of no known kind: they are shown, without figures."""

    kind: str = ""
    set_rules: tuple[Rule[SetSubject], ...] = ()
    least_runs: int = 1
    result_needs: str = "runs of a known benchmark"

    def setup(self, _run: StoredRun) -> str:
        """Nothing."""
        return ""

    def facts(self, run: StoredRun) -> RunFacts:
        """No figures."""
        return RunFacts(problem=f"the benchmark {run.kind or 'of this run'} is not known")

    def details(self, _run: StoredRun) -> RunDetails:
        """Nothing."""
        return RunDetails()

    def parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Each by itself."""
        return [[member] for member in members]

    def has_warm_up(self, _edition: str, _count: int) -> bool:
        """Never."""
        return False

    def size_record(self, _run: StoredRun) -> dict[str, Any] | None:
        """None."""
        return None


@lru_cache(maxsize=1)
def reporters() -> tuple[Reporter, ...]:
    """The reporter of every kind, in their order."""
    homes = [f"mlpstorage.kinds.{group.name}.report" for group in KINDS]
    return tuple(importlib.import_module(home).REPORTER for home in homes)


def reporter_of(kind: str) -> Reporter:
    """The reporter of a kind by the name in its records; of nobody if there is none."""
    return next((one for one in reporters() if one.kind == kind), Nobody(kind))


def unrecorded(
    rules: Iterable[Rule[Any]], edition: str, judged: Collection[Any] = (), why: str = ""
) -> tuple[Unjudged, ...]:
    """The published rules of an edition whose functions are not among the `judged`.

    Rules with a letter are this program's own, about what only its own runs record.
    """
    return tuple(
        Unjudged(rule.id, rule.title, why or "the tool that made the run keeps no record")
        for rule in rules
        if rule.id[0].isdigit() and edition in rule.editions and rule.check not in judged
    )


def setup_hash(*parts: Any) -> str:  # noqa: ANN401 (any JSON-ready value)
    """Equal texts for equal values."""
    return hashlib.sha256(encode(parts)).hexdigest()[:16]


def rules_edition(run: StoredRun) -> str:
    """Whose round's rules judge a run: that of its tree, else the current one."""
    return run.origin.removeprefix("v") if run.origin.startswith("v") else CURRENT_EDITION
