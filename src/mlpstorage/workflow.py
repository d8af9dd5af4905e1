"""The pipeline of a run: plan, check, preflight, record, measure, collect, judge, save.

A run's record is written with status `started` before the launch and replaced when it ends, so a
crash is visible without any handler. Nothing here knows which kind of benchmark it executes.
"""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage import __version__
from mlpstorage.core.errors import (
    EXIT_INVALID,
    EXIT_OK,
    BenchmarkError,
    ConfigurationError,
    InterruptedRunError,
    MlpstorageError,
)
from mlpstorage.core.events import Note, Stage
from mlpstorage.core.problems import ProblemsError
from mlpstorage.core.rules import Category, verdict_of
from mlpstorage.core.run import RunId, Status
from mlpstorage.core.section import Row, Section
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.preflight.checks import examine
from mlpstorage.preflight.lockfile import lockfile_problems
from mlpstorage.report.terminal import render
from mlpstorage.store.codec import (
    CommandOutput,
    ErrorRecord,
    Metadata,
    utc_text,
    write_json,
    write_metadata,
    write_text,
)
from mlpstorage.store.journal import Journal
from mlpstorage.store.launcher import this_launcher
from mlpstorage.store.layout import RunDirectory
from mlpstorage.watch.inventory import collect_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mlpstorage.core.events import Event
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.core.problems import Problem
    from mlpstorage.core.rules import Issue, Verdict
    from mlpstorage.kinds.measurement import Measurement

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STAGES = ("checking", "preparing", "measuring", "judging")


@dataclass(frozen=True)
class Invocation:
    """How the program was called: its words, the options as values, and where each came from."""

    argv: tuple[str, ...]
    options: Mapping[str, Any]
    sources: Mapping[str, str]


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
    _preflight(measurement, show)
    for issue in plan.issues:
        if issue.category is not Category.CLOSED:
            show(Note(_issue_text(issue), "warning"))
    with _record(measurement, plan, invocation) as record:
        _stage(show, 1)
        job = measurement.job(record.directory.path)
        with (
            Journal(record.directory.events, _now) as journal,
            record.directory.stderr_log.open("w", encoding="utf-8") as log,
            LinesDisplay(log, verbose=True) as lines,
        ):

            def on_event(event: Event) -> None:
                journal.append(event)
                lines.show(event)
                show(event)

            _stage(on_event, 2)
            results = launcher.run(job, on_event)
            if len(results) != job.size:
                raise BenchmarkError(f"{len(results)} of {job.size} ranks delivered a result")
            _stage(on_event, 3)
            outcome = measurement.outcome(results)
        verdict = _verdict(plan, outcome)
        code = _exit_code(verdict, measurement)
        execution = _execution(plan, outcome, verdict, code, record)
        record.complete(outcome, execution)
    return execution


def _preflight(measurement: Measurement, show: Callable[[Event], None]) -> None:
    """Find everything that is wrong, on all hosts, and refuse it together.

    Raises:
        ProblemsError: there are problems.
    """
    guards = measurement.safeguards
    problems: list[Problem] = []
    if guards.lockfile is not None:
        problems += lockfile_problems(guards.lockfile, guards.hosts)
    if guards.skip_validation:
        show(Note("the environment was not checked (--skip-validation)", "warning"))
    else:
        examination = examine(measurement.needs())
        problems += examination.problems
        for finding in examination.warnings:
            show(Note(finding.text, "warning"))
    problems += measurement.problems()
    if problems:
        raise ProblemsError(problems)


def _stage(show: Callable[[Event], None], number: int) -> None:
    show(Stage(STAGES[number], number + 1, len(STAGES)))


def _now() -> datetime:
    return datetime.now(timezone.utc)


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
        "identity": msgspec.to_builtins(plan.identity),
        "parameters": plan.parameters,
        "override_parameters": plan.overrides,
        "verdict_so_far": _verdict_document(verdict),
    }
    return Execution(
        EXIT_OK, (*plan.sections, *_verdict_sections(verdict, "verdict so far")), document
    )


def _verdict_document(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    issues = [
        {**msgspec.to_builtins(issue), "category": issue.category.name} for issue in verdict.issues
    ]
    return {"category": verdict.category.name, "issues": issues}


def _verdict_sections(verdict: Verdict | None, title: str = "verdict") -> tuple[Section, ...]:
    if verdict is None:
        return ()
    lines = tuple(_issue_text(issue) for issue in verdict.issues)
    return (Section(f"{title}: {verdict.category.name}", lines=lines),)


def _execution(
    plan: Plan, outcome: Outcome, verdict: Verdict | None, code: int, record: _Record
) -> Execution:
    place = Section("record", rows=(Row("directory", str(record.directory.path)),))
    document = {
        "run_id": str(record.run_id),
        "result_dir": str(record.directory.path),
        "summary": outcome.summary,
        "verdict": _verdict_document(verdict),
        "exit_code": code,
    }
    sections = (*plan.sections, *outcome.sections, *_verdict_sections(verdict), place)
    return Execution(code, sections, document)


class _Record:
    """The run's directory and its metadata, replaced as the run goes on."""

    def __init__(self, measurement: Measurement, plan: Plan, invocation: Invocation) -> None:
        identity, started = plan.identity, datetime.now().astimezone()
        cluster = collect_local().as_dict()
        self.directory = RunDirectory.create(
            measurement.results_dir, identity.segments, started, command=identity.command
        )
        self._began = time.monotonic()
        self.run_id = RunId(
            identity.kind, identity.command, identity.model, self.directory.timestamp
        )
        launcher = this_launcher()
        command = " ".join(_quoted(invocation.argv))
        self.metadata = Metadata(
            benchmark_type=identity.kind,
            model=identity.model,
            command=identity.command,
            run_datetime=self.directory.timestamp,
            num_processes=identity.ranks,
            accelerator=identity.accelerator or None,
            result_dir=str(self.directory.path),
            parameters=plan.parameters,
            override_parameters=plan.overrides,
            system_info=cluster,
            executed_command=command,
            command_output_files=(
                CommandOutput(
                    command, str(self.directory.stdout_log), str(self.directory.stderr_log)
                ),
            ),
            args=dict(invocation.options),
            run_id=str(self.run_id),
            status=Status.STARTED,
            mlpstorage_version=__version__,
            engine=identity.engine,
            edition=identity.edition,
            division=plan.asked.name if plan.asked else "",
            sources={**invocation.sources, **plan.sources},
            start_time=utc_text(started),
            launcher_pid=launcher.pid,
            launcher_host=launcher.host,
            launcher_boot_id=launcher.boot_id,
            launcher_start_ticks=launcher.start_ticks,
        )
        try:
            self._save()
            write_json(self.directory.cluster_info, cluster)
        except BaseException:
            # A directory without a record would be a run that nobody can tell anything about.
            shutil.rmtree(self.directory.path, ignore_errors=True)
            raise

    def _save(self, **changes: Any) -> None:  # noqa: ANN401 (fields of Metadata)
        metadata = msgspec.structs.replace(self.metadata, **changes)
        with _undisturbed():
            write_metadata(self.directory.metadata, metadata)
            self.metadata = metadata

    def _ended(self) -> dict[str, Any]:
        return {"runtime": time.monotonic() - self._began, "end_time": utc_text(_now())}

    def complete(self, outcome: Outcome, execution: Execution) -> None:
        """Write the figures first, then the record that says they are whole."""
        verdict = execution.document["verdict"]
        summary = {**outcome.summary, "verdict": verdict}
        for rank, document in enumerate(outcome.rank_outputs):
            write_json(self.directory.output(rank), document)
        for rank, document in enumerate(outcome.rank_epochs):
            write_json(self.directory.per_epoch_stats(rank), document)
        write_json(self.directory.summary, summary)
        write_text(self.directory.stdout_log, render(execution.sections) + "\n")
        self._save(
            status=Status.COMPLETE,
            exit_code=execution.exit_code,
            verification=verdict,
            **self._ended(),
        )

    def failed(self, error: BaseException) -> None:
        """Say in the record how the run ended; a program error is recorded like any other."""
        if self.metadata.status is Status.COMPLETE:  # a signal came after the last word
            return
        interrupted = isinstance(error, (InterruptedRunError, KeyboardInterrupt))
        known = error if isinstance(error, MlpstorageError) else None
        what = known.what if known else f"{type(error).__name__}: {error}"
        other = InterruptedRunError if interrupted else BenchmarkError
        self._save(
            status=Status.INTERRUPTED if interrupted else Status.FAILED,
            exit_code=(known or other).exit_code,
            error=ErrorRecord(what, known.why if known else "", known.fix if known else ""),
            **self._ended(),
        )


@contextmanager
def _record(measurement: Measurement, plan: Plan, invocation: Invocation) -> Iterator[_Record]:
    record = _Record(measurement, plan, invocation)
    try:
        yield record
    except BaseException as error:
        try:
            record.failed(error)
        except MlpstorageError as second:
            if not isinstance(error, MlpstorageError):
                raise
            # What ended the run matters more than that it cannot be written down.
            error.why = f"{error.why}; nor could that be recorded: {second.what}".lstrip("; ")
        raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back the signals that end a program, until the block is through."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _quoted(words: tuple[str, ...]) -> list[str]:
    import shlex

    return [shlex.quote(word) for word in words]
