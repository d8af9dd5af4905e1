"""From stored runs to sets that are judged: grouping, verdicts, and figures with their spread."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timezone
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mlpstorage import __version__
from mlpstorage.core.rules import Category, Phase, judge, not_recorded
from mlpstorage.core.stats import mean, stdev
from mlpstorage.kinds.distinctions import distinctions
from mlpstorage.kinds.recorded_verdict import recorded_verdict
from mlpstorage.kinds.reporting import (
    Member,
    RunFacts,
    SetSubject,
    reporter_of,
    reporters,
    rules_edition,
)
from mlpstorage.kinds.rulebook import title_of
from mlpstorage.report.model import (
    Finding,
    ReportDocument,
    Role,
    RunSet,
    RunView,
    Spread,
    Unjudged,
)
from mlpstorage.store.codec import utc_text
from mlpstorage.store.history import BROKEN
from mlpstorage.store.runs import OURS, read_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mlpstorage.core.rules import Issue
    from mlpstorage.kinds.reporting import Reporter
    from mlpstorage.store.runs import StoredRun

_WARM_UP = "warm-up"
_ENDED = frozenset({"complete", "unknown"})
_BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)


def report_of(root: Path, kinds: Sequence[str] = ()) -> ReportDocument:
    """The report of every run below a directory; `kinds` leaves others out, by command or record.

    A run that cannot be read is shown as broken.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the directory itself cannot be listed.
    """
    found = read_runs(root)
    wanted = {_record_name(kind) for kind in kinds}
    runs = [run for run in found.runs if not wanted or run.kind in wanted]
    members = [member_of(run) for run in runs]
    groups = grouped([m for m in members if m.role is not Role.OTHER])
    differing = distinctions([group[0].run for group in groups])
    sets = [
        replace(set_view(group), differs=differs)
        for group, differs in zip(groups, differing, strict=True)
    ]
    order = [reporter.kind for reporter in reporters()]
    sets.sort(key=lambda one: _order(one, order))
    return ReportDocument(
        title=f"mlpstorage report of {root.name or root}",
        root=str(root),
        created=utc_text(datetime.now(timezone.utc)),
        version=__version__,
        sets=tuple(sets),
        others=tuple(run_view(m) for m in sorted(members, key=_start) if m.role is Role.OTHER),
        problems=found.problems,
    )


def _record_name(kind: str) -> str:
    """The name in records of a kind that is named as in commands."""
    plain = kind.replace("_", "")
    aliases = {one.kind.replace("_", ""): one.kind for one in reporters()}
    return aliases.get(plain) or next(
        (name for short, name in aliases.items() if short.startswith(plain[:6])), kind
    )


def _order(one: RunSet, kinds: list[str]) -> tuple[Any, ...]:
    place = kinds.index(one.kind) if one.kind in kinds else len(kinds)
    return (place, one.organisation, one.system, one.model, one.accelerator, one.start, one.id)


def member_of(run: StoredRun) -> Member:
    """A run with its figures; its role is final only within a set."""
    if run.command != "run":
        return Member(run, Role.OTHER, RunFacts())
    facts = reporter_of(run.kind).facts(run) if run.status in _ENDED else RunFacts()
    role = Role.WARM_UP if run.role == _WARM_UP else Role.MEASURED
    return Member(run, role, facts)


def _start(member: Member) -> tuple[datetime, str]:
    return (member.run.start or _BEGINNING, str(member.run.directory))


def grouped(members: Sequence[Member]) -> list[list[Member]]:
    """The runs that belong together, each group oldest first.

    Runs of one set's record; else, of published trees, the runs of one workload's directory; else
    runs of the same setup, in the parts that their kind makes. Runs that nothing ties together but
    that they resemble each other are a set where they are as many as a result needs, else each is
    by itself: whoever tries something three times makes no set.
    """
    groups: list[list[Member]] = []
    ordered = sorted(members, key=lambda member: (_key(member), *_start(member)))
    for key, found in groupby(ordered, key=_key):
        part = list(found)
        if key[0] in {"set", "tree"}:
            groups.append(part)
            continue
        for some in reporter_of(part[0].run.kind).parts(part):
            groups += [some] if not _too_few(some) else [[member] for member in some]
    return groups


def _too_few(members: Sequence[Member]) -> bool:
    """Whether these are single runs, not a set; who submits a set (its directory) means one."""
    run = members[0].run
    if run.set_id or run.origin != OURS or run.place.organisation:
        return False
    ended = sum(member.run.status in _ENDED for member in members)
    return ended < reporter_of(run.kind).least_runs


def _key(member: Member) -> tuple[str, ...]:
    run = member.run
    if run.set_id:
        return ("set", run.set_id)
    above = str(run.directory.parent)
    if run.origin != OURS:
        return ("tree", above, run.kind, run.model, run.accelerator)
    place = run.place
    known = (run.kind, run.model, run.accelerator, str(run.ranks), run.division, run.engine)
    setup = reporter_of(run.kind).setup(run)
    return ("setup", place.division, place.organisation, place.system, above, *known, setup)


def set_view(members: Sequence[Member]) -> RunSet:
    """A set, judged."""
    first = members[0].run
    reporter, edition = reporter_of(first.kind), rules_edition(first)
    members = _with_roles(members, reporter, edition)
    subject = SetSubject(
        tuple(members),
        tuple(member for member in members if counts(member)),
        edition,
        foreign=first.origin != OURS,
    )
    views = tuple(run_view(member) for member in members)
    single = _too_few(members)
    rules = () if single else reporter.set_rules
    findings = tuple(
        _finding(issue, "set") for issue in judge(rules, subject, phase=Phase.SET, edition=edition)
    )
    unjudged = [
        Unjudged(rule.id, rule.title, why)
        for rule, why in not_recorded(rules, subject, edition=edition)
    ]
    for member in members:
        unjudged += [one for one in member.facts.unjudged if one not in unjudged]
    hosts = {view.hosts for view in views if view.hosts is not None}
    return RunSet(
        id=first.set_id or _name(first),
        kind=first.kind,
        model=first.model,
        accelerator=first.accelerator,
        organisation=first.place.organisation,
        system=first.place.system,
        origin=first.origin,
        edition=first.edition or edition,
        asked=first.division,
        ranks=first.ranks,
        hosts=max(hosts, default=None),
        runs=views,
        verdict=_set_verdict(views, findings, first, single=single),
        findings=findings,
        unjudged=tuple(unjudged),
        metrics=_spreads(subject.measured),
        not_a_set=f"not a set: a result needs {reporter.result_needs}" if single else "",
    )


def _name(run: StoredRun) -> str:
    if run.origin == OURS:
        return run.run_id
    place = run.place
    parts = (place.division, place.organisation, place.system, run.kind, run.model, run.accelerator)
    return "/".join(part for part in parts if part) or run.directory.parent.name


def _with_roles(members: Sequence[Member], reporter: Reporter, edition: str) -> list[Member]:
    told = any(member.run.role for member in members)
    ended = [number for number, member in enumerate(members) if member.run.status in _ENDED]
    if told or not reporter.has_warm_up(edition, len(ended)):
        return list(members)
    first = members[ended[0]]
    found = list(members)
    found[ended[0]] = Member(first.run, Role.WARM_UP, first.facts)
    return found


def counts(member: Member) -> bool:
    """Whether a run's figures are in those of its set."""
    return member.role is Role.MEASURED and member.run.status in _ENDED and not member.facts.problem


def _set_verdict(
    views: Sequence[RunView], findings: Sequence[Finding], first: StoredRun, *, single: bool
) -> Category | None:
    """The worst of what was asked, the measured runs' verdicts and the set's findings."""
    judged = [view.verdict for view in views if view.counts and view.verdict is not None]
    if not judged and (single or any(view.counts for view in views)):
        return None  # runs that nobody asked to be judged, or a single one that did not end
    asked = Category.CLOSED if first.division == "CLOSED" else Category.OPEN
    return max([asked, *judged, *(finding.category for finding in findings)])


def run_view(member: Member) -> RunView:
    """A run as reports show it."""
    run, facts = member.run, member.facts
    broken = bool(facts.problem) and run.status in _ENDED
    issues, verdict = _judged(run, facts)
    reporter = reporter_of(run.kind)
    return RunView(
        run_id=run.run_id,
        kind=run.kind,
        command=run.command,
        model=run.model,
        accelerator=run.accelerator,
        role=member.role,
        status=BROKEN if broken else run.status,
        reason=facts.problem if broken else run.reason,
        verdict=None if broken else verdict,
        findings=tuple(_finding(issue, "run") for issue in issues),
        metrics=facts.metrics,
        start=run.start_text,
        end=run.end_text,
        runtime_seconds=_runtime(run),
        ranks=run.ranks,
        hosts=facts.hosts,
        directory=run.directory,
        executed_command=run.executed_command,
        warnings=run.warnings,
        limits=facts.limits,
        details=lambda: reporter.details(run),
    )


def _runtime(run: StoredRun) -> float | None:
    seconds = run.runtime_seconds
    if seconds is None and run.start and run.end:
        seconds = (run.end - run.start).total_seconds()
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _judged(run: StoredRun, facts: RunFacts) -> tuple[Sequence[Issue], Category | None]:
    """The issues of a run and its verdict: as recorded, else as its figures allow."""
    recorded = recorded_verdict(run.verification)
    if recorded is not None:
        return recorded.issues, recorded.category
    if run.origin == OURS or run.command != "run" or run.status not in _ENDED:
        return (), None
    asked = Category.CLOSED if run.division == "CLOSED" else Category.OPEN
    return facts.issues, max([asked, *(issue.category for issue in facts.issues)])


def _finding(issue: Issue, scope: str) -> Finding:
    return Finding(
        rule=issue.rule,
        title=title_of(issue.rule),
        category=issue.category,
        what=issue.what,
        parameter=issue.parameter,
        expected=issue.expected,
        actual=issue.actual,
        fix=issue.fix,
        scope=scope,
    )


def _spreads(members: Iterable[Member]) -> tuple[Spread, ...]:
    """Every metric over the runs that have it, in the order of the first one's."""
    found: dict[str, list[Any]] = {}
    for member in members:
        for metric in member.facts.metrics:
            found.setdefault(metric.name, []).append(metric)
    spreads = []
    for name, metrics in found.items():
        values = tuple(metric.value for metric in metrics)
        first = metrics[0]
        spreads.append(
            Spread(
                name, first.label, first.unit, first.better, first.headline, values,
                mean(values), stdev(values), min(values), max(values),
            )
        )  # fmt: skip
    return tuple(spreads)
