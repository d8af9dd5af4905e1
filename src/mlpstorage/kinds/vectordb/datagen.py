"""`vectordb datagen` as a measurement: ranks make vectors and neighbours, then the manifest."""

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
from mlpstorage.engine.vectors.blocks import BLOCK_ROWS
from mlpstorage.engine.vectors.making import begin, finish
from mlpstorage.engine.vectors.manifest import VectorManifest
from mlpstorage.engine.vectors.structure import Structure
from mlpstorage.kinds.clients import clients_of
from mlpstorage.kinds.exclusive import FolderLock
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    place_problems,
    safeguards_of,
)
from mlpstorage.kinds.vectordb.dataset_choice import (
    data_folder,
    resolved_data,
    scale_name,
    spec_of,
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
    from mlpstorage.engine.vectors.manifest import VectorSpec
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.kinds.vectordb.options import DatagenOptions
    from mlpstorage.kinds.vectordb.workload import ResolvedWorkload
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs

KIND = "vector_database"
_MOST_PROCESSES = 100_000


@dataclass(frozen=True)
class VectorDatagen:
    """One generation of vectors, queries and their exact neighbours."""

    options: DatagenOptions

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
    def resolved(self) -> ResolvedWorkload:
        """The workload with every layer applied."""
        if self.options.vector_dtype.upper() != "FLOAT_VECTOR":
            raise UsageError(
                f"--vector-dtype {self.options.vector_dtype} is not made here",
                fix="use FLOAT_VECTOR; --dataset reads files of other types as float32",
            )
        counts = {
            "dataset.gt_queries": self.options.gt_queries,
            "dataset.query_pool": self.options.query_pool,
        }
        given = {name: count for name, count in counts.items() if count}
        return resolved_data(self.options, given)

    @cached_property
    def spec(self) -> VectorSpec:
        """The data set to make."""
        return spec_of(self.options, self.resolved.workload)

    @cached_property
    def folder(self) -> Path:
        """Where it is made."""
        return data_folder(self.options, self.resolved.workload)

    @cached_property
    def _lock(self) -> FolderLock:
        return FolderLock(self.folder, "generating vectors", "--data-dir")

    @cached_property
    def processes(self) -> int:
        """Generating processes: what is asked for, or one per usable CPU and host."""
        asked, hosts = self.options.num_processes, max(1, len(self._hosts))
        if not 0 <= asked <= _MOST_PROCESSES:
            raise UsageError(f"--num-processes is {asked}", fix="give a positive number")
        blocks = -(-self.spec.vectors // BLOCK_ROWS)
        return min(asked or max(1, math.floor(usable_cpus())) * hosts, max(blocks, hosts))

    @cached_property
    def plan(self) -> Plan:
        """What will be generated, and where."""
        workload, spec = self.resolved.workload, self.spec
        name = scale_name(self.options, workload)
        kind = f"{spec.distribution}, seed {spec.seed}" if spec.distribution else spec.source
        return Plan(
            identity=Identity(
                kind=KIND,
                command="datagen",
                model=name,
                segments=(KIND, "datagen"),
                ranks=self.processes,
                edition=workload.edition,
            ),
            asked=None,
            issues=(),
            stops=(),
            sections=(
                Section(
                    f"vectordb datagen: {name}",
                    rows=(
                        Row(
                            "vectors",
                            f"{spec.vectors} × {spec.dimension}",
                            f"{format_bytes(spec.raw_bytes)}, {kind}",
                        ),
                        Row(
                            "queries",
                            str(spec.queries),
                            f"{spec.truth_queries} of them with {spec.neighbours} exact neighbours",
                        ),
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
        needs = needs_of(self.options, self._hosts, self.processes, "vectordb datagen")
        return replace(needs, places=(data,) if self._hosts else ())

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with the places; takes the folder's lock."""
        found = place_problems(self.folder, self.results_dir, KIND, generates=True)
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
        self._lock.acquire()
        finished = begin(self.spec, self.folder, force=self.options.force)
        return RankJob(
            worker="mlpstorage.kinds.vectordb.generator:run",
            argument={
                "folder": str(self.folder),
                "spec": msgspec.to_builtins(self.spec),
                "finished": finished,
            },
            size=self.processes,
            run_dir=run_dir,
            stops_after="blocks that are being made",
        )

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """Write the manifest, now that everything is there; what was made, and how fast."""
        if all(result.data.get("finished") for result in results):
            manifest = VectorManifest.load(self.folder)
        else:
            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            structure = msgspec.convert(results[0].data["structure"], Structure)
            manifest = finish(self.spec, self.folder, created, structure)
        self._lock.release()
        written = sum(r.data.get("base_blocks_written", 0) for r in results)
        kept = sum(r.data.get("blocks_kept", 0) for r in results)
        seconds = max(r.data.get("seconds", 0.0) for r in results)
        made = min(written * BLOCK_ROWS, self.spec.vectors)
        rate = made / seconds if seconds else 0.0
        found = manifest.structure
        summary = {
            "num_vectors": self.spec.vectors,
            "dimension": self.spec.dimension,
            "dataset_hash": manifest.dataset_hash,
            "query_hash": manifest.query_hash,
            "contrast": found.contrast,
            "local_intrinsic_dimension": found.lid,
            "gap": found.gap,
            "own_neighbours_confirmed": results[0].data.get("confirmed"),
            "blocks_written": sum(r.data.get("blocks_written", 0) for r in results),
            "blocks_kept": kept,
            "truth_blocks_kept": results[0].data.get("truth_blocks_kept", 0),
            "seconds": seconds,
            "vectors_per_second": rate,
            "total_disk_bytes": self.spec.total_bytes,
            "data_folder": str(self.folder),
        }
        return Outcome(
            summary=summary,
            issues=(),
            sections=(self._section(manifest, made, rate, seconds),),
            rank_outputs=tuple(dict(r.data) for r in results),
        )

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The blocks that are whole; without a manifest, so that nobody takes them for all."""
        self._lock.release()
        files = (self.spec.base(self.folder), self.spec.pool(self.folder))
        whole, blocks = sum(len(f.journalled()) for f in files), sum(f.blocks for f in files)
        # Not known where it was stopped before the truth: nothing of it can be left then but what
        # an earlier generation has compared.
        compared = results[0].data.get("truth_blocks", 0)
        summary = {
            "num_vectors": self.spec.vectors,
            "dimension": self.spec.dimension,
            "blocks": blocks,
            "blocks_whole": whole,
            "blocks_written": sum(r.data.get("blocks_written", 0) for r in results),
            "blocks_kept": sum(r.data.get("blocks_kept", 0) for r in results),
            "truth_blocks": files[0].blocks,
            "truth_blocks_compared": compared,
            "data_folder": str(self.folder),
        }
        rows = (
            Row("vectors and queries", f"{whole} of {blocks} blocks", "are whole and stay"),
            Row("ground truth", f"{compared} of {files[0].blocks} blocks", "are compared"),
        )
        return Outcome(
            summary=summary,
            issues=(
                incomplete(
                    f"{blocks} blocks, {files[0].blocks} of them compared",
                    f"{whole} blocks, {compared} of them compared",
                ),
            ),
            sections=(Section("generated so far", rows=rows),),
            rank_outputs=tuple(dict(r.data) for r in results),
        )

    def _section(self, manifest: VectorManifest, made: int, rate: float, seconds: float) -> Section:
        found = manifest.structure
        hardness = (
            "not defined for this metric"
            if found.contrast is None
            else f"contrast {found.contrast:.2f}"
        )
        dimension = "" if found.lid is None else f"local intrinsic dimension {found.lid:.1f}"
        how = f"{rate:.0f}/s, in {format_seconds(seconds)}" if made else "all were there already"
        return Section(
            "generated",
            rows=(
                Row("data set", f"{self.spec.vectors} × {self.spec.dimension}", str(self.folder)),
                Row("vectors made", str(made), how),
                Row("structure", hardness, dimension),
                Row("hash", manifest.dataset_hash[:16], f"queries {manifest.query_hash[:16]}"),
            ),
        )
