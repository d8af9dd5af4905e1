"""`training run --engine dlio`: the same run, with DLIO in the ranks.

What differs from the native engine stands here: the ranks always start by MPI, DLIO's own
limits, the job of a rank, and whose figures the headline is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlpstorage.config import user_path
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.section import Row, Section
from mlpstorage.engine.dlio.tree import installed_tree, tree_at
from mlpstorage.kinds.training import result
from mlpstorage.kinds.training.reference_checks import (
    findings,
    modules_for,
    placement_problems,
    tree_problems,
    used_files,
    workload_problems,
)
from mlpstorage.kinds.training.reference_document import document_of
from mlpstorage.kinds.training.run import TrainingRun
from mlpstorage.launch import RankJob
from mlpstorage.preflight.dlio import ENGINE
from mlpstorage.preflight.needs import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Identity, Outcome
    from mlpstorage.core.problems import Problem
    from mlpstorage.engine.dlio.tree import Tree
    from mlpstorage.kinds.training.options import EngineOptions
    from mlpstorage.kinds.training.workload import Workload
    from mlpstorage.preflight.needs import Needs

    OptionsT = TypeVar("OptionsT", bound=EngineOptions)

NATIVE = "native"
_ENGINES = (NATIVE, ENGINE)
_START_METHODS = ("fork", "spawn")
# Python with PyTorch took 320 MiB (2.13 for CPUs); a spawned worker loads it once more.
_RANK_BYTES = 400 << 20
_WORKER_BYTES = {"fork": 100 << 20, "spawn": 400 << 20}
_RANK_FILES = 64
_WORKER_FILES = 8
_LEFT = "interrupted: what DLIO says itself counts an epoch that was left like all others"


def engine_options(options: OptionsT) -> OptionsT:
    """The options with what their engine implies: DLIO always needs MPI.

    Raises:
        UsageError: the options contradict each other.
    """
    if options.engine not in _ENGINES:
        raise UsageError(
            f"--engine {options.engine!r} is unknown", fix=did_you_mean(options.engine, _ENGINES)
        )
    if options.engine == NATIVE:
        _refuse_foreign(options)
        return options
    if options.dlio_start_method not in _START_METHODS:
        raise UsageError(
            f"--dlio-start-method {options.dlio_start_method!r} is unknown",
            fix=did_you_mean(options.dlio_start_method, _START_METHODS),
        )
    if options.exec_type == "local":
        raise UsageError(
            "--exec-type local cannot start DLIO",
            why="DLIO needs MPI, for a single rank as well",
            fix="leave --exec-type out",
        )
    return replace(options, exec_type="mpi")


def _refuse_foreign(options: EngineOptions) -> None:
    given = {
        "--dlio-path": bool(options.dlio_path),
        "--dlio-stock": options.dlio_stock,
        "--dlio-start-method": options.dlio_start_method != _START_METHODS[0],
    }
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{flag} is for --engine dlio", fix=f"add --engine dlio, or leave {flag} out"
            )


def tree_of(options: EngineOptions) -> Tree | None:
    """The DLIO that the options mean; None where it is to be installed yet, which preflight says.

    Raises:
        MlpstorageError: the directory that is named holds none.
    """
    if options.dlio_path:
        return tree_at(user_path(options.dlio_path, "--dlio-path"))
    return installed_tree()


def dlio_path_of(options: EngineOptions) -> str:
    """The directory of the user's DLIO as an absolute path; empty for the installed one."""
    if not options.dlio_path:
        return ""
    return str(user_path(options.dlio_path, "--dlio-path").absolute())


def dlio_places(options: EngineOptions) -> tuple[Place, ...]:
    """The directory of the user's DLIO, which every host must have."""
    path = dlio_path_of(options)
    if not path:
        return ()
    return (Place("DLIO", Path(path), option="--dlio-path", write=False, must_exist=True),)


@dataclass(frozen=True)
class ReferenceRun(TrainingRun):
    """One run of the training benchmark by DLIO."""

    @cached_property
    def tree(self) -> Tree | None:
        """The DLIO that will run."""
        return tree_of(self.options)

    @cached_property
    def identity(self) -> Identity:
        """What the run is called."""
        return replace(super().identity, engine=str(self.tree or ENGINE))

    @cached_property
    def used_files(self) -> int:
        """How many files DLIO is given."""
        workload = self.resolved.workload
        return used_files(
            self.files,
            workload.dataset.num_samples_per_file,
            workload.reader.batch_size,
            self.options.num_accelerators,
        )

    def _steps(self) -> int:
        workload = self.resolved.workload
        samples = self.used_files * workload.dataset.num_samples_per_file
        return samples // (workload.reader.batch_size * self.options.num_accelerators)

    def _plan_section(self) -> Section:
        section = super()._plan_section()
        used, files = self.used_files, self.files
        note = "" if used == files else f"{used} of {files} files, so that ranks have whole steps"
        return replace(section, rows=(*section.rows, Row("engine", str(self.tree or ENGINE), note)))

    def needs(self) -> Needs:
        """What preflight has to look at, DLIO on all hosts included."""
        needs, reader = super().needs(), self.resolved.workload.reader
        worker = _WORKER_BYTES[self.options.dlio_start_method]
        return replace(
            needs,
            engine=ENGINE,
            engine_path=dlio_path_of(self.options),
            engine_modules=modules_for(self.resolved.workload),
            places=(*needs.places, *dlio_places(self.options)),
            memory_bytes_per_rank=_RANK_BYTES + reader.read_threads * worker,
            open_files_per_rank=_RANK_FILES + reader.read_threads * _WORKER_FILES,
        )

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the run, and what DLIO cannot do."""
        return [
            *super().problems(),
            *workload_problems(self.resolved.workload, self.tree),
            *placement_problems(self.clients.hosts, self.options.num_accelerators),
            *tree_problems(self.tree, self.resolved.workload.dataset.num_samples_per_file),
        ]

    def job(self, run_dir: Path) -> RankJob:
        """One rank per accelerator, each of which calls DLIO."""
        workload, manifest = self.resolved.workload, self._manifest()
        document = document_of(
            workload,
            manifest.spec,
            self.folder,
            files=self.used_files,
            seed=self._seed(),
            start_method=self.options.dlio_start_method,
        )
        return RankJob(
            worker="mlpstorage.kinds.training.reference_worker:run",
            argument={
                "run_dir": str(run_dir),
                "data_dir": str(self.folder),
                "document": document,
                "files": self.used_files,
                "epochs": workload.train.epochs,
                "steps": self._steps(),
                "batch_size": workload.reader.batch_size,
                "read_threads": workload.reader.read_threads,
                "workers": _workers(workload),
                "drop_caches": self.options.drop_caches,
                "dlio_path": dlio_path_of(self.options),
                "stock": self.options.dlio_stock,
                "columns": workload.read_columns,
                "computation_time": workload.train.computation_time,
                "nominal": self._is_nominal,
                "au_needed": workload.metric.au,
            },
            size=self.options.num_accelerators,
            run_dir=run_dir,
            stops_after="step",
        )

    @property
    def _is_nominal(self) -> bool:
        """Whether this DLIO's AU is of the compute time that was asked for."""
        return self.tree is None or not self.tree.capabilities.metric_window

    def _outcome_of(self, results: Sequence[RankResult], epochs: int | None) -> Outcome:
        """The figures by our own arithmetic, DLIO's beside them, and what to know of this DLIO."""
        tree, workload = self.tree, self.resolved.workload
        outcome = result.outcome_of(
            results,
            workload=workload,
            spec=self._manifest().spec,
            files=self.files,
            folder=self.folder,
            trial=self.options.trial,
            nominal=self._is_nominal,
            epochs=epochs,
        )
        told = results[0].data["dlio"]
        known = findings(workload, tree) if tree else []
        if epochs is not None:
            known = [*known, _LEFT]
        engine = {
            "engine": str(tree or ENGINE),
            "dlio_reported": told["summary"],
            "dlio_modifications": told["modifications"],
            "dlio_findings": known,
            "num_files_used": self.used_files,
        }
        section = _engine_section(str(tree or ENGINE), told, known)
        return replace(
            outcome,
            summary={**outcome.summary, **engine},
            sections=(*outcome.sections, section),
        )


def _workers(workload: Workload) -> int:
    """How many processes load data for a rank; TensorFlow's loader has threads instead."""
    return workload.reader.read_threads if workload.reader.data_loader == "pytorch" else 0


def _engine_section(name: str, told: dict[str, Any], known: Sequence[str]) -> Section:
    """What DLIO itself says, and what to know of it."""
    metric = told["summary"].get("metric", {})
    au, rate = (
        metric.get(f"train_{figure}")
        for figure in ("au_mean_percentage", "throughput_mean_samples_per_second")
    )
    rows = [Row("DLIO says", f"AU {au:.2f} %", f"{rate:.2f} samples/s")] if au is not None else []
    rows += [Row("known", "", text) for text in known]
    rows += [Row("changed", "", text) for text in told["modifications"]]
    return Section(f"engine: {name}", rows=tuple(rows))
