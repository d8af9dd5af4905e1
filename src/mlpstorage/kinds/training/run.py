"""`training run` as a measurement: its plan, its checks, its job and its outcome."""

from __future__ import annotations

import random
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import Document, user_path
from mlpstorage.core.errors import MlpstorageError, NotFoundError, UsageError, did_you_mean
from mlpstorage.core.plan import Identity, Plan
from mlpstorage.core.problems import Problem
from mlpstorage.core.rules import Category, Phase, incomplete, judge
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.engine.dataset import MANIFEST_NAME
from mlpstorage.kinds.clients import checked_count, clients_of, same_filesystem
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    obstacles,
    place_problems,
    safeguards_of,
    series_interval_of,
)
from mlpstorage.kinds.training import result
from mlpstorage.kinds.training.datagen import TrainingDatagen, checked_processes
from mlpstorage.kinds.training.dataset_choice import (
    MOST_ACCELERATORS,
    check_contents,
    check_files,
    data_folder,
    dataset_spec,
    fitting_trial,
    load_manifest,
    require_files,
    total_bytes,
)
from mlpstorage.kinds.training.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.training.sizing import (
    needed_bytes_per_second,
    size_dataset,
)
from mlpstorage.kinds.training.workload import resolve_workload, workload_path
from mlpstorage.launch import RankJob
from mlpstorage.preflight.needs import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome
    from mlpstorage.core.rules import Issue
    from mlpstorage.engine.dataset import Manifest
    from mlpstorage.kinds.clients import Clients
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.kinds.training.options import RunOptions
    from mlpstorage.kinds.training.sizing import (
        Sizing,
    )
    from mlpstorage.kinds.training.workload import ResolvedWorkload
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs

TRIAL_EPOCHS = 2
# An interpreter with numpy, and its open libraries, pipes and counters.
RANK_BYTES = 64 << 20
RANK_FILES = 32
_FILES = "dataset.num_files_train"
_SEEDS = 1 << 63
_DROP_METHODS = ("auto", "system", "files", "off")


@dataclass(frozen=True)
class TrainingRun:
    """One run of the training benchmark, as the user asked for it.

    `repeat` counts the runs of a set before this one: a workload whose seed is fixed still reads in
    another order in each of them.
    """

    options: RunOptions
    shuffle_seed: int = field(default_factory=lambda: random.SystemRandom().randrange(1 << 31))
    repeat: int = 0
    host_memory: int | None = None

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return user_path(self.options.results_dir, "--results-dir")

    @property
    def tolerates_invalid(self) -> bool:
        """A trial is INVALID by nature, and the user asked for it."""
        return self.options.allow_invalid_params or self.options.trial

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @cached_property
    def clients(self) -> Clients:
        """The client hosts."""
        return clients_of(self.options, here=True, host_memory=self.host_memory)

    def on_hosts(self, memory_bytes: int) -> TrainingRun:
        """The same run, judged by what its hosts have."""
        return replace(self, host_memory=memory_bytes)

    @cached_property
    def folder(self) -> Path:
        """Where the data set is."""
        return data_folder(self.options.data_dir, self.options.model)

    @cached_property
    def resolved(self) -> ResolvedWorkload:
        """The workload with every layer applied, a trial's defaults among them."""
        plain = self._resolve(None)
        if not self.options.trial:
            return plain
        return self._resolve(self._trial_defaults(plain))

    def _resolve(self, defaults: Document | None) -> ResolvedWorkload:
        options = self.options
        return resolve_workload(
            options.model,
            options.accelerator_type,
            options.params,
            workload_file=workload_path(options.workload_file),
            defaults=defaults,
            data_format=options.format,
        )

    def _trial_defaults(self, plain: ResolvedWorkload) -> Document:
        if _FILES in plain.overrides:
            files = plain.overrides[_FILES]
        else:
            files = fitting_trial(plain.workload, self.options.num_accelerators, self.folder)
        values = {"dataset": {"num_files_train": files}, "train": {"epochs": TRIAL_EPOCHS}}
        return Document(values, {_FILES: "--trial", "train.epochs": "--trial"})

    @cached_property
    def minimum(self) -> Sizing:
        """The least valid data set, by the larger of declared and measured memory."""
        return size_dataset(
            self.resolved.workload, self.options.num_accelerators, self.clients.judged_bytes
        )

    @property
    def files(self) -> int:
        """How many files the run reads: what the user or the trial says, else the least valid."""
        return self.resolved.workload.dataset.num_files_train or self.minimum.files

    @cached_property
    def identity(self) -> Identity:
        """What the run is called."""
        options, workload = self.options, self.resolved.workload
        return Identity(
            kind="training",
            command="run",
            model=workload.model,
            segments=("training", workload.model, "run"),
            ranks=options.num_accelerators,
            accelerator=workload.accelerator,
            edition=workload.edition,
        )

    @cached_property
    def plan(self) -> Plan:
        """What will be done, and what the rules say so far.

        Raises:
            MlpstorageError: an option or a parameter is wrong.
        """
        self._check_options()
        resolved = self.resolved
        subject = PlanSubject(
            workload=resolved.workload,
            overrides=resolved.overrides,
            files=self.files,
            minimum=self.minimum,
            trial=self.options.trial,
            own_workload=bool(self.options.workload_file),
            same_filesystem=same_filesystem(self.folder, self.results_dir),
        )
        issues = tuple(judge(PLAN_RULES, subject, phase=Phase.PLAN))
        return Plan(
            identity=self.identity,
            asked=self._asked,
            issues=issues,
            stops=self._stops(issues),
            sections=(self._plan_section(),),
            parameters=msgspec.to_builtins(resolved.workload),
            overrides=resolved.overrides,
            sources=resolved.document.sources,
            place=self.folder,
        )

    @property
    def _asked(self) -> Category:
        return Category.CLOSED if self.options.closed else Category.OPEN

    def _check_options(self) -> None:
        options = self.options
        if options.closed and options.open:
            raise UsageError("--closed and --open exclude each other", fix="choose one division")
        if options.closed and options.trial:
            raise UsageError("--trial is never CLOSED", fix="leave --closed out")
        safeguards_of(options, (), closed=options.closed)
        series_interval_of(options)
        checked_count(options.num_accelerators, "--num-accelerators", MOST_ACCELERATORS)
        if options.drop_caches not in _DROP_METHODS:
            raise UsageError(
                f"--drop-caches {options.drop_caches!r} is unknown",
                fix=did_you_mean(options.drop_caches, _DROP_METHODS),
            )

    def _stops(self, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
        """The issues that end the run before it starts.

        In OPEN, a user who names a number of files has chosen it: the run goes on and says at the
        start and at the end that its size is not valid. Nobody else should wait for that news.
        """
        if self.tolerates_invalid:
            return ()
        found = [issue for issue in issues if issue.category is Category.INVALID]
        if not self.options.closed and _FILES in self.resolved.overrides:
            found = [issue for issue in found if issue.rule != "3.1.2"]
        if self.options.closed:
            found += [issue for issue in issues if issue.category is Category.OPEN]
        return tuple(found)

    def _plan_section(self) -> Section:
        workload, ranks = self.resolved.workload, self.options.num_accelerators
        reader, train = workload.reader, workload.train
        steps = self._steps()
        data = total_bytes(dataset_spec(workload, self.files))
        least = format_seconds(steps * train.computation_time * train.epochs)
        return Section(
            f"training run: {workload.model} on {ranks} × {workload.accelerator}",
            rows=(
                Row("figures", f"edition {workload.edition}", f"{reader.batch_size} samples/step"),
                Row("data set", f"{self.files} files", f"{format_bytes(data)}, {self.folder}"),
                Row("steps", f"{train.epochs} × {steps}", f"at least {least} of compute"),
                Row(
                    "asks for",
                    f"{format_bytes(needed_bytes_per_second(workload) * ranks)}/s",
                    "at full accelerator utilisation",
                ),
                Row(
                    "reading",
                    "direct" if reader.odirect else "buffered",
                    f"{reader.read_threads} threads per accelerator, "
                    f"{format_bytes(reader.transfer_size)} per read",
                ),
            ),
        )

    def _steps(self) -> int:
        workload = self.resolved.workload
        samples = self.files * workload.dataset.num_samples_per_file
        return samples // (workload.reader.batch_size * self.options.num_accelerators)

    def prerequisite(self) -> TrainingDatagen | None:
        """A trial generates its data when there are none yet, or not enough."""
        if not self.options.trial:
            return None
        if (self.folder / MANIFEST_NAME).exists():
            require_files(self._manifest(), self.folder, self.files)
            return None
        processes = checked_processes(0, self.clients.count, self.files)
        return TrainingDatagen(self.options, self.resolved, self.files, self.folder, processes)

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
        reader, remote = self.resolved.workload.reader, bool(self.clients.hosts)
        data = Place(
            "data",
            self.folder,
            option="--data-dir",
            write=False,
            must_exist=True,
            shared=remote,
            direct=reader.odirect,
            buffered_option="reader.odirect=false",
        )
        needs = needs_of(
            self.options,
            self.clients.hosts,
            self.options.num_accelerators,
            f"training run of {self.resolved.workload.model}",
        )
        return replace(
            needs,
            places=(data,) if remote or reader.odirect else (),
            memory_bytes_per_rank=RANK_BYTES + reader.read_threads * self._visit_bytes(),
            open_files_per_rank=reader.read_threads + RANK_FILES,
        )

    def _visit_bytes(self) -> int:
        """The memory of a reader: one read, or all that it decodes at a time."""
        workload = self.resolved.workload
        if workload.reader.decode == "none":
            return workload.reader.transfer_size
        rows = workload.table.row_group_rows if workload.table else 1
        return max(workload.reader.transfer_size, round(rows * workload.read_bytes))

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with places, data set and steps; everything that is, not the first."""
        found = place_problems(self.folder, self.results_dir, "training", generates=False)
        if not self._steps():
            need = self.resolved.workload.reader.batch_size * self.options.num_accelerators
            found.append(
                Problem(
                    f"{self.files} files are not enough for one step",
                    why=f"a step of all accelerators takes {need} samples",
                    fix=f"raise {_FILES}, or emulate fewer accelerators",
                )
            )
        if obstacles(self.folder, "--data-dir", writes=False):
            return found
        try:
            manifest = self._manifest()
            require_files(manifest, self.folder, self.files)
            check_files(manifest, self.folder, self.files)
            check_contents(manifest, self.folder, self.files, self.resolved.workload)
        except MlpstorageError as error:
            found.append(Problem.of(error))
        return found

    def _manifest(self) -> Manifest:
        if not self.folder.is_dir():
            raise NotFoundError(f"there is no data set {self.folder}", fix=self._generate())
        if not (self.folder / MANIFEST_NAME).exists():
            raise NotFoundError(
                f"{self.folder} holds no finished data set",
                why=f"{MANIFEST_NAME} is missing there: datagen writes it last",
                fix=self._generate(),
            )
        return load_manifest(self.folder, self.resolved.workload)

    def _generate(self) -> str:
        """The command that makes the data set of this run."""
        options = self.options
        own = ["--workload-file", options.workload_file] if options.workload_file else []
        own += ["--format", options.format] if options.format else []
        words = [word for word in options.params if not word.startswith(f"{_FILES}=")]
        command = ["mlpstorage", "training", "datagen", "--model", options.model, *own]
        command += ["--data-dir", options.data_dir, "--params", *words, f"{_FILES}={self.files}"]
        return f"generate it: {shlex.join(command)}"

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        return launcher_for(self.options, self.clients.hosts, self.options.num_accelerators)

    def job(self, run_dir: Path) -> RankJob:
        """One rank per accelerator."""
        workload = self.resolved.workload
        reader, train = workload.reader, workload.train
        return RankJob(
            worker="mlpstorage.kinds.training.worker:run",
            argument={
                "data_dir": str(self.folder),
                "files": self.files,
                "batch_size": reader.batch_size,
                "read_threads": reader.read_threads,
                "transfer_size": reader.transfer_size,
                "batches_ahead": batches_ahead(
                    reader.data_loader, reader.prefetch_size, reader.read_threads
                ),
                "direct": reader.odirect,
                "file_shuffle": reader.file_shuffle,
                "shuffle_seed": self._seed(),
                "epochs": train.epochs,
                "computation_time": train.computation_time,
                "drop_caches": self.options.drop_caches,
                "columns": workload.read_columns,
                "decode": reader.decode,
                "au_needed": workload.metric.au,
            },
            size=self.options.num_accelerators,
            run_dir=run_dir,
            stops_after="step",
        )

    def _seed(self) -> int:
        workload = self.resolved.workload
        if workload.reader.file_shuffle == "random":
            return self.shuffle_seed
        return (workload.train.seed + self.repeat) % _SEEDS

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """The metrics, the evidence, and what the result rules say of them."""
        return self._outcome_of(results, None)

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The same of the epochs that are complete, if any is."""
        planned, data = self.resolved.workload.train.epochs, results[0].data
        if not data["complete"]:
            return result.nothing_complete(self.resolved.workload, str(data["reached"]))
        outcome = self._outcome_of(results, data["complete"])
        return replace(
            outcome,
            issues=(incomplete(f"{planned} epochs", str(data["reached"])), *outcome.issues),
            summary={**outcome.summary, "epochs_complete": data["complete"]},
        )

    def _outcome_of(self, results: Sequence[RankResult], epochs: int | None) -> Outcome:
        return result.outcome_of(
            results,
            workload=self.resolved.workload,
            spec=self._manifest().spec,
            files=self.files,
            folder=self.folder,
            trial=self.options.trial,
            epochs=epochs,
        )


def batches_ahead(loader: str, prefetch_size: int, read_threads: int) -> int:
    """How many batches the emulated loader holds ready or in the making.

    PyTorch gives each worker ceil(prefetch / workers) batches, or 2 when prefetch is 0;
    TensorFlow prefetches over all its threads. Source: the reference engine's loaders.

    >>> batches_ahead("pytorch", 2, 4), batches_ahead("tensorflow", 2, 8)
    (4, 2)
    """
    if loader == "tensorflow":
        return max(prefetch_size, 1)
    per_worker = -(-prefetch_size // read_threads) if prefetch_size else 2
    return read_threads * per_worker
