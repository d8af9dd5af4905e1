"""`checkpointing run` as a measurement: its plan, its checks, its job and its outcome."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import user_path
from mlpstorage.core.errors import MlpstorageError, UsageError, did_you_mean
from mlpstorage.core.plan import Identity, Plan
from mlpstorage.core.problems import Problem
from mlpstorage.core.rules import Category, Phase, incomplete, judge
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.engine.checkpoint.lanes import buffers_for
from mlpstorage.kinds.checkpointing import result
from mlpstorage.kinds.checkpointing.choice import (
    asked_workload,
    checked_processes,
    checkpoint_folder,
    rank_shift,
    ranks_per_host,
    refuse_dlio,
)
from mlpstorage.kinds.checkpointing.folder import (
    check_files,
    held_bytes,
    load_record,
    refuse_strangers,
    require_checkpoints,
)
from mlpstorage.kinds.checkpointing.layout import sizes_of
from mlpstorage.kinds.checkpointing.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.checkpointing.workload import accelerator_memory_bytes, layout_of
from mlpstorage.kinds.clients import clients_of, same_filesystem
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    obstacles,
    place_problems,
    safeguards_of,
    series_interval_of,
)
from mlpstorage.launch import RankJob
from mlpstorage.preflight.needs import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome
    from mlpstorage.core.rules import Issue
    from mlpstorage.kinds.checkpointing.layout import Layout, Sizes
    from mlpstorage.kinds.checkpointing.options import RunOptions
    from mlpstorage.kinds.checkpointing.workload import Checkpoint, ResolvedWorkload
    from mlpstorage.kinds.clients import Clients
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs

# An interpreter with numpy, and its open libraries, pipes and counters.
RANK_BYTES = 64 << 20
RANK_FILES = 32
_OPTION = "--checkpoint-folder"
_DROP_METHODS = ("auto", "system", "files", "off")
_VERIFY = ("stamps", "full", "off")
_ENGINES = ("native", "dlio")
# What a user can only have chosen: in OPEN the run goes on, and says at both ends what it is.
_CHOSEN = frozenset({"4.3.3", "4.3.5", "4.7.1", "C.1"})


@dataclass(frozen=True)
class CheckpointRun:
    """One run of the checkpointing benchmark, as the user asked for it."""

    options: RunOptions
    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(1 << 62))
    corrupted: list[str] = field(default_factory=list)
    host_memory: int | None = None

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return user_path(self.options.results_dir, "--results-dir")

    @property
    def tolerates_invalid(self) -> bool:
        """Corrupted data are never a success, whatever parameters the user allows."""
        return self.options.allow_invalid_params and not self.corrupted

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @cached_property
    def clients(self) -> Clients:
        """The client hosts."""
        return clients_of(self.options, here=True, host_memory=self.host_memory)

    def on_hosts(self, memory_bytes: int) -> CheckpointRun:
        """The same run, judged by what its hosts have."""
        return replace(self, host_memory=memory_bytes)

    @cached_property
    def resolved(self) -> ResolvedWorkload:
        """The workload with every layer applied."""
        return asked_workload(self.options)

    @property
    def _checkpoint(self) -> Checkpoint:
        return self.resolved.workload.checkpoint

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return checkpoint_folder(self.options, self.resolved.workload)

    @cached_property
    def layout(self) -> Layout:
        """How a checkpoint lies in files."""
        return layout_of(self.resolved.workload, checked_processes(self.options.num_processes))

    @cached_property
    def sizes(self) -> Sizes:
        """What a checkpoint has."""
        return sizes_of(self.layout)

    @cached_property
    def _per_host(self) -> tuple[int, ...]:
        return ranks_per_host(self.clients, self.options.num_processes)

    @cached_property
    def identity(self) -> Identity:
        """What the run is called."""
        workload = self.resolved.workload
        return Identity(
            kind="checkpointing",
            command="run",
            model=workload.model.name,
            segments=("checkpointing", workload.model.name),
            ranks=self.options.num_processes,
            accelerator=self.options.accelerator_type,
            edition=workload.edition,
        )

    @cached_property
    def plan(self) -> Plan:
        """What will be done, and what the rules say so far.

        Raises:
            MlpstorageError: an option or a parameter is wrong.
        """
        self._check_options()
        resolved, accelerator = self.resolved, self.options.accelerator_type
        subject = PlanSubject(
            workload=resolved.workload,
            layout=self.layout,
            sizes=self.sizes,
            overrides=resolved.overrides,
            ranks_per_host=self._per_host,
            host_memory_bytes=self.clients.judged_bytes // self.clients.count,
            drop_caches=self.options.drop_caches,
            accelerator_bytes=accelerator_memory_bytes(accelerator) if accelerator else None,
            gap_seconds=self._gap_seconds(),
            own_workload=bool(self.options.workload_file),
            same_filesystem=same_filesystem(self.folder, self.results_dir),
        )
        issues = tuple(judge(PLAN_RULES, subject, phase=Phase.PLAN))
        return Plan(
            identity=self.identity,
            asked=Category.CLOSED if self.options.closed else Category.OPEN,
            issues=issues,
            stops=self._stops(issues),
            sections=(self._plan_section(),),
            parameters=msgspec.to_builtins(resolved.workload),
            overrides=resolved.overrides,
            sources=resolved.document.sources,
            place=self.folder,
        )

    def _check_options(self) -> None:
        options, checkpoint = self.options, self._checkpoint
        if options.closed and options.open:
            raise UsageError("--closed and --open exclude each other", fix="choose one division")
        for value, flag, known in (
            (options.drop_caches, "--drop-caches", _DROP_METHODS),
            (options.verify, "--verify", _VERIFY),
            (options.engine, "--engine", _ENGINES),
        ):
            if value not in known:
                raise UsageError(f"{flag} {value!r} is unknown", fix=did_you_mean(value, known))
        refuse_dlio(options.engine, options.dlio_path)
        if not checkpoint.num_checkpoints_write and not checkpoint.num_checkpoints_read:
            raise UsageError(
                "no checkpoint is written and none is read",
                fix="raise --num-checkpoints-write or --num-checkpoints-read",
            )
        safeguards_of(options, (), closed=options.closed)
        series_interval_of(options)

    def _gap_seconds(self) -> float | None:
        """Seconds since the checkpoints that this run only reads were written."""
        if self._checkpoint.num_checkpoints_write:
            return None
        try:
            return time.time() - load_record(self.folder).ended_unix_seconds
        except MlpstorageError:  # told with all other problems of the folder
            return None

    def _stops(self, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
        """The issues that end the run before it starts."""
        if self.tolerates_invalid:
            return ()
        if self.options.closed:
            return issues
        invalid = [issue for issue in issues if issue.category is Category.INVALID]
        return tuple(issue for issue in invalid if issue.rule not in _CHOSEN)

    def _plan_section(self) -> Section:
        checkpoint, layout, sizes = self._checkpoint, self.layout, self.sizes
        writes, reads = checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read
        pauses = checkpoint.time_between_checkpoints * (max(0, writes - 1) + max(0, reads - 1))
        copies = "" if checkpoint.mode == "default" else f", the first {layout.processes} of them"
        return Section(
            f"checkpointing run: {self.resolved.workload.model.name} "
            f"on {layout.processes} processes",
            rows=(
                Row("figures", f"edition {self.resolved.workload.edition}"),
                Row(
                    "cut",
                    f"{layout.tensor} × {layout.pipeline} × {layout.data}",
                    f"tensor × pipeline × data{copies}, ZeRO stage {layout.zero_stage}",
                ),
                Row(
                    "checkpoint",
                    format_bytes(sizes.total_bytes),
                    f"{sizes.files} files, {format_bytes(sizes.least_rank_bytes)} to "
                    f"{format_bytes(sizes.most_rank_bytes)} per process",
                ),
                Row(
                    "to do",
                    f"{writes} writes, {reads} reads",
                    f"{format_bytes((writes + reads) * sizes.total_bytes)} in all, "
                    f"{format_seconds(pauses)} of pauses, {self.folder}",
                ),
                Row(
                    "moving",
                    "direct" if checkpoint.odirect else "buffered",
                    f"{checkpoint.write_threads} writing and {checkpoint.read_threads} reading "
                    f"threads per process, {format_bytes(checkpoint.block_size)} per call, "
                    f"{format_bytes(self._buffer_bytes)} of buffers",
                ),
            ),
        )

    @property
    def _buffer_bytes(self) -> int:
        """The buffers of one process: they do not grow with the checkpoint."""
        checkpoint = self._checkpoint
        depth = max(
            checkpoint.write_threads if checkpoint.num_checkpoints_write else 1,
            checkpoint.read_threads if checkpoint.num_checkpoints_read else 1,
        )
        return buffers_for(depth) * checkpoint.block_size

    def prerequisite(self) -> None:
        """Nothing must come first."""

    @property
    def safeguards(self) -> Safeguards:
        """What the user wants checked."""
        return safeguards_of(self.options, self.clients.hosts, closed=self.options.closed)

    @property
    def series_interval(self) -> float | None:
        """Seconds between samples of every host."""
        return series_interval_of(self.options)

    def needs(self) -> Needs:
        """What preflight has to look at for this very run."""
        checkpoint = self._checkpoint
        writes = checkpoint.num_checkpoints_write
        place = Place(
            "checkpoint",
            self.folder,
            option=_OPTION,
            write=bool(writes),
            must_exist=not writes,
            shared=bool(self.clients.hosts),
            bytes_needed=max(0, writes * self.sizes.total_bytes - held_bytes(self.folder)),
            direct=checkpoint.odirect,
            buffered_option="checkpoint.odirect=false",
        )
        needs = needs_of(
            self.options,
            self.clients.hosts,
            self.options.num_processes,
            f"checkpointing run of {self.resolved.workload.model.name}",
        )
        return replace(
            needs,
            places=(place,),
            memory_bytes_per_rank=RANK_BYTES + self._buffer_bytes,
            open_files_per_rank=RANK_FILES + self.sizes.most_rank_files,
        )

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the folder; everything that is, not the first."""
        writes = bool(self._checkpoint.num_checkpoints_write)
        found = place_problems(
            self.folder,
            self.results_dir,
            "checkpointing",
            generates=writes,
            option=_OPTION,
            name="checkpoint folder",
        )
        if obstacles(self.folder, _OPTION, writes=False):
            return found
        try:
            if writes:
                refuse_strangers(self.folder)
            else:
                name = self.resolved.workload.model.name
                check_files(self.folder, require_checkpoints(self.folder, name, self.layout))
        except MlpstorageError as error:
            found.append(Problem.of(error))
        return found

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        return launcher_for(self.options, self.clients.hosts, self.options.num_processes)

    def job(self, run_dir: Path) -> RankJob:
        """One rank per process."""
        checkpoint = self._checkpoint
        return RankJob(
            worker="mlpstorage.kinds.checkpointing.worker:run",
            argument={
                "folder": str(self.folder),
                "model": self.resolved.workload.model.name,
                "layout": msgspec.to_builtins(self.layout),
                "seed": self.seed,
                "writes": checkpoint.num_checkpoints_write,
                "reads": checkpoint.num_checkpoints_read,
                "pause_seconds": checkpoint.time_between_checkpoints,
                "fsync": checkpoint.fsync,
                "direct": checkpoint.odirect,
                "write_threads": checkpoint.write_threads,
                "read_threads": checkpoint.read_threads,
                "block_bytes": checkpoint.block_size,
                "rank_shift": rank_shift(self._per_host) if checkpoint.recovery_rank_shift else 0,
                "drop_caches": self.options.drop_caches,
                "verify": self.options.verify,
            },
            size=self.options.num_processes,
            run_dir=run_dir,
            stops_after="checkpoint",
        )

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """The figures, the evidence, and what the result rules say of them."""
        return self._outcome_of(results, None)

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The same of the checkpoints that are complete: every rank has the same ones."""
        checkpoint = self._checkpoint
        phases = [record["phase"] for record in results[0].data["checkpoints"]]
        done = (phases.count("save"), phases.count("load"))
        planned = (checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read)
        expected, actual = (f"{writes} writes, {reads} reads" for writes, reads in (planned, done))
        outcome = self._outcome_of(results, done)
        return replace(outcome, issues=(incomplete(expected, actual), *outcome.issues))

    def _outcome_of(self, results: Sequence[RankResult], done: tuple[int, int] | None) -> Outcome:
        outcome = result.outcome_of(
            results,
            workload=self.resolved.workload,
            sizes=self.sizes,
            folder=self.folder,
            verify=self.options.verify,
            done=done,
        )
        if outcome.summary["verification"]["mismatches"]:
            self.corrupted.append(outcome.summary["verification"]["first_mismatch"])
        return outcome
