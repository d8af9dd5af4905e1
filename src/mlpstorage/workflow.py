"""The pipeline of a run: plan, check, preflight, record, measure, collect, judge, save.

Nothing here knows which kind of benchmark it executes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import EXIT_INVALID, EXIT_OK, BenchmarkError, ConfigurationError
from mlpstorage.core.events import Note, Stage
from mlpstorage.core.problems import ProblemsError
from mlpstorage.core.rules import Category, verdict_of
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.preflight.checks import examine
from mlpstorage.preflight.lockfile import lockfile_problems
from mlpstorage.record import now, recorded
from mlpstorage.report.terminal import render
from mlpstorage.store.journal import Journal
from mlpstorage.watch.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlpstorage.core.events import Event
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.core.problems import Problem
    from mlpstorage.core.rules import Issue, Verdict
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.launch import Launcher
    from mlpstorage.record import Invocation, RunRecord

STAGES = ("checking", "preparing", "measuring", "judging")


@dataclass(frozen=True)
class Execution:
    """What the user gets: the exit code, sections to show, and the same as a document."""

    exit_code: int
    sections: tuple[Section, ...]
    document: dict[str, Any]


def execute(
    measurement: Measurement, invocation: Invocation, show: Callable[[Event], None]
) -> Execution:
    """Carry a measurement out, from its plan to its record.

    Raises:
        MlpstorageError: it was refused, or failed; the record, if there is one yet, says why.
    """
    plan = measurement.plan
    launcher = measurement.launcher()
    if measurement.what_if:
        return _what_if(plan)
    _stage(show, 0)
    _refuse(plan)
    first = measurement.prerequisite()
    if first is not None:
        named = first.plan.identity
        show(Note(f"first: {named.kind} {named.command} of {named.model}"))
        execute(first, invocation, show)
    warnings = _preflight(measurement)
    warnings += [_issue_text(issue) for issue in plan.issues]
    hosts = snapshot(measurement.safeguards.hosts)
    warnings += hosts.warnings
    for warning in warnings:
        show(Note(warning, "warning"))
    with recorded(measurement, plan, invocation, hosts, warnings) as record:
        outcome = _measure(measurement, record, launcher, show)
        verdict = _verdict(plan, outcome)
        code = _exit_code(verdict, measurement)
        execution = _execution(plan, outcome, verdict, code, record)
        record.complete(outcome, verdict, render(execution.sections) + "\n", code)
    return execution


def _preflight(measurement: Measurement) -> list[str]:
    """Find everything that is wrong, on all hosts, and refuse it together; what is left to warn of.

    Raises:
        ProblemsError: there are problems.
    """
    guards = measurement.safeguards
    problems: list[Problem] = []
    if guards.lockfile is not None:
        problems += lockfile_problems(guards.lockfile, guards.hosts)
    if guards.skip_validation:
        warnings = ["the environment was not checked (--skip-validation)"]
    else:
        examination = examine(measurement.needs())
        problems += examination.problems
        warnings = [finding.text for finding in examination.warnings]
    problems += measurement.problems()
    if problems:
        raise ProblemsError(problems)
    return warnings


def _measure(
    measurement: Measurement, record: RunRecord, launcher: Launcher, show: Callable[[Event], None]
) -> Outcome:
    """Launch the ranks, watch their hosts meanwhile, and see what came of it.

    Raises:
        MlpstorageError: a rank failed, or did not deliver.
    """
    _stage(show, 1)
    job = measurement.job(record.directory.path)
    with (
        Journal(record.directory.events, now) as journal,
        record.directory.stderr_log.open("w", encoding="utf-8") as log,
        LinesDisplay(log, verbose=True) as lines,
    ):

        def on_event(event: Event) -> None:
            journal.append(event)
            lines.show(event)
            show(event)

        _stage(on_event, 2)
        with record.watching(measurement.series_interval, on_event):
            results = launcher.run(job, on_event)
        if len(results) != job.size:
            raise BenchmarkError(f"{len(results)} of {job.size} ranks delivered a result")
        record.ended(on_event)
        _stage(on_event, 3)
        return measurement.outcome(results)


def _stage(show: Callable[[Event], None], number: int) -> None:
    show(Stage(STAGES[number], number + 1, len(STAGES)))


def _refuse(plan: Plan) -> None:
    """Stop before any work when the rules already say what the verdict would be."""
    if not plan.stops:
        return
    first = plan.stops[0]
    others = "".join(f"\n  also: {_issue_text(issue)}" for issue in plan.stops[1:])
    asked = plan.asked or Category.OPEN
    raise ConfigurationError(
        f"this run can never be {asked.name}: {_issue_text(first)}{others}",
        why="what can be judged before a run is judged before it",
        fix=f"{first.fix or 'change the parameter'}; or run it anyway with --allow-invalid-params",
    )


def _issue_text(issue: Issue) -> str:
    detail = f" (expected {issue.expected}, is {issue.actual})" if issue.expected else ""
    parameter = f"{issue.parameter}: " if issue.parameter else ""
    return f"{issue.category.name} by rule {issue.rule}: {parameter}{issue.what}{detail}"


def _verdict(plan: Plan, outcome: Outcome) -> Verdict | None:
    """The verdict, or None for a run that is not judged."""
    return _verdict_so_far((*plan.issues, *outcome.issues), plan)


def _verdict_so_far(issues: Iterable[Issue], plan: Plan) -> Verdict | None:
    return None if plan.asked is None else verdict_of(issues, asked=plan.asked)


def _exit_code(verdict: Verdict | None, measurement: Measurement) -> int:
    if verdict and verdict.category is Category.INVALID and not measurement.tolerates_invalid:
        return EXIT_INVALID
    return EXIT_OK


def _what_if(plan: Plan) -> Execution:
    verdict = _verdict_so_far(plan.issues, plan)
    document = {
        "identity": asdict(plan.identity),
        "parameters": plan.parameters,
        "override_parameters": plan.overrides,
        "verdict_so_far": verdict.as_dict() if verdict else None,
    }
    return Execution(
        EXIT_OK, (*plan.sections, *_verdict_sections(verdict, "verdict so far")), document
    )


def _verdict_sections(verdict: Verdict | None, title: str = "verdict") -> tuple[Section, ...]:
    if verdict is None:
        return ()
    lines = tuple(_issue_text(issue) for issue in verdict.issues)
    return (Section(f"{title}: {verdict.category.name}", lines=lines),)


def _execution(
    plan: Plan, outcome: Outcome, verdict: Verdict | None, code: int, record: RunRecord
) -> Execution:
    rows = (Row("directory", str(record.directory.path)), *_device_rows(record))
    place = Section("record", rows=rows)
    document = {
        "run_id": str(record.run_id),
        "result_dir": str(record.directory.path),
        "summary": outcome.summary,
        "verdict": verdict.as_dict() if verdict else None,
        "exit_code": code,
    }
    sections = (*plan.sections, *outcome.sections, *_verdict_sections(verdict), place)
    return Execution(code, sections, document)


def _device_rows(record: RunRecord) -> tuple[Row, ...]:
    """What the block layer of all hosts saw meanwhile, other programs included."""
    change = record.change
    if change is None or not any(host.disks for host in change.hosts):
        return ()
    moved = f"{format_bytes(change.read_bytes)} read, {format_bytes(change.written_bytes)} written"
    hosts = "this host" if len(change.hosts) == 1 else f"{len(change.hosts)} hosts"
    return (Row("block devices", moved, f"on {hosts}, by whatever ran there"),)
