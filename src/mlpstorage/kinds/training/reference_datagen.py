"""`training datagen --engine dlio`: DLIO writes the files, and the manifest says what is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.problems import Problem
from mlpstorage.core.section import Row, Section
from mlpstorage.engine.dataset import SpecRecord
from mlpstorage.engine.generation import begin_foreign, finish_foreign, storage_errors
from mlpstorage.kinds.training.datagen import TrainingDatagen
from mlpstorage.kinds.training.reference import dlio_path_of, dlio_places, tree_of
from mlpstorage.kinds.training.reference_checks import generator_findings, modules_for
from mlpstorage.kinds.training.reference_document import document_of
from mlpstorage.launch import RankJob
from mlpstorage.preflight.dlio import ENGINE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome, Plan
    from mlpstorage.engine.dataset import Manifest
    from mlpstorage.engine.dlio.tree import Tree
    from mlpstorage.preflight.needs import Needs


@dataclass(frozen=True)
class ReferenceDatagen(TrainingDatagen):
    """One generation of a data set by DLIO."""

    @cached_property
    def tree(self) -> Tree | None:
        """The DLIO that will write."""
        return tree_of(self.options)

    @property
    def _producer(self) -> str:
        return f"{ENGINE} {self.tree.version}" if self.tree else ENGINE

    @cached_property
    def plan(self) -> Plan:
        """What will be generated, and by whom."""
        plan = super().plan
        section = plan.sections[0]
        rows = (*section.rows, Row("engine", str(self.tree or ENGINE)))
        return replace(
            plan,
            identity=replace(plan.identity, engine=str(self.tree or ENGINE)),
            sections=(replace(section, rows=rows), *plan.sections[1:]),
        )

    def needs(self) -> Needs:
        """What preflight has to look at, DLIO on all hosts included."""
        needs = super().needs()
        return replace(
            needs,
            engine=ENGINE,
            places=(*needs.places, *dlio_places(self.options)),
            engine_path=dlio_path_of(self.options),
            engine_modules=modules_for(self.resolved.workload, generates=True),
        )

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the places, and what DLIO cannot write."""
        found = list(super().problems())
        if self.spec.format == "indexed_binary":
            found.append(
                Problem(
                    "DLIO's generator of indexed_binary is not supported",
                    why="its index files are not those that the native engine reads",
                    fix="use --engine native: DLIO reads what that writes",
                )
            )
        return found

    def job(self, run_dir: Path) -> RankJob:
        """Prepare the folder (and check its free space), then one rank per process."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        complete = begin_foreign(self.spec, self.folder, self._producer, force=self.force)
        workload = self.resolved.workload
        document = document_of(
            workload,
            self.spec,
            self.folder,
            files=self.files,
            seed=workload.train.seed,
            start_method=self.options.dlio_start_method,
            generate=True,
        )
        return RankJob(
            worker="mlpstorage.kinds.training.reference_generator:run",
            argument={
                "run_dir": str(run_dir),
                "folder": str(self.folder),
                "document": document,
                "spec": msgspec.to_builtins(SpecRecord.of(self.spec)),
                "complete": complete,
                "dlio_path": dlio_path_of(self.options),
            },
            size=self.processes,
            run_dir=run_dir,
        )

    def _finish(self, created: str) -> Manifest:
        return finish_foreign(self.spec, self.folder, created, self._producer)

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """As of the native engine, and what to know of data that DLIO wrote."""
        outcome = super().outcome(results)
        known = generator_findings(self.resolved.workload)
        changed = results[0].data["modifications"]
        rows = [Row("known", "", text) for text in known]
        rows += [Row("changed", "", text) for text in changed]
        engine = {
            "engine": str(self.tree or ENGINE),
            "dlio_findings": known,
            "dlio_modifications": changed,
        }
        return replace(
            outcome,
            summary={**outcome.summary, **engine},
            sections=(*outcome.sections, Section(f"engine: {engine['engine']}", rows=tuple(rows))),
        )
