"""`training datagen` as a measurement: the ranks generate files, the launcher the manifest."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.errors import UsageError
from mlpstorage.core.plan import Identity, Outcome, Plan
from mlpstorage.core.problems import Problem
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.engine.dataset import SpecRecord
from mlpstorage.engine.generation import begin_generation, finish_generation
from mlpstorage.kinds.training.dataset_choice import (
    clients_of,
    dataset_spec,
    existing_parent,
)
from mlpstorage.kinds.training.placement import launcher_for, place_problems
from mlpstorage.launch import RankJob
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.events import RankResult
    from mlpstorage.engine.dataset import DatasetSpec
    from mlpstorage.kinds.training.options import DatagenOptions, RunOptions
    from mlpstorage.kinds.training.workload import ResolvedWorkload
    from mlpstorage.launch import Launcher


@dataclass(frozen=True)
class TrainingDatagen:
    """One generation of a data set."""

    options: DatagenOptions | RunOptions
    resolved: ResolvedWorkload
    files: int
    folder: Path
    processes: int
    force: bool = False

    @classmethod
    def of_trial(
        cls, options: RunOptions, resolved: ResolvedWorkload, files: int, folder: Path
    ) -> TrainingDatagen:
        """The generation that a trial needs first; it replaces the data of another trial."""
        return cls(options, resolved, files, folder, default_processes(1))

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return Path(self.options.results_dir).expanduser().absolute()

    @property
    def tolerates_invalid(self) -> bool:
        """Generation is not judged."""
        return True

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @property
    def spec(self) -> DatasetSpec:
        """The data set to make."""
        return dataset_spec(self.resolved.workload, self.files)

    @property
    def plan(self) -> Plan:
        """What will be generated, and where."""
        workload, spec = self.resolved.workload, self.spec
        size = format_bytes(int(spec.file_bytes().sum()))
        folders = f"{spec.num_subfolders} subfolders" if spec.num_subfolders > 1 else "one folder"
        return Plan(
            identity=Identity(
                kind="training",
                command="datagen",
                model=workload.model,
                segments=("training", workload.model, "datagen"),
                ranks=self.processes,
                edition=workload.edition,
            ),
            asked=None,
            issues=(),
            stops=(),
            sections=(
                Section(
                    f"training datagen: {workload.model}",
                    rows=(
                        Row("data set", f"{spec.num_files} × {spec.format}", f"{size}, {folders}"),
                        Row("directory", str(self.folder)),
                        Row("processes", str(self.processes)),
                    ),
                ),
            ),
            parameters=msgspec.to_builtins(workload),
            overrides=self.resolved.overrides,
            sources=self.resolved.document.sources,
        )

    def prerequisite(self) -> None:
        """Nothing comes before."""

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the places."""
        found = place_problems(self.folder, self.results_dir)
        parent = existing_parent(self.folder)
        if not parent.is_dir():
            found.append(Problem(f"{parent} is not a directory", fix="choose another --data-dir"))
        elif not os.access(parent, os.W_OK):
            found.append(
                Problem(
                    f"cannot write to the data directory {parent}",
                    why=f"the {self.spec.model} data set is generated in {self.folder}",
                    fix="make it writable, or choose another --data-dir",
                    exit_code=4,
                )
            )
        return found

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        return launcher_for(self.options, clients_of(self.options, here=False).hosts)

    def job(self, run_dir: Path) -> RankJob:
        """Prepare the folder (and check its free space), then one rank per process."""
        begin_generation(self.spec, self.folder, force=self.force)
        return RankJob(
            worker="mlpstorage.kinds.training.generator:run",
            argument={
                "folder": str(self.folder),
                "spec": msgspec.to_builtins(SpecRecord.of(self.spec)),
            },
            size=self.processes,
            run_dir=run_dir,
        )

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """Write the manifest, now that every file is there; what was written, and how fast."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        manifest = finish_generation(self.spec, self.folder, created)
        written = sum(r.data["bytes_written"] for r in results)
        kept = sum(r.data["files_kept"] for r in results)
        seconds = max(r.data["seconds"] for r in results)
        rate = written / seconds if seconds else 0.0
        summary = {
            "num_files_train": self.files,
            "num_samples_per_file": self.spec.samples_per_file,
            "total_disk_bytes": manifest.total_bytes,
            "bytes_written": written,
            "files_kept": kept,
            "seconds": seconds,
            "write_MB_per_second": rate / 1e6,
            "manifest_digest": manifest.digest,
            "data_folder": str(self.folder),
        }
        rows = (
            Row("data set", f"{self.files} files", format_bytes(manifest.total_bytes)),
            Row("written", format_bytes(written), f"in {format_seconds(seconds)}"),
            Row("kept", f"{kept} files", "of an earlier, unfinished generation"),
            Row("rate", f"{format_bytes(rate)}/s", f"{self.processes} processes"),
        )
        shown = tuple(row for row in rows if kept or row.label != "kept")
        return Outcome(
            summary=summary,
            issues=(),
            sections=(Section("generated", rows=shown),),
            rank_outputs=tuple(dict(r.data) for r in results),
        )


def default_processes(hosts: int) -> int:
    """Generating processes: one per usable CPU and host."""
    return max(1, math.floor(usable_cpus())) * hosts


def checked_processes(asked: int, hosts: int) -> int:
    """The number of processes a user asked for, or the default for 0.

    Raises:
        UsageError: a negative number.
    """
    if asked < 0:
        raise UsageError(f"--num-processes is {asked}", fix="give a positive number")
    return asked or default_processes(hosts)
