"""The pipeline of a run: plan, check, preflight, record, measure, collect, judge, save.

Nothing here knows which kind of benchmark it executes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import (
    EXIT_INVALID,
    EXIT_OK,
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
    MlpstorageError,
)
from mlpstorage.core.events import Interruption, Note, RunEnded, RunStarted, Stage
from mlpstorage.core.problems import ProblemsError
from mlpstorage.core.rules import Category, verdict_of
from mlpstorage.core.run import Status, Turn
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.kinds.clients import most_memory
from mlpstorage.kinds.conclusion import Ending, conclude
from mlpstorage.kinds.measurement import Sized, Stoppable
from mlpstorage.preflight.checks import examine
from mlpstorage.preflight.lockfile import lockfile_problems
from mlpstorage.record import now, recorded
from mlpstorage.report.terminal import render
from mlpstorage.store.journal import Journal
from mlpstorage.watch.mounts import mount_of
from mlpstorage.watch.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlpstorage.core.events import Event
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.core.problems import Problem
    from mlpstorage.core.rules import Issue, Verdict
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.launch import Launcher
    from mlpstorage.record import Invocation, RunRecord
    from mlpstorage.watch.snapshot import Snapshot

# The work of the ranks, fourth, is called by what it is: measuring, generating, warm-up.
_WORK = {"datagen": "generating"}
STAGES = (
    "preflight", "collecting hosts", "preparing", "measuring", "collecting", "judging", "writing",
)  # fmt: skip


@dataclass(frozen=True)
class Execution:
    """What the user gets: the exit code, sections to show, and the same as a document.

    `is_last` says that no other run is wanted: the user has interrupted this one, even if it was
    complete by then.
    """

    exit_code: int
    sections: tuple[Section, ...]
    document: dict[str, Any]
    is_last: bool = False


def execute(
    measurement: Measurement,
    invocation: Invocation,
    show: Callable[[Event], None],
    turn: Turn = Turn(),  # noqa: B008 (frozen)
) -> Execution:
    """Carry a measurement out, from its plan to its record; `turn` is its place among others.

    Raises:
        MlpstorageError: it was refused, or failed; the record, if there is one yet, says why.
    """
    plan = measurement.plan
    launcher = measurement.launcher()
    if measurement.what_if:
        return _what_if(plan)
    _refuse(plan)
    first = measurement.prerequisite()
    if first is not None:
        named = first.plan.identity
        show(Note(f"first: {named.kind} {named.command} of {named.model}"))
        done = execute(first, replace(invocation, part=None), show)
        if done.is_last:
            return replace(done, exit_code=InterruptedRunError.exit_code)
    _stage(show, 0)
    warnings = _preflight(measurement)
    _stage(show, 1)
    hosts = snapshot(measurement.safeguards.hosts)
    measurement = _on_hosts(measurement, hosts)
    plan = measurement.plan
    _refuse(plan)
    warnings += [*(_issue_text(issue) for issue in plan.issues), *hosts.warnings]
    for warning in warnings:
        show(Note(warning, "warning"))
    with _told(show), recorded(measurement, plan, invocation, hosts, warnings) as record:
        show(_started(plan, record, turn))
        outcome, stopped, is_last = _measure(measurement, record, launcher, show, turn)
        verdict = _verdict(plan, outcome)
        code = InterruptedRunError.exit_code if stopped else _exit_code(verdict, measurement)
        execution = replace(_execution(plan, outcome, verdict, code, record), is_last=is_last)
        ending = Ending(
            record.metadata,
            record.directory.path,
            measurement.results_dir,
            outcome.summary,
            verdict,
            stopped=stopped,
        )
        execution = replace(execution, sections=(*execution.sections, conclude(ending)))
        _stage(show, 6)
        text = render(execution.sections) + "\n"
        status = Status.INTERRUPTED if stopped else Status.COMPLETE
        record.complete(outcome, verdict, text, code, status)
        show(RunEnded(status.value, verdict.category.name if verdict else "", code))
    return execution


def _on_hosts(measurement: Measurement, hosts: Snapshot) -> Measurement:
    """The run as its hosts make it: the rules ask for their memory, not for this host's."""
    memory = most_memory(hosts) if measurement.safeguards.hosts else None
    if memory is None or not isinstance(measurement, Sized):
        return measurement
    return measurement.on_hosts(memory)


@contextmanager
def _told(show: Callable[[Event], None]) -> Iterator[None]:
    """Tell whoever watches how the block ended, if by an exception."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, (InterruptedRunError, KeyboardInterrupt))
        status = Status.INTERRUPTED if interrupted else Status.FAILED
        known = error if isinstance(error, MlpstorageError) else None
        code = (known or (InterruptedRunError if interrupted else BenchmarkError)).exit_code
        show(RunEnded(status.value, "", code, known.what if known else type(error).__name__))
        raise


def _started(plan: Plan, record: RunRecord, turn: Turn) -> RunStarted:
    identity = plan.identity
    what = f" on {identity.ranks} × {identity.accelerator}" if identity.accelerator else ""
    return RunStarted(
        str(record.run_id),
        f"{identity.kind} {identity.command}: {identity.model}{what}",
        str(record.directory.path),
        identity.ranks,
        turn.number,
        turn.of,
    )


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
    measurement: Measurement,
    record: RunRecord,
    launcher: Launcher,
    show: Callable[[Event], None],
    turn: Turn,
) -> tuple[Outcome, bool, bool]:
    """Launch the ranks, watch their hosts meanwhile, and see what came of it.

    Also tells whether the user has stopped it before its end, and whether the user wanted to: a
    wish may come too late for the ranks.

    Raises:
        MlpstorageError: a rank failed, or did not deliver.
    """
    _stage(show, 2)
    job = measurement.job(record.directory.path)
    wishes: list[Interruption] = []
    with (
        Journal(record.directory.events, now) as journal,
        record.directory.stderr_log.open("w", encoding="utf-8") as log,
        LinesDisplay(log, verbose=True, ticks=False) as lines,
    ):

        def on_event(event: Event) -> None:
            if isinstance(event, Interruption):
                wishes.append(event)
            journal.append(event)
            lines.show(event)
            show(event)

        _stage(on_event, 3, turn.called(_WORK.get(measurement.plan.identity.command, "measuring")))
        with record.watching(measurement.series_interval, on_event):
            results = launcher.run(job, on_event)
        if len(results) != job.size:
            raise BenchmarkError(f"{len(results)} of {job.size} ranks delivered a result")
        _stage(on_event, 4)
        record.ended(on_event)
        _stage(on_event, 5)
        if isinstance(measurement, Stoppable) and any(result.stopped for result in results):
            return measurement.stopped(results), True, True
        return measurement.outcome(results), False, bool(wishes)


def _stage(show: Callable[[Event], None], number: int, name: str = "") -> None:
    show(Stage(name or STAGES[number], number + 1, len(STAGES)))


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
    """The plan, the verdict so far, and whether the run would be refused by it."""
    verdict = _verdict_so_far(plan.issues, plan)
    storage = _storage(plan)
    refusals = tuple(_issue_text(issue) for issue in plan.stops)
    document = {
        "identity": asdict(plan.identity),
        "parameters": plan.parameters,
        "override_parameters": plan.overrides,
        "verdict_so_far": verdict.as_dict() if verdict else None,
        "refused": refusals,
        "storage": storage,
    }
    told = (
        Section("would be refused", lines=refusals)
        if refusals
        else Section("not looked at", lines=("data, room, hosts: see mlpstorage doctor",))
    )
    code = ConfigurationError.exit_code if refusals else EXIT_OK
    place = Section("storage", rows=_storage_rows(storage))
    sections = (*plan.sections, place, *_verdict_sections(verdict, "verdict so far"), told)
    return Execution(code, sections, document)


def _verdict_sections(verdict: Verdict | None, title: str = "verdict") -> tuple[Section, ...]:
    if verdict is None:
        return ()
    lines = tuple(_issue_text(issue) for issue in verdict.issues)
    return (Section(f"{title}: {verdict.category.name}", lines=lines),)


def _execution(
    plan: Plan, outcome: Outcome, verdict: Verdict | None, code: int, record: RunRecord
) -> Execution:
    storage = _storage(plan)
    rows = (*_storage_rows(storage), Row("directory", str(record.directory.path)))
    place = Section("record", rows=(*rows, *_device_rows(record)))
    document = {
        "run_id": str(record.run_id),
        "result_dir": str(record.directory.path),
        "storage": storage,
        "summary": outcome.summary,
        "verdict": verdict.as_dict() if verdict else None,
        "exit_code": code,
    }
    sections = (*plan.sections, *outcome.sections, *_verdict_sections(verdict), place)
    return Execution(code, sections, document)


def _storage(plan: Plan) -> dict[str, str] | None:
    """The storage under test: the filesystem that holds, or would hold, the plan's directory."""
    mount = mount_of(plan.place) if plan.place else None
    return {"directory": str(plan.place), **asdict(mount)} if mount else None


def _storage_rows(found: dict[str, str] | None) -> tuple[Row, ...]:
    if found is None:
        return ()
    note = f"{found['source']} mounted at {found['point']}, holds {found['directory']}"
    return (Row("storage", found["type"], note),)


def _device_rows(record: RunRecord) -> tuple[Row, ...]:
    """What the block layer of all hosts saw meanwhile, other programs included."""
    change = record.change
    if change is None or not any(host.disks for host in change.hosts):
        return ()
    moved = f"{format_bytes(change.read_bytes)} read, {format_bytes(change.written_bytes)} written"
    hosts = "this host" if len(change.hosts) == 1 else f"{len(change.hosts)} hosts"
    return (Row("block devices", moved, f"on {hosts}, by whatever ran there"),)
