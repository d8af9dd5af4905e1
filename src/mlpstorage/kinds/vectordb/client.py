"""One rank of a run, from the preparation to its record."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.core.events import Figure, Note, Progress
from mlpstorage.core.units import format_bytes
from mlpstorage.engine.vectors.files import open_vectors
from mlpstorage.engine.vectors.manifest import VectorManifest
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.backends.interface import Collection
from mlpstorage.kinds.vectordb.calibrate import calibrate
from mlpstorage.kinds.vectordb.control_group import (
    LEAST_CAP_BYTES,
    ControlGroup,
    device_of,
)
from mlpstorage.kinds.vectordb.points import PointCounters, PointRunner, difference
from mlpstorage.kinds.vectordb.prepare import Preparation
from mlpstorage.kinds.vectordb.queries import shared_queries
from mlpstorage.kinds.vectordb.record import (
    PointPlan,
    RankRecord,
    Verification,
)
from mlpstorage.kinds.vectordb.search import ids_of
from mlpstorage.kinds.vectordb.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.kinds.vectordb.prepare import Prepared
    from mlpstorage.kinds.vectordb.record import (
        CalibrationStep,
        CollectionRecord,
        PointRecord,
    )

# Efforts that are tried when calibration was too hopeful, and by how much each is larger.
_MOST_CORRECTIONS = 20
_CORRECTION = 1.05


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the launcher asks of every rank; times in seconds, sizes in bytes.

    `effort` is 0 to calibrate. Memory is capped to bytes, or to a share of the index. `rates` are
    requests per second over all clients, `shares` parts of the closed loop's most; both empty for a
    closed loop alone. `slo_ms` is the p99 latency that the score must keep.
    """

    data_dir: str
    collection_dir: str
    collection: str
    backend: str
    index: str
    build: dict[str, int]
    search: dict[str, int]
    host: str
    port: int
    token: str
    k: int
    batch: int
    load_batch: int
    target_recall: float
    effort: int
    calibration_queries: int
    clients: list[int]
    rates: list[float]
    shares: list[float]
    ramp_seconds: float
    steady_seconds: float
    most_requests: int
    cache_state: str
    memory_cap_bytes: int | None
    memory_cap_share: float | None
    rebuild: bool
    slo_ms: float
    seed: int


def points_of(argument: Argument) -> int:
    """How many points a run has."""
    return len(argument.rates) or len(argument.clients) + len(argument.shares)


class Client:
    """A rank's state over the run."""

    def __init__(self, argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> None:
        self.argument, self.comm, self.emit = argument, comm, emit
        self.folder = Path(argument.data_dir)
        self.manifest = VectorManifest.load(self.folder)
        description = backend_named(argument.backend)
        self.collection = Collection(
            name=argument.collection,
            folder=Path(argument.collection_dir),
            vectors=self.manifest.spec.vectors,
            dimension=self.manifest.spec.dimension,
            metric=self.manifest.spec.metric,
            index=description.index(argument.index),
            build=argument.build,
            search=argument.search,
            host=argument.host,
            port=argument.port,
        )
        self.backend = description.connect(self.collection)
        self._is_server = description.server
        self.base = open_vectors(self.manifest.spec.base(self.folder).path)
        self.truth = self.manifest.truth(self.folder)
        self.wish = Wish(comm)
        self._reported = 0.0
        self._report_lock = threading.Lock()
        self._step = 0
        self._recall = 0.0

    def run(self) -> RankRecord:
        """Everything, in order, or as much as the user wants; the collection is closed in any case.

        Whether to go on is asked at places that every rank reaches.
        """
        prepared = self._prepared()
        found = RankRecord(
            collection=prepared.record if prepared else None,
            rows=prepared.rows if prepared else 0,
            reused=prepared.reused if prepared else False,
            calibrated=self.argument.effort == 0,
        )
        if self.wish.agreed():
            return found
        cap = self.comm.broadcast(self._cap(found.collection))
        self.queries = shared_queries(self.manifest, self.folder, self.argument.token, self.comm)
        group = self._group(cap)
        try:
            self.backend.open()
            found = msgspec.structs.replace(found, version=self.backend.version())
            found = self._measured(found, group)
            found = msgspec.structs.replace(found, memory_cap_bytes=group.cap_bytes())
        finally:
            self.backend.close()
            self._leave(group)
        self.comm.barrier()
        if self.comm.local_rank == 0:
            group.remove()
        return found

    def _measured(self, found: RankRecord, group: ControlGroup) -> RankRecord:
        """What was found by calibration, by the known queries, and in the points."""
        effort, steps = self._effort()
        found = msgspec.structs.replace(found, effort=effort, steps=steps)
        verified = self._verified(effort, group) if effort else None
        if verified is None:
            return found
        effort, verification = verified
        plans, points = self._points(effort, group)
        return msgspec.structs.replace(
            found,
            effort=effort,
            verification=verification,
            points=points,
            plans=plans if self.comm.rank == 0 else [],
        )

    def _prepared(self) -> Prepared | None:
        if self.comm.rank:
            return None
        preparation = Preparation(
            self.backend,
            self.argument.backend,
            self.collection,
            self.manifest,
            self.folder,
            self.argument.load_batch,
            self.report,
            self.emit,
            self.wish,
        )
        return preparation.ready(rebuild=self.argument.rebuild)

    def report(
        self, activity: str, done: int, total: int, unit: str, moved: int, part: int = 1
    ) -> bool:
        """Show how far something is, at most once a second but for its end; whether it did."""
        now = time.monotonic()
        with self._report_lock:
            if now - self._reported < 1 and done < total:
                return False
            self._reported = now
        self.emit(Progress(self.comm.rank, activity, done, total, unit, moved, part))
        return True

    def recall_figure(self) -> Figure:
        """On rank 0: the recall that was found last, against the target."""
        target = self.argument.target_recall
        return Figure(0, "recall", 100 * self._recall, "%", 100 * target or None)

    def _cap(self, collection: CollectionRecord | None) -> int | None:
        """On rank 0, what memory is capped to, in bytes."""
        share, cap = self.argument.memory_cap_share, self.argument.memory_cap_bytes
        if collection is None or (share is None and cap is None):
            return cap
        if share is not None:
            index = collection.disk_bytes or self.manifest.spec.raw_bytes
            cap = round(share * index)
            if cap < LEAST_CAP_BYTES:
                raise ConfigurationError(
                    f"{100 * share:g} % of the index are {format_bytes(cap)}",
                    why=f"the engine's own processes need {format_bytes(LEAST_CAP_BYTES)} or more",
                    fix="give --memory-cap as a size, or use a larger --scale",
                )
        self.emit(
            Note(
                f"the engine's memory is capped to {format_bytes(cap or 0)} on each host; "
                "whatever needs more is killed by the kernel"
            )
        )
        return cap

    def _group(self, cap_bytes: int | None) -> ControlGroup:
        """The control group of this host's ranks, or of the engine's processes here.

        Of a server whose processes are not known here, nothing can be counted.
        """
        if self._is_server and not self.backend.processes():
            return ControlGroup()
        place = self.collection.folder if self.collection.folder.exists() else self.folder
        group = ControlGroup.named(self.argument.token, device_of(place))
        if self.comm.local_rank == 0:
            group.make(cap_bytes)
        self.comm.barrier()
        processes = self.backend.processes()
        if not processes:
            group.join(os.getpid())
        elif self.comm.local_rank == 0:
            for process in processes:
                group.join(process)
        return group

    def _leave(self, group: ControlGroup) -> None:
        for process in self.backend.processes() or [os.getpid()]:
            group.leave(process)

    def _effort(self) -> tuple[int, list[CalibrationStep]]:
        """The effort of the run: the user's, or what rank 0 finds with everybody's help.

        No effort, on every rank, if the user wants to stop before it is found.
        """
        argument, index = self.argument, self.collection.index
        if argument.effort:
            return argument.effort, []
        if self.comm.rank:
            while not (told := self.comm.broadcast(None))["done"]:
                self.comm.gather(self._some_recalls(told["effort"], told["step"]))
            return int(told["effort"]), []
        steps: list[CalibrationStep] = []
        effort = calibrate(
            self._asked_recall,
            argument.target_recall,
            max(index.effort.least, argument.k if index.effort_from_k else 1),
            index.effort.most,
            index.effort.default,
            steps,
        )
        self.comm.broadcast({"effort": effort or 0, "done": True})
        if effort is None:
            return 0, steps
        self.emit(
            Note(
                f"{index.effort.name} {effort} reaches the recall, found in {len(steps)} steps",
                "detail",
            )
        )
        return effort, steps

    def _asked_recall(self, effort: int) -> float | None:
        """On rank 0: the recall at an effort, by all ranks; None if the user wants to stop."""
        if self.wish.heard():
            return None
        self._step += 1
        self.comm.broadcast({"effort": effort, "step": self._step, "done": False})
        parts = self.comm.gather(self._some_recalls(effort, self._step))
        found = [value for part in parts or [] for value in part]
        self._recall = float(np.mean(found))
        self.emit(self.recall_figure())
        return self._recall

    def _verified(self, effort: int, group: ControlGroup) -> tuple[int, Verification] | None:
        """The recall of every query with known neighbours: this rank's share, and its effort.

        Calibration has looked at some queries only; where all of them together miss the target,
        the effort grows by a few percent until they do not. None, on every rank, if the user wants
        to stop before.
        """
        argument, most = self.argument, self.collection.index.effort.most
        for attempt in range(_MOST_CORRECTIONS):
            if self.wish.agreed():
                return None
            mine = self._verify(effort, attempt, group)
            parts = self.comm.gather(mine.recalls)
            found = float(np.mean([v for part in parts for v in part])) if parts else 0.0
            if self.comm.rank == 0:
                self._recall = found
                self.emit(self.recall_figure())
            enough = bool(argument.effort) or found >= argument.target_recall or effort >= most
            told = effort if enough else min(most, max(effort + 1, round(effort * _CORRECTION)))
            next_effort = int(self.comm.broadcast(told))
            if next_effort == effort:
                break
            effort = next_effort
        return effort, mine

    def _verify(self, effort: int, attempt: int, group: ControlGroup) -> Verification:
        """Ask this rank's share of all known queries, and count what that reads."""
        counters = PointCounters(self, group)
        self.comm.barrier()
        before = counters.read()
        self.comm.barrier()  # nobody reads before all counters have been
        name = f"measuring the recall, {self.collection.index.effort.name} {effort}"
        rows, answers = self._ask(effort, self.truth.queries, name, attempt + 1)
        own = counters.read()
        self.comm.barrier()
        after = counters.read()
        reads, moved = difference(before.group, after.group)
        mine = (before.own, own.own) if before.own and own.own else None
        return Verification(
            recalls=self.recalls_of(rows, answers),
            queries=len(rows),
            read_bytes=own.kernel.read_bytes - before.kernel.read_bytes,
            own_reads=mine[1].reads - mine[0].reads if mine else None,
            own_bytes=mine[1].bytes - mine[0].bytes if mine else None,
            group_reads=reads,
            group_bytes=moved,
            group_source=group.source if reads is not None else "",
        )

    def _ask(
        self, effort: int, count: int, activity: str, part: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """This rank's share of the first queries, one by one: their rows and answers."""
        rows = np.arange(min(count, self.truth.queries))[self.comm.rank :: self.comm.size]
        search = self.backend.searcher(self.argument.k, effort)
        answers = []
        for number, row in enumerate(rows, 1):
            answers.append(search(self.queries[row : row + 1])[0])
            self.report(activity, number, len(rows), "queries", 0, part)
        return rows, ids_of(answers, self.argument.k)

    def _some_recalls(self, effort: int, step: int) -> list[float]:
        """The recall of this rank's share of the first queries."""
        activity = f"calibrating, {self.collection.index.effort.name} {effort}"
        count = self.argument.calibration_queries
        return self.recalls_of(*self._ask(effort, count, activity, step))

    def recalls_of(self, rows: NDArray[np.int64], answers: NDArray[np.int64]) -> list[float]:
        """The recall of answers to queries of known neighbours."""
        if not len(rows):
            return []
        found: list[float] = recalls(
            answers, rows, self.queries, self.truth, self.base, self.manifest.spec.metric
        ).tolist()
        return found

    def _points(
        self, effort: int, group: ControlGroup
    ) -> tuple[list[PointPlan], list[PointRecord]]:
        """The sweep: the closed loop's points, then those of the open loop."""
        argument = self.argument
        plans = [PointPlan(number=n, clients=c) for n, c in enumerate(argument.clients)]
        if argument.rates:
            plans = []
        runner = PointRunner(self, effort, group)
        records = self._each(runner, plans)
        if len(records) < len(plans) or (argument.shares and self.wish.agreed()):
            return plans, records
        opened = self._open_plans(plans, records)
        return plans + opened, records + self._each(runner, opened)

    def _each(self, runner: PointRunner, plans: list[PointPlan]) -> list[PointRecord]:
        """The records of points, of fewer if the user wants to stop: the same on every rank."""
        records: list[PointRecord] = []
        for plan in plans:
            record = None if self.wish.agreed() else runner.run(plan)
            if record is None:
                break
            records.append(record)
        return records

    def place_of(self, plan: PointPlan) -> tuple[int, int]:
        """Which of all points of the run a point is, from 1."""
        return plan.number + 1, points_of(self.argument)

    def _open_plans(self, closed: list[PointPlan], records: list[PointRecord]) -> list[PointPlan]:
        """The points of the open loop: given rates, or shares of what the closed loop reached."""
        argument, most = self.argument, max(self.argument.clients)
        if argument.rates:
            return [
                PointPlan(number=n, clients=most, rate=rate)
                for n, rate in enumerate(argument.rates)
            ]
        if not argument.shares:
            return []
        mine = [
            record.requests / record.window_seconds if record.active else 0.0 for record in records
        ]
        parts = self.comm.gather(mine)
        reached = [sum(rates) for rates in zip(*parts, strict=True)] if parts else []
        top = float(self.comm.broadcast(max(reached) if reached else 0.0))
        if top <= 0:
            raise BenchmarkError(
                "the closed loop answered no request, so there is no rate to take shares of",
                fix="give rates in requests per second: --rates 100,200",
            )
        return [
            PointPlan(number=len(closed) + n, clients=most, rate=share * top, share=share)
            for n, share in enumerate(argument.shares)
        ]
