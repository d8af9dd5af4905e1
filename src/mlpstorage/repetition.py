"""Carrying out a set of runs, and keeping its record, from which an interrupted set goes on.

Each run is made by the workflow like any other. Here is what ties them together: which come next,
how long to wait, what the record says meanwhile, and what all of them say in the end.
"""

from __future__ import annotations

import random
import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage import __version__
from mlpstorage.core.errors import (
    EXIT_INVALID,
    EXIT_OK,
    ConfigurationError,
    InterruptedRunError,
    MlpstorageError,
)
from mlpstorage.core.events import Note
from mlpstorage.core.rules import Category, incomplete, verdict_of
from mlpstorage.core.run import RunId, Status, Turn
from mlpstorage.core.units import format_seconds
from mlpstorage.kinds.conclusion import brief
from mlpstorage.kinds.recorded_verdict import recorded_verdict
from mlpstorage.kinds.set_conclusion import SetEnding, conclude_set, view_of
from mlpstorage.record import Part, ending_of, here, now
from mlpstorage.report.sets import document_of, sections_of
from mlpstorage.report.table import counted
from mlpstorage.report.terminal import render
from mlpstorage.store.codec import utc_text, write_json, write_text
from mlpstorage.store.history import scan
from mlpstorage.store.launcher import this_launcher
from mlpstorage.store.layout import SET, RunDirectory, set_segments
from mlpstorage.store.sets import SetMember, SetRecord, write_set
from mlpstorage.workflow import Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlpstorage.core.events import Event
    from mlpstorage.core.section import Section
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.kinds.repetition import Repetition
    from mlpstorage.record import Invocation
    from mlpstorage.report.model import RunSet
    from mlpstorage.store.history import HistoryEntry
    from mlpstorage.store.sets import SetEntry

    Show = Callable[[Event], None]

_MOST_SEED = 1 << 31


def _nothing(_show: Show) -> None:
    """Nothing comes before most runs."""


def _all_of(done: Execution) -> tuple[Section, ...]:
    return done.sections


def _everything(show: Show) -> Show:
    return show


@dataclass(frozen=True)
class Step:
    """One run for whoever shows it: `before` is called with the display, then the run is made.

    `shown` is what is told of its result, which may be nothing; `heard` makes of a display one that
    is spared what was told in an earlier run of the set.
    """

    measurement: Measurement
    invocation: Invocation
    turn: Turn
    before: Callable[[Show], None] = _nothing
    shown: Callable[[Execution], tuple[Section, ...]] = _all_of
    heard: Callable[[Show], Show] = _everything


def execute_set(
    repetition: Repetition,
    invocation: Invocation,
    carry_out: Callable[[Step], Execution],
    resumed: SetEntry | None = None,
) -> Execution:
    """Make all runs of a set, or those that an interrupted one still lacks, and judge them.

    A run that is interrupted or fails ends the set; what is complete stays, and can be resumed.

    Args:
        repetition: Which runs.
        invocation: How the program was called.
        carry_out: Shows a run while the workflow executes it.
        resumed: The set to go on with.

    Raises:
        MlpstorageError: a run was refused, or failed.
    """
    first = repetition.make(repetition.turn(1, _seed()))
    if first.what_if:
        # The plan is shown once, by whoever shows the set.
        return carry_out(Step(first, invocation, Turn(), _told(repetition), lambda _: ()))
    with _kept(repetition, first, invocation, resumed) as keeper:
        missing = keeper.missing()
        for count, place in enumerate(missing, start=1):
            step = keeper.step(place, pause=repetition.pause_seconds if count > 1 else 0.0)
            done = carry_out(step)
            unfinished = done.exit_code == InterruptedRunError.exit_code
            if unfinished or (done.is_last and count < len(missing)):
                return keeper.interrupted(done)
        return keeper.conclude(tolerant=first.tolerates_invalid)


def _seed() -> int:
    return random.SystemRandom().randrange(_MOST_SEED)


def _told(repetition: Repetition) -> Callable[[Show], None]:
    names = [repetition.name_of(place) for place in range(1, len(repetition.roles) + 1)]
    text = f"a set of {counted(len(names), 'run')}: {', '.join(names)}"
    return lambda show: show(Note(text))


@contextmanager
def _kept(
    repetition: Repetition,
    first: Measurement,
    invocation: Invocation,
    resumed: SetEntry | None,
) -> Iterator[_Keeper]:
    """The set's record, which says how the block ended; no record where no run had begun."""
    keeper = (
        _new_keeper(repetition, first, invocation)
        if resumed is None
        else _resuming_keeper(repetition, first, invocation, resumed)
    )
    try:
        yield keeper
    except KeyboardInterrupt as error:
        keeper.failed(error)
        if not keeper.again:
            raise
        by = f" by {error.args[0]}" if error.args else ""
        fix = f"go on with it: {keeper.again}"
        raise InterruptedRunError(f"interrupted{by}", fix=fix) from error
    except BaseException as error:
        try:
            keeper.failed(error)
        except MlpstorageError as second:
            if not isinstance(error, MlpstorageError):
                raise
            error.why = f"{error.why}; nor could that be recorded: {second.what}".lstrip("; ")
        raise


def _new_keeper(repetition: Repetition, first: Measurement, invocation: Invocation) -> _Keeper:
    """The record of a set that begins now."""
    plan, started = first.plan, datetime.now().astimezone()
    identity, results = plan.identity, first.results_dir.absolute()
    place = set_segments(identity.segments, identity.command)
    directory = RunDirectory.create(results, place, started, command=SET)
    record = SetRecord(
        set_id=str(RunId(identity.kind, SET, identity.model, directory.timestamp)),
        benchmark_type=identity.kind,
        model=identity.model,
        command=identity.command,
        accelerator=identity.accelerator or None,
        division=plan.asked.name if plan.asked else "",
        members=tuple(SetMember(role=role) for role in repetition.roles),
        executed_command=shlex.join(invocation.argv),
        args=dict(invocation.options),
        sources=dict(invocation.sources),
        working_directory=here(),
        start_time=utc_text(started),
        mlpstorage_version=__version__,
    )
    try:
        return _Keeper(repetition, invocation, results, directory, record, new=True)
    except BaseException:
        shutil.rmtree(directory.path, ignore_errors=True)
        raise


def _resuming_keeper(
    repetition: Repetition, first: Measurement, invocation: Invocation, resumed: SetEntry
) -> _Keeper:
    """The record of a set that goes on.

    Raises:
        ConfigurationError: the set was begun with other runs, or can no longer be CLOSED.
    """
    record = resumed.record
    roles = tuple(member.role for member in record.members)
    if roles != repetition.roles:
        raise ConfigurationError(
            f"the set {resumed.set_id} was begun as {', '.join(roles)}",
            why=f"it would now be {', '.join(repetition.roles)}",
            fix=f"start it anew: mlpstorage history rerun {resumed.set_id}",
        )
    directory = RunDirectory(resumed.directory, record.benchmark_type, SET)
    results = first.results_dir.absolute()
    return _Keeper(repetition, invocation, results, directory, record, new=False)


class _Keeper:
    """The record of a set, replaced as its runs begin and end."""

    def __init__(
        self,
        repetition: Repetition,
        invocation: Invocation,
        results_dir: Path,
        directory: RunDirectory,
        record: SetRecord,
        *,
        new: bool,
    ) -> None:
        self._repetition, self._invocation = repetition, invocation
        self._results, self.directory, self._record = results_dir, directory, record
        self._began, self._spent = time.monotonic(), record.runtime or 0.0
        self._new = new
        self._warned: set[str] = set()
        if not new:
            self._check_gap()
        launcher = this_launcher()
        self._save(
            status=Status.STARTED,
            error=None,
            exit_code=None,
            end_time="",
            verification=None,
            launcher_pid=launcher.pid,
            launcher_host=launcher.host,
            launcher_boot_id=launcher.boot_id,
            launcher_start_ticks=launcher.start_ticks,
        )

    def _save(self, **changes: Any) -> None:  # noqa: ANN401 (fields of SetRecord)
        self._record = msgspec.structs.replace(self._record, **changes)
        write_set(self.directory.set_record, self._record)

    @property
    def again(self) -> str:
        """The command that goes on with the set; empty while no run of it has begun."""
        return "" if self._new else f"mlpstorage resume {self._record.set_id}"

    def _complete(self) -> dict[int, HistoryEntry]:
        """The complete run of each place, the latest where there are several."""
        return {
            entry.place: entry
            for entry in scan(self._results)
            if entry.set_id == self._record.set_id
            and entry.place is not None
            and entry.status == Status.COMPLETE.value
        }

    def missing(self) -> list[int]:
        """The places whose runs are still to be made, in order; all of a new set."""
        places = range(1, len(self._repetition.roles) + 1)
        if self._new:
            return [*places]
        complete = self._complete()
        missing = [place for place in places if place not in complete]
        lead = self._repetition.lead_in(missing[0]) if missing else None
        if lead is not None and lead not in missing and self._too_late(complete) is not None:
            missing.insert(0, lead)
        return missing

    def _too_late(self, complete: dict[int, HistoryEntry]) -> tuple[float, float] | None:
        """The seconds since the last complete run, and the most allowed, if it is too late."""
        durations = [entry.runtime_seconds or 0.0 for entry in complete.values()]
        ends = [
            entry.start.timestamp() + (entry.runtime_seconds or 0.0) for entry in complete.values()
        ]
        if not ends:
            return None
        gap, most = time.time() - max(ends), self._repetition.longest_gap(durations)
        return (gap, most) if gap >= most else None

    def _check_gap(self) -> None:
        """Refuse to go on where the whole could not be CLOSED any more, before hours of work."""
        late = self._too_late(self._complete())
        if late is None or self._record.division != Category.CLOSED.name:
            return
        raise ConfigurationError(
            f"the set {self._record.set_id} can no longer be CLOSED: its last complete run ended "
            f"{format_seconds(late[0])} ago",
            why=f"the runs of a set are less than {format_seconds(late[1])} apart",
            fix=f"start it anew: mlpstorage history rerun {self._record.set_id}",
        )

    def step(self, place: int, pause: float) -> Step:
        """The run of a place, made after a pause."""
        turn = self._repetition.turn(place, _seed())
        text = f"run {place} of {turn.of}: {self._repetition.name_of(place)}"

        def before(show: Show) -> None:
            if pause:
                show(Note(f"waiting {format_seconds(pause)} before the next run"))
                time.sleep(pause)
            show(Note(text))

        part = Part(self._record.set_id, turn, lambda run, where: self._begun(turn, run, where))
        invocation = replace(self._invocation, part=part)
        measurement = self._repetition.make(turn)

        def shown(done: Execution) -> tuple[Section, ...]:
            # Without a record, what was ended came before the runs: it is shown as the whole.
            return () if self._new else brief(done.sections, text)

        return Step(measurement, invocation, turn, before, shown, self._heard)

    def _heard(self, show: Show) -> Show:
        """The display without the warnings that an earlier run of the set has told."""
        before = frozenset(self._warned)

        def told(event: Event) -> None:
            if isinstance(event, Note) and event.level == "warning":
                if event.text in before:
                    return
                self._warned.add(event.text)
            show(event)

        return told

    def _begun(self, turn: Turn, run_id: str, directory: Path) -> None:
        self._new = False
        members = list(self._record.members)
        members[turn.number - 1] = SetMember(
            role=turn.role,
            seed=turn.seed,
            run_id=run_id,
            directory=str(directory.relative_to(self._results)),
        )
        self._save(members=tuple(members), **self._times())

    def _times(self) -> dict[str, Any]:
        spent = self._spent + time.monotonic() - self._began
        return {"runtime": spent, "end_time": utc_text(now())}

    def failed(self, error: BaseException) -> None:
        """Say how the set ended; a set of which no run had begun leaves nothing behind."""
        if self._record.status is not Status.STARTED:  # a signal came after the last word
            return
        if self._new:
            shutil.rmtree(self.directory.path, ignore_errors=True)
            return
        if isinstance(error, MlpstorageError):
            more = f"go on with it: {self.again}"
            error.fix = f"{error.fix}; then {more}" if error.fix else more
        ending = ending_of(error)
        unfinished = self._unfinished() if ending["status"] is Status.INTERRUPTED else None
        self._save(**ending, verification=unfinished, **self._times())

    def _unfinished(self) -> dict[str, Any] | None:
        """The verdict of a set that the user has ended, None where it is not judged."""
        if not self._record.division:
            return None
        of = len(self._repetition.roles)
        issue = incomplete(f"{of} runs", f"{len(self._complete())} of them")
        return verdict_of([issue], asked=Category[self._record.division]).as_dict()

    def interrupted(self, done: Execution) -> Execution:
        """End the set where the user has ended a run of it."""
        if self._new:  # it was ended before the first run had a record
            shutil.rmtree(self.directory.path, ignore_errors=True)
            return done
        code, unfinished = InterruptedRunError.exit_code, self._unfinished()
        self._save(
            status=Status.INTERRUPTED, exit_code=code, verification=unfinished, **self._times()
        )
        return self._execution(self._view(), code, unfinished)

    def conclude(self, *, tolerant: bool) -> Execution:
        """Judge the runs together, and write what came of the set before saying that it is whole.

        Raises:
            MlpstorageError: a run cannot be read any more, or the record cannot be written.
        """
        view = self._view()
        invalid = view.verdict is Category.INVALID and not tolerant
        execution = self._execution(view, EXIT_INVALID if invalid else EXIT_OK)
        write_json(self.directory.summary, execution.document)
        write_text(self.directory.stdout_log, render(execution.sections) + "\n")
        self._save(
            status=Status.COMPLETE,
            exit_code=execution.exit_code,
            verification=execution.document["verdict"],
            **self._times(),
        )
        return execution

    def _view(self) -> RunSet:
        """The set as reports see it.

        Raises:
            ConfigurationError: its runs are gone.
        """
        view = view_of(self._record, self.directory.path, self._results)
        if view is None:
            raise ConfigurationError(
                f"the runs of the set {self._record.set_id} are gone",
                why=f"none of them is in {self._results} any more",
                fix=f"start it anew: mlpstorage history rerun {self._record.set_id}",
            )
        return view

    def _execution(
        self, view: RunSet, code: int, unfinished: dict[str, Any] | None = None
    ) -> Execution:
        again = self.again if code == InterruptedRunError.exit_code else ""
        if again:
            again += f" --results-dir {shlex.quote(str(self._results))}"
        document = {
            **document_of(view),
            "result_dir": str(self.directory.path),
            "exit_code": code,
            "next": again or None,
        }
        if unfinished:
            document["verdict"] = unfinished
        members = enumerate(self._record.members, start=1)
        parts = [(self._repetition.name_of(place), member.run_id) for place, member in members]
        place = self.directory.path
        ending = SetEnding(
            view, self._record, place, self._results, recorded_verdict(unfinished), again
        )
        sections = sections_of(view, parts, place, whole=not again)
        return Execution(code, (*sections, conclude_set(ending)), document)
