"""One run's record: its directory, its metadata, and what was seen of its hosts.

Written with status `started` before the launch and replaced as the run goes on, so a crash is
visible without any handler.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage import __version__
from mlpstorage.core.errors import BenchmarkError, InterruptedRunError, MlpstorageError
from mlpstorage.core.events import Note
from mlpstorage.core.rules import Category, incomplete, verdict_of
from mlpstorage.core.run import RunId, Status
from mlpstorage.store.code import code_identity
from mlpstorage.store.codec import (
    CommandOutput,
    ErrorRecord,
    Metadata,
    utc_text,
    write_json,
    write_metadata,
    write_text,
)
from mlpstorage.store.launcher import this_launcher
from mlpstorage.store.layout import RunDirectory
from mlpstorage.watch.difference import difference
from mlpstorage.watch.sampler import Sampler
from mlpstorage.watch.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlpstorage.core.events import Event
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.core.rules import Verdict
    from mlpstorage.core.run import Turn
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.watch.difference import ClusterChange
    from mlpstorage.watch.snapshot import Snapshot

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Part:
    """A run's part in a set; `begun` is told its id and directory as soon as it has a record."""

    set_id: str
    turn: Turn
    begun: Callable[[str, Path], None]


@dataclass(frozen=True)
class Invocation:
    """How the program was called: its words, the options as values, and where each came from."""

    argv: tuple[str, ...]
    options: Mapping[str, Any]
    sources: Mapping[str, str]
    part: Part | None = None


def _place_in_set(part: Part | None) -> dict[str, Any]:
    """The fields of metadata that say which run of a set this is."""
    if part is None:
        return {}
    turn = part.turn
    return {
        "set_id": part.set_id,
        "set_role": turn.role,
        "set_place": turn.number,
        "set_size": turn.of,
        "seed": turn.seed,
    }


def ending_of(error: BaseException) -> dict[str, Any]:
    """The fields of a record that say how it ended, when this error has ended it."""
    interrupted = isinstance(error, (InterruptedRunError, KeyboardInterrupt))
    known = error if isinstance(error, MlpstorageError) else None
    what = known.what if known else f"{type(error).__name__}: {error}"
    other = InterruptedRunError if interrupted else BenchmarkError
    return {
        "status": Status.INTERRUPTED if interrupted else Status.FAILED,
        "exit_code": (known or other).exit_code,
        "error": ErrorRecord(what, known.why if known else "", known.fix if known else ""),
    }


def here() -> str:
    """The directory that the program was started in; empty if it is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(timezone.utc)


class RunRecord:
    """The run's directory and its metadata, replaced as the run goes on."""

    def __init__(
        self,
        measurement: Measurement,
        plan: Plan,
        invocation: Invocation,
        hosts: Snapshot,
        warnings: Sequence[str],
    ) -> None:
        identity, started = plan.identity, datetime.now().astimezone()
        self.change: ClusterChange | None = None
        self._start, self._hosts = hosts.cluster, measurement.safeguards.hosts
        cluster = hosts.cluster.as_dict()
        self.directory = RunDirectory.create(
            measurement.results_dir, identity.segments, started, command=identity.command
        )
        self._began = time.monotonic()
        self.run_id = RunId(
            identity.kind, identity.command, identity.model, self.directory.timestamp
        )
        launcher = this_launcher()
        command = shlex.join(invocation.argv)
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
            cluster_snapshots={
                "start": cluster,
                "end": None,
                "collection_method": hosts.cluster.collection_method,
            },
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
            warnings=tuple(warnings),
            sources={**plan.sources, **invocation.sources},
            start_time=utc_text(started),
            launcher_pid=launcher.pid,
            launcher_host=launcher.host,
            launcher_boot_id=launcher.boot_id,
            launcher_start_ticks=launcher.start_ticks,
            working_directory=here(),
            code_identity=code_identity(),
            **_place_in_set(invocation.part),
        )
        try:
            self._save()
            write_json(self.directory.cluster_info, cluster)
            if invocation.part is not None:
                invocation.part.begun(str(self.run_id), self.directory.path)
        except BaseException:
            # A directory without a record would be a run that nobody can tell anything about.
            shutil.rmtree(self.directory.path, ignore_errors=True)
            raise

    def _save(self, **changes: Any) -> None:  # noqa: ANN401 (fields of Metadata)
        metadata = msgspec.structs.replace(self.metadata, **changes)
        with _undisturbed():
            write_metadata(self.directory.metadata, metadata)
            self.metadata = metadata

    @contextmanager
    def watching(
        self, interval_seconds: float | None, show: Callable[[Event], None]
    ) -> Iterator[None]:
        """Sample the hosts meanwhile; what was sampled is kept however the block ends."""
        if interval_seconds is None:
            yield
            return
        sampler = Sampler(
            self._hosts,
            interval_seconds,
            self.directory.timeseries_lines,
            self.directory.timeseries,
        )
        sampler.start()
        try:
            yield
        finally:
            collected = sampler.stop()
            for problem in collected.problems:
                show(Note(problem, "warning"))
            self._save(timeseries_data=collected.as_metadata())

    def ended(self, show: Callable[[Event], None]) -> None:
        """Record the hosts once more, and what their devices did in between."""
        hosts = snapshot(self._hosts)
        for warning in hosts.warnings:
            show(Note(warning, "warning"))
        snapshots = self.metadata.cluster_snapshots or {}
        self.change = difference(self._start, hosts.cluster)
        ended = {
            **snapshots,
            "end": hosts.cluster.as_dict(),
            "difference": self.change.as_dict(),
        }
        self._save(cluster_snapshots=ended)

    def _ended(self) -> dict[str, Any]:
        return {"runtime": time.monotonic() - self._began, "end_time": utc_text(now())}

    def complete(
        self,
        outcome: Outcome,
        verdict: Verdict | None,
        text: str,
        code: int,
        status: Status = Status.COMPLETE,
    ) -> None:
        """Write the figures first, then the record that says how the run ended."""
        judged = verdict.as_dict() if verdict else None
        summary = {**outcome.summary, "verdict": judged}
        for rank, document in enumerate(outcome.rank_outputs):
            write_json(self.directory.output(rank), document)
        for rank, document in enumerate(outcome.rank_epochs):
            write_json(self.directory.per_epoch_stats(rank), document)
        write_json(self.directory.summary, summary)
        write_text(self.directory.stdout_log, text)
        self._save(
            status=status,
            exit_code=code,
            verification=judged,
            **self._ended(),
        )

    def failed(self, error: BaseException) -> None:
        """Say in the record how the run ended; a program error is recorded like any other."""
        if self.metadata.status is not Status.STARTED:  # a signal came after the last word
            return
        ending = ending_of(error)
        interrupted = ending["status"] is Status.INTERRUPTED
        self._save(
            **ending,
            verification=self._unfinished() if interrupted else None,
            **self._ended(),
        )

    def _unfinished(self) -> dict[str, Any] | None:
        """The verdict of a run that was ended before its ranks could say what they had done."""
        if not self.metadata.division:
            return None
        issue = incomplete("all of the run's work", "nothing that is known")
        return verdict_of([issue], asked=Category[self.metadata.division]).as_dict()


@contextmanager
def recorded(
    measurement: Measurement,
    plan: Plan,
    invocation: Invocation,
    hosts: Snapshot,
    warnings: Sequence[str],
) -> Iterator[RunRecord]:
    """A record that says how the block ended, whatever ends it; `hosts` are as they began."""
    record = RunRecord(measurement, plan, invocation, hosts, warnings)
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
