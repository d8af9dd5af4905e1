"""`training datagen` as a measurement: the ranks generate files, the launcher the manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import user_path
from mlpstorage.core.errors import UsageError
from mlpstorage.core.plan import Identity, Outcome, Plan
from mlpstorage.core.rules import incomplete
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.engine.dataset import SpecRecord
from mlpstorage.engine.generation import begin_generation, finish_generation, storage_errors
from mlpstorage.kinds.clients import clients_of
from mlpstorage.kinds.exclusive import FolderLock
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    obstacles,
    place_problems,
    safeguards_of,
)
from mlpstorage.kinds.training.dataset_choice import (
    dataset_spec,
    total_bytes,
)
from mlpstorage.launch import RankJob
from mlpstorage.preflight.needs import Place
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.core.events import RankResult
    from mlpstorage.core.problems import Problem
    from mlpstorage.engine.dataset import DatasetSpec, Manifest
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.kinds.training.options import DatagenOptions, RunOptions
    from mlpstorage.kinds.training.workload import ResolvedWorkload
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs


@dataclass(frozen=True)
class TrainingDatagen:
    """One generation of a data set."""

    options: DatagenOptions | RunOptions
    resolved: ResolvedWorkload
    files: int
    folder: Path
    processes: int
    force: bool = False

    @cached_property
    def _lock(self) -> FolderLock:
        return FolderLock(self.folder, "generating data", "--data-dir")

    @cached_property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return user_path(self.options.results_dir, "--results-dir")

    @property
    def tolerates_invalid(self) -> bool:
        """Generation is not judged."""
        return True

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @cached_property
    def spec(self) -> DatasetSpec:
        """The data set to make."""
        return dataset_spec(self.resolved.workload, self.files)

    @cached_property
    def plan(self) -> Plan:
        """What will be generated, and where."""
        workload, spec = self.resolved.workload, self.spec
        size = format_bytes(total_bytes(spec))
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
            place=self.folder,
        )

    def prerequisite(self) -> None:
        """Nothing comes before."""

    @property
    def safeguards(self) -> Safeguards:
        """What the user wants checked."""
        return safeguards_of(self.options, self._hosts)

    @property
    def series_interval(self) -> None:
        """Generation is not measured, so the hosts are not watched."""
        return None

    def needs(self) -> Needs:
        """What preflight has to look at for this very generation."""
        data = Place("data", self.folder, option="--data-dir", shared=True)
        purpose = f"training datagen of {self.spec.model}"
        needs = needs_of(self.options, self._hosts, self.processes, purpose)
        return replace(needs, places=(data,) if self._hosts else ())

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the places; takes the folder's lock."""
        found = place_problems(self.folder, self.results_dir, "training", generates=True)
        if not found:
            found += obstacles(self.folder / "train", "--data-dir", writes=False)
        if self.folder.is_dir() and not found:
            found += self._lock.problems()
        return found

    @property
    def _hosts(self) -> Sequence[Host]:
        return clients_of(self.options, here=False).hosts

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        return launcher_for(self.options, self._hosts, self.processes)

    def job(self, run_dir: Path) -> RankJob:
        """Prepare the folder (and check its free space), then one rank per process."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        complete = begin_generation(self.spec, self.folder, force=self.force)
        return RankJob(
            worker="mlpstorage.kinds.training.generator:run",
            argument={
                "folder": str(self.folder),
                "spec": msgspec.to_builtins(SpecRecord.of(self.spec)),
                "complete": complete,
            },
            size=self.processes,
            run_dir=run_dir,
            stops_after="files that are being written",
        )

    def _finish(self, created: str) -> Manifest:
        return finish_generation(self.spec, self.folder, created)

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """Write the manifest, now that every file is there; what was written, and how fast."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        manifest = self._finish(created)
        self._lock.release()
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
            Row("kept", f"{kept} files", "of an earlier generation"),
            Row("rate", f"{format_bytes(rate)}/s", f"{self.processes} processes"),
        )
        shown = tuple(row for row in rows if kept or row.label != "kept")
        return Outcome(
            summary=summary,
            issues=(),
            sections=(Section("generated", rows=shown),),
            rank_outputs=tuple(dict(r.data) for r in results),
        )

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The files that are whole; without a manifest, so that nobody takes them for all."""
        self._lock.release()
        written = sum(r.data["bytes_written"] for r in results)
        whole = sum(r.data["files_written"] + r.data["files_kept"] for r in results)
        summary = {
            "num_files_train": self.files,
            "files_whole": whole,
            "bytes_written": written,
            "data_folder": str(self.folder),
        }
        rows = (
            Row("whole", f"{whole} of {self.files} files", "the same command goes on from here"),
            Row("written", format_bytes(written)),
        )
        return Outcome(
            summary=summary,
            issues=(incomplete(f"{self.files} files", f"{whole} files"),),
            sections=(Section("generated so far", rows=rows),),
            rank_outputs=tuple(dict(r.data) for r in results),
        )


def default_processes(hosts: int) -> int:
    """Generating processes: one per usable CPU and host."""
    return max(1, math.floor(usable_cpus())) * hosts


def checked_processes(asked: int, hosts: int, files: int) -> int:
    """The processes a user asked for, or the default for 0; never more than there are files.

    Raises:
        UsageError: a negative number.
    """
    if asked < 0:
        raise UsageError(f"--num-processes is {asked}", fix="give a positive number")
    return min(asked or default_processes(hosts), max(files, hosts))
