"""`vectordb run` as a measurement: its plan, its checks, its job and its outcome."""

from __future__ import annotations

import random
import shlex
import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import user_path
from mlpstorage.core.errors import MlpstorageError, UsageError
from mlpstorage.core.plan import Identity, Plan
from mlpstorage.core.problems import Problem
from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.engine.counters import COUNTED_FILESYSTEMS
from mlpstorage.engine.vectors.manifest import VectorManifest
from mlpstorage.kinds.clients import clients_of, same_filesystem
from mlpstorage.kinds.exclusive import FolderLock
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    obstacles,
    place_problems,
    safeguards_of,
    series_interval_of,
)
from mlpstorage.kinds.vectordb import result
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.choices import RunChoices
from mlpstorage.kinds.vectordb.client import Argument, points_of
from mlpstorage.kinds.vectordb.datagen import KIND
from mlpstorage.kinds.vectordb.dataset_choice import (
    data_folder,
    require_spec,
    scale_name,
    spec_of,
)
from mlpstorage.kinds.vectordb.partial import stopped_outcome
from mlpstorage.kinds.vectordb.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.vectordb.sizing import MEMORY_FACTOR
from mlpstorage.launch import RankJob
from mlpstorage.preflight.needs import Endpoint, Place
from mlpstorage.watch.mounts import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome
    from mlpstorage.core.rules import Issue
    from mlpstorage.kinds.clients import Clients
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.kinds.vectordb.backends.interface import Description, IndexType
    from mlpstorage.kinds.vectordb.options import RunOptions
    from mlpstorage.kinds.vectordb.workload import ResolvedWorkload
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs

# An interpreter with numpy and an engine, and the compressed vectors or centroids.
_RANK_BYTES = 128 << 20


@dataclass(frozen=True)
class VectorRun:
    """One run of the vector benchmark, as the user asked for it."""

    options: RunOptions
    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(1 << 31))
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    locks: list[FolderLock] = field(default_factory=list)
    host_memory: int | None = None

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return user_path(self.options.results_dir, "--results-dir")

    @property
    def tolerates_invalid(self) -> bool:
        """Whether the user takes an INVALID result for a success."""
        return self.options.allow_invalid_params

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @cached_property
    def clients(self) -> Clients:
        """The client hosts."""
        return clients_of(self.options, here=True, host_memory=self.host_memory)

    def on_hosts(self, memory_bytes: int) -> VectorRun:
        """The same run, judged by what its hosts have."""
        return replace(self, host_memory=memory_bytes)

    @cached_property
    def choices(self) -> RunChoices:
        """What the run's own flags say, read once."""
        return RunChoices.of(self.options)

    @property
    def resolved(self) -> ResolvedWorkload:
        """The workload with every layer applied."""
        return self.choices.resolved

    @cached_property
    def backend(self) -> Description:
        """The backend that is measured."""
        return backend_named(self.options.vdb_engine)

    @cached_property
    def index(self) -> IndexType:
        """Its index."""
        return self.backend.index(self.options.index_type)

    @cached_property
    def folder(self) -> Path:
        """Where the data set is."""
        return data_folder(self.options, self.resolved.workload)

    @cached_property
    def collection(self) -> str:
        """The collection's name."""
        name = self.options.collection or f"{self.backend.name}-{self.index.name.lower()}"
        if not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
            raise UsageError(
                f"--collection {name!r} is no name",
                fix="use letters, digits, dots, dashes and underscores",
            )
        return name

    @cached_property
    def collection_dir(self) -> Path:
        """The directory of the collection, for engines that live in this process."""
        root = self.options.storage_root
        if root:
            scale = scale_name(self.options, self.resolved.workload)
            return user_path(root, "--storage-root") / scale / self.collection
        return self.folder / "collections" / self.collection

    @cached_property
    def ranks(self) -> int:
        """Processes in all: as many as the point of most clients has."""
        return max(self.choices.clients)

    @property
    def _lock(self) -> FolderLock:
        if not self.locks:  # a list, so that this run on its hosts has the same
            folder = self.collection_dir.parent
            self.locks.append(FolderLock(folder, "measuring a collection", "--storage-root"))
        return self.locks[0]

    @cached_property
    def identity(self) -> Identity:
        """What the run is called."""
        workload = self.resolved.workload
        return Identity(
            kind=KIND,
            command="run",
            model=scale_name(self.options, workload),
            segments=(KIND, "run"),
            ranks=self.ranks,
            edition=workload.edition,
            engine=self.backend.name,
        )

    @cached_property
    def plan(self) -> Plan:
        """What will be done, and what the rules say so far.

        Raises:
            MlpstorageError: an option or a parameter is wrong.
        """
        self._check_options()
        issues = tuple(judge(PLAN_RULES, self._subject(), phase=Phase.PLAN))
        return Plan(
            identity=self.identity,
            asked=Category.CLOSED if self.options.closed else Category.OPEN,
            issues=issues,
            stops=self._stops(issues),
            sections=(self._plan_section(),),
            parameters=msgspec.to_builtins(self.resolved.workload),
            overrides=self.resolved.overrides,
            sources=self.resolved.document.sources,
            place=self.folder if self.backend.server else self.collection_dir,
        )

    def _check_options(self) -> None:
        options = self.options
        if options.closed and options.open:
            raise UsageError("--closed and --open exclude each other", fix="choose one division")
        safeguards_of(options, (), closed=options.closed)
        series_interval_of(options)
        self._argument()

    def _subject(self) -> PlanSubject:
        choices, workload = self.choices, self.resolved.workload
        data = workload.dataset
        return PlanSubject(
            workload=workload,
            backend=self.backend,
            index=self.index.name,
            overridden=tuple(self.resolved.overrides),
            steady_seconds=workload.search.steady_seconds,
            most_requests=choices.most_requests,
            own_workload=bool(self.options.workload_file),
            real_data=bool(self.options.dataset),
            raw_bytes=data.num_vectors * data.dimension * 4,
            memory_bytes=self.clients.judged_bytes,
            capped=choices.memory_cap_bytes is not None or choices.memory_cap_share is not None,
            cache_state=choices.cache_state,
            batch=choices.batch,
            same_filesystem=self._same_filesystem(),
        )

    def _same_filesystem(self) -> bool | None:
        if self.backend.server:
            return None
        return same_filesystem(self.collection_dir, self.results_dir)

    def _stops(self, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
        """The issues that end the run before it starts."""
        if self.tolerates_invalid:
            return ()
        worst = Category.OPEN if self.options.closed else Category.INVALID
        return tuple(issue for issue in issues if issue.category >= worst)

    def _plan_section(self) -> Section:
        choices, workload = self.choices, self.resolved.workload
        data, search = workload.dataset, workload.search
        points = len(choices.clients)
        seconds = points * (search.ramp_seconds + search.steady_seconds)
        listed = ", ".join(map(str, choices.clients))
        where = (
            f"{self.options.host}:{self._port}" if self.backend.server else str(self.collection_dir)
        )
        windows = (
            f"{choices.most_requests} requests each"
            if choices.most_requests
            else f"{search.steady_seconds:g} s each, {format_seconds(seconds)} in all"
        )
        return Section(
            f"vectordb run: {self.identity.model} on {self.backend.name} {self.index.name}",
            rows=(
                Row("engine", self.backend.title, where),
                Row(
                    "vectors",
                    f"{data.num_vectors} × {data.dimension}",
                    f"{data.metric}, {format_bytes(data.num_vectors * data.dimension * 4)}",
                ),
                Row("asked", f"{search.k} neighbours", f"recall >= {search.target_recall:g}"),
                Row("clients", listed, windows),
                Row("caches", choices.cache_state, self._cap_text()),
            ),
        )

    def _cap_text(self) -> str:
        cap, share = self.choices.memory_cap_bytes, self.choices.memory_cap_share
        if share is not None:
            return f"memory capped to {100 * share:g} % of the index"
        return "" if cap is None else f"memory capped to {format_bytes(cap)}"

    @property
    def _port(self) -> int:
        return self.options.port or self.backend.default_port

    def prerequisite(self) -> None:
        """Nothing: rank 0 loads and indexes what is missing."""

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
        remote = bool(self.clients.hosts)
        places = [
            Place("data", self.folder, option="--data-dir", must_exist=True, shared=remote),
        ]
        if not self.backend.server:
            places.append(
                Place(
                    "index",
                    self.collection_dir.parent,
                    option="--storage-root",
                    shared=remote,
                    direct=self.backend.direct,
                    buffered_option="another --vdb-engine",
                )
            )
        endpoint = Endpoint(self.backend.name, self.options.host, self._port)
        needs = needs_of(self.options, self.clients.hosts, self.ranks, "vectordb run")
        return replace(
            needs,
            places=tuple(places) if remote else (),
            endpoints=(endpoint,) if self.backend.server else (),
            memory_bytes_per_rank=_RANK_BYTES,
        )

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with places, data set and backend; everything that is."""
        found = place_problems(self.folder, self.results_dir, KIND, generates=False)
        if not self.backend.server:
            found += obstacles(self.collection_dir, "--storage-root", writes=True)
        missing = self.backend.missing()
        if missing is not None:
            found.append(_problem(missing))
        if obstacles(self.folder, "--data-dir", writes=False):
            return found
        try:
            manifest = VectorManifest.load(self.folder)
            require_spec(manifest, spec_of(self.options, self.resolved.workload), self.folder)
            manifest.truth(self.folder)
        except MlpstorageError as error:
            found.append(_problem(error, self._generate()))
        if not found:
            found += self._lock.problems()
        return found

    def _generate(self) -> str:
        """The command that makes the data set of this run."""
        options, words = self.options, ["mlpstorage", "vectordb", "datagen"]
        for flag, value in (
            ("--config", options.config),
            ("--scale", "" if options.config else options.scale),
            ("--workload-file", options.workload_file),
            ("--num-vectors", str(options.num_vectors or "")),
            ("--dimension", str(options.dimension or "")),
            ("--metric-type", options.metric_type),
            ("--distribution", options.distribution),
            ("--dataset", options.dataset),
            ("--data-dir", options.data_dir),
        ):
            words += [flag, value] if value else []
        return f"make it: {shlex.join(words)}"

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        return launcher_for(self.options, self.clients.hosts, self.ranks)

    def job(self, run_dir: Path) -> RankJob:
        """One rank per client of the point of most clients."""
        self._lock.acquire()
        return RankJob(
            worker="mlpstorage.kinds.vectordb.worker:run",
            argument=msgspec.to_builtins(self._argument()),
            size=self.ranks,
            run_dir=run_dir,
            stops_after="batch, index or sweep point",
        )

    def _argument(self) -> Argument:
        choices, search = self.choices, self.resolved.workload.search
        name = self.backend.name
        return Argument(
            data_dir=str(self.folder),
            collection_dir=str(self.collection_dir),
            collection=self.collection,
            backend=name,
            index=self.index.name,
            build=self.resolved.build_parameters(self.index, name),
            search=self.resolved.search_parameters(self.index, name),
            host=self.options.host,
            port=self._port,
            token=self.token,
            k=search.k,
            batch=choices.batch,
            load_batch=choices.load_batch,
            target_recall=search.target_recall,
            effort=self.resolved.fixed_effort(self.index, name) or 0,
            calibration_queries=search.calibration_queries,
            clients=list(choices.clients),
            rates=list(choices.rates),
            shares=list(choices.shares),
            ramp_seconds=search.ramp_seconds,
            steady_seconds=search.steady_seconds,
            most_requests=choices.most_requests,
            cache_state=choices.cache_state,
            memory_cap_bytes=choices.memory_cap_bytes,
            memory_cap_share=choices.memory_cap_share,
            rebuild=self.options.rebuild,
            slo_ms=search.slo_ms,
            seed=self.seed,
        )

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """The metrics, the evidence, and what the result rules say of them."""
        self._lock.release()
        return result.outcome_of(results, self._facts())

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The same of the points that are complete, or how far it got before them."""
        self._lock.release()
        return stopped_outcome(results, self._facts(), points_of(self._argument()))

    def _facts(self) -> result.RunFacts:
        place = self.folder if self.backend.server else self.collection_dir
        filesystem = filesystem_of(place)
        data = self.resolved.workload.dataset
        return result.RunFacts(
            workload=self.resolved.workload,
            backend=self.backend,
            manifest=VectorManifest.load(self.folder),
            effort_name=self.index.effort.name,
            batch=self.choices.batch,
            filesystem=filesystem,
            counted=filesystem in COUNTED_FILESYSTEMS,
            timed=not self.choices.most_requests,
            exceeds_memory=data.num_vectors * data.dimension * 4
            >= MEMORY_FACTOR * self.clients.judged_bytes,
        )


def _problem(error: MlpstorageError, fix: str = "") -> Problem:
    generate = error.exit_code == 3 and fix  # noqa: PLR2004 (something is not found)
    return Problem(error.what, error.why, fix if generate else error.fix, error.exit_code)
