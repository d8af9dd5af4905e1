"""`training datagen --engine dlio`: DLIO writes the files, and the manifest says what is there.

DLIO's generator always begins with the first file. So a generation that was interrupted, or killed,
is begun anew by the same command: a note in the folder says that the files there are its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.problems import Problem
from mlpstorage.core.section import Row, Section
from mlpstorage.engine.dataset import MANIFEST_NAME, SpecRecord, encode, write_whole
from mlpstorage.engine.generation import (
    BEGUN_BY_DLIO_NAME,
    BEGUN_NAME,
    begin_foreign,
    finish_foreign,
    storage_errors,
)
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


class BegunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a generation by DLIO leaves in its folder until it is complete."""

    producer: str
    spec: SpecRecord


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
        complete = self._begin()
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
            stops_after="files that are being written",
        )

    def _begin(self) -> bool:
        """Prepare the folder, where own files of an unfinished generation give way."""
        note, own = self.folder / BEGUN_BY_DLIO_NAME, self._note()
        with storage_errors(self.folder, note):
            others = any((self.folder / name).exists() for name in (MANIFEST_NAME, BEGUN_NAME))
            anew = note.exists() and not others and note.read_bytes() == own
        force = self.force or anew
        complete = begin_foreign(self.spec, self.folder, self._producer, force=force)
        with storage_errors(self.folder, note):
            note.unlink(missing_ok=True) if complete else write_whole(note, own)
        return complete

    def _note(self) -> bytes:
        return encode(BegunRecord(self._producer, SpecRecord.of(self.spec)))

    def _finish(self, created: str) -> Manifest:
        manifest = finish_foreign(self.spec, self.folder, created, self._producer)
        with storage_errors(self.folder):
            (self.folder / BEGUN_BY_DLIO_NAME).unlink(missing_ok=True)
        return manifest

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

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The files that are whole, which the same command will replace."""
        outcome = super().stopped(results)
        whole = outcome.summary["files_whole"]
        rows = (
            Row(
                "whole",
                f"{whole} of {self.files} files",
                "the same command begins anew: DLIO's generator cannot go on",
            ),
            *outcome.sections[0].rows[1:],
        )
        return replace(
            outcome,
            summary={**outcome.summary, "engine": str(self.tree or ENGINE), "goes_on": False},
            sections=(replace(outcome.sections[0], rows=rows),),
        )
