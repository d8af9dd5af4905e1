"""What one rank does in a KV-cache run: fill the cache, execute compiled plans, leave nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.engine.kv.plans import store_plan
from mlpstorage.engine.kv.raw import BLOCK_BYTES, QUEUE_DEPTHS, RawSweep
from mlpstorage.engine.kv.record import RankRecord, merge
from mlpstorage.engine.kv.search import find_most
from mlpstorage.engine.kv.settings import Settings
from mlpstorage.kinds.kvcache.argument import Argument
from mlpstorage.kinds.kvcache.outcome_record import POPULATE, PROBE, SCORE, Phase, RankOutcome
from mlpstorage.kinds.kvcache.peak import restore_runs
from mlpstorage.kinds.kvcache.plan_figures import plan_figures
from mlpstorage.kinds.kvcache.planner import MOST_OPERATIONS, Planner
from mlpstorage.kinds.kvcache.setup import DEFAULT_IN_FLIGHT
from mlpstorage.kinds.kvcache.slo import violations
from mlpstorage.kinds.kvcache.stage import Activity, EndedEarlyError, Stage
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.kv.raw import RawPoint
    from mlpstorage.kinds.kvcache.compiled import CompiledPlan
    from mlpstorage.kinds.kvcache.plan_figures import PlanFigures

    Blocks = npt.NDArray[np.uint64]

# The search takes two thirds of the time in load points of this part, the score what is left.
PROBE_PART, WARMUP_PART, SCORE_PART = 1 / 15, 1 / 30, 1 / 3
FIRST_USERS = 4
# How often the number of users is lowered when the score does not confirm the search.
MOST_ATTEMPTS = 5
COARSE, FINE = 0.25, 0.05
FINE_SECONDS = 300
# No storage gives one rank more: plans of peak speed are as long as this rate asks for.
MOST_BYTES_PER_SECOND = 25e9
RAW_BYTES = 2 << 30
RAW_DEPTHS = (1, 16)
LEAST_RAW_SECONDS = 0.25
# A window that was closed earlier says nothing.
LEAST_CUT_NS = 1_000_000_000
_STOP = 0


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do all phases of one rank; its outcome for the launcher.

    Raises:
        MlpstorageError: the storage or the environment is not as asked.
    """
    rank = _Rank(msgspec.convert(argument, Argument), comm, emit)
    try:
        rank.measure()
    except BaseException:
        rank.abandon()
        raise
    outcome: dict[str, Any] = msgspec.to_builtins(rank.outcome())
    return outcome


class _Rank:
    """One rank's state over all phases."""

    def __init__(self, argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> None:
        self._argument, self._comm = argument, comm
        self._setup = argument.setup
        self._planner = Planner(argument.setup, comm.rank, comm.size)
        self._held = self._host_memory()
        self._stage = Stage(argument, comm, emit)
        self._phases: list[Phase] = []
        self._hash = ""
        self._figures: PlanFigures | None = None
        self._raw: list[RawPoint] = []
        self._at, self._reached = "", ""

    def _host_memory(self) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """This rank's part of the cache in host memory, really taken: it is no page cache then."""
        return np.ones(self._setup.cpu_bytes_per_rank(self._comm.size), np.uint8)

    def measure(self) -> None:
        """All phases of the mode, or as many as the user lets it come to."""
        try:
            self._phases_of_mode()
        except EndedEarlyError:
            self._reached = self._at
        self._stage.end(keep=self._argument.keep_cache)

    def _phases_of_mode(self) -> None:
        modes: dict[str, Callable[[], None]] = {
            "serve": self._serve,
            "restore": self._restore,
            "store": self._store,
            "replay": self._replay,
            "mlperf-v3": self._v3,
        }
        if self._argument.raw:
            self._raw_table()
        if self._setup.mode in modes:
            modes[self._setup.mode]()

    def abandon(self) -> None:
        """Leave no blocks behind after a failure."""
        self._stage.abandon()

    def outcome(self) -> RankOutcome:
        """What the launcher gets."""
        stage, synthetic = self._stage, self._setup.mode in {"serve", "restore"}
        return RankOutcome(
            phases=self._phases,
            plan_hash=self._hash,
            figures=self._figures,
            skew_ns=stage.skew_ns,
            skew_error_ns=stage.skew_error_ns,
            foreign=foreign_libraries(),
            returning=self._planner.residents.returning if synthetic else 0,
            cpus=usable_cpus() / self._comm.local_size,
            raw=self._raw,
            reached=self._reached,
        )

    def _settings(self, seconds: float | None, warmup: float = 0.0, **more: Any) -> Settings:  # noqa: ANN401
        argument = self._argument
        values: dict[str, Any] = {
            "readers": argument.threads,
            "writers": argument.write_threads,
            "verify": argument.verify,
            "warmup_seconds": warmup,
            "duration_seconds": seconds,
            "shared": self._stage.shared,
            "slo_base_ns": argument.slo_base_ns,
            "slo_per_token_ns": argument.slo_per_token_ns,
            "seed": self._setup.seed,
        }
        return Settings(**{**values, **more})

    def _keep(self, name: str, record: RankRecord, users: int = 0, trial: int = 0) -> None:
        """Keep what was measured; of windows that the user cut short, only a first score.

        Raises:
            EndedEarlyError: it was cut short.
        """
        phase = Phase(name=name, users=users, trial=trial, record=record)
        if record.cut_ns is None:
            self._phases.append(phase)
            return
        passed = record.cut_ns / 1e9
        self._at += f", {passed:.1f} s of its window" if passed > 0 else ", in its warm-up"
        is_first = name == SCORE and not any(kept.name == SCORE for kept in self._phases)
        if is_first and record.cut_ns >= LEAST_CUT_NS:
            self._phases.append(phase)
        raise EndedEarlyError

    def _raw_table(self) -> None:
        """Plain reads and writes by rank 0, in sizes and depths that the time allows."""
        self._comm.barrier()
        sweep = self._sweep()
        if self._comm.rank == 0:
            self._raw = self._stage.raw(sweep)
        done = int(self._comm.broadcast(len(self._raw)))
        self._at = f"{done} of {sweep.points} points of raw speeds"
        if done < sweep.points:
            raise EndedEarlyError

    def _sweep(self) -> RawSweep:
        argument, setup = self._argument, self._setup
        total = min(RAW_BYTES, setup.capacity_bytes)
        if setup.mode == "raw":
            sizes = tuple(size for size in BLOCK_BYTES if 2 * size <= total)
            depths = QUEUE_DEPTHS if setup.duration_seconds >= FINE_SECONDS else RAW_DEPTHS
            points = 2 * len(sizes) * len(depths)
            pairs = 3 if setup.duration_seconds >= FINE_SECONDS else 1
            seconds = setup.duration_seconds / (points * pairs * 2)
        else:
            sizes, depths, pairs = (setup.shape.block_bytes,), (1, argument.threads), 3
            seconds = setup.duration_seconds * PROBE_PART / 4
        return RawSweep(
            block_bytes=sizes,
            queue_depths=depths,
            total_bytes=total,
            seconds=max(seconds, LEAST_RAW_SECONDS),
            pairs=pairs,
            direct=argument.direct,
            verify=argument.verify,
        )

    def _fill(self) -> Blocks:
        """Store what is there before the clock; all blocks of this rank's cache."""
        blocks = self._planner.residents.block
        part = blocks if self._setup.private else blocks[self._comm.rank :: self._comm.size]
        self._at = "filling the cache"
        self._keep(POPULATE, self._stage.populate(part))
        self._stage.declare(blocks)
        return blocks

    def _serve(self) -> None:
        blocks = self._fill()
        if self._setup.users:
            self._score(blocks, self._setup.users, self._setup.duration_seconds)
            return
        # Of none that meets the SLO, one is shown.
        users = max(self._search(blocks), 1)
        seconds = self._setup.duration_seconds * SCORE_PART
        attempts, step = (MOST_ATTEMPTS, FINE) if self._is_long else (2, 0.5)
        for attempt in range(1, attempts + 1):
            if self._score(blocks, users, seconds) or users == 1 or attempt == attempts:
                return
            self._demote()
            users = min(users - 1, int(users * (1 - step)))
            self._stage.reset(blocks)

    def _score(self, blocks: Blocks, users: int, seconds: float) -> bool:
        """All trials of a number of users; whether each met the SLO."""
        each = seconds / self._argument.trials
        met = True
        for trial in range(1, self._argument.trials + 1):
            if trial > 1:
                self._stage.reset(blocks)
            self._at = f"trial {trial}/{self._argument.trials} of {_users(users)}"
            activity = self._trial(_users(users), trial)
            record = self._load_point(users, each, each / 5, activity)
            self._keep(SCORE, record, users, trial)
            met = bool(self._comm.broadcast(self._met(record))) and met
        return met

    def _trial(self, name: str, trial: int, request: str = "restore") -> Activity:
        """What is shown of a trial."""
        trials = self._argument.trials
        return Activity(
            f"{name}, trial {trial}/{trials}" if trials > 1 else name, trial, trials, request
        )

    def _demote(self) -> None:
        """What was to be the score was not confirmed: it is one more load point of the search."""
        self._phases = [
            msgspec.structs.replace(phase, name=PROBE, trial=0) if phase.name == SCORE else phase
            for phase in self._phases
        ]

    def _met(self, record: RankRecord) -> bool:
        """Whether all ranks together met the SLO; only rank 0 knows."""
        gathered = self._comm.gather(msgspec.to_builtins(record))
        if gathered is None:
            return False
        records = [msgspec.convert(part, RankRecord) for part in gathered]
        return not violations(merge(records, self._comm.size).all)

    @property
    def _is_long(self) -> bool:
        """Whether there is time for a fine search."""
        return self._setup.duration_seconds >= FINE_SECONDS

    def _load_point(
        self, users: int, seconds: float, warmup: float, activity: Activity
    ) -> RankRecord:
        """A number of users for a time; the plan is compiled before the clock."""
        plan = self._planner.serve(users, seconds + warmup)
        self._describe(plan)
        settings = self._settings(seconds, warmup)
        return self._stage.run(self._planner.share(plan), settings, activity)

    def _describe(self, plan: CompiledPlan) -> None:
        self._hash, self._figures = self._planner.digest(plan), plan_figures(plan)

    def _search(self, blocks: Blocks) -> int:
        """The most users that meet the SLO; rank 0 decides, the others follow."""
        duration = self._setup.duration_seconds

        def probe(users: int) -> bool:
            number = 1 + sum(phase.name == PROBE for phase in self._phases)
            self._at = f"search, load point {number} of {_users(users)}"
            activity = Activity(f"search, {_users(users)}", request="restore")
            seconds, warmup = duration * PROBE_PART, duration * WARMUP_PART
            record = self._load_point(users, seconds, warmup, activity)
            self._keep(PROBE, record, users)
            self._stage.reset(blocks)
            return self._met(record)

        if self._comm.rank:
            while users := int(self._comm.broadcast(None)):
                probe(users)
            return int(self._comm.broadcast(None))

        def announced(users: int) -> bool:
            self._comm.broadcast(users)
            return probe(users)

        first = max(self._setup.first_users, FIRST_USERS)
        found = find_most(
            announced,
            first,
            most=self._planner.most_users,
            tolerance=FINE if self._is_long else COARSE,
        )
        self._comm.broadcast(_STOP)
        self._comm.broadcast(found.best)
        return found.best

    def _restore(self) -> None:
        self._fill()
        comm, setup = self._comm, self._setup
        runs = self._planner.residents.runs
        own = runs if setup.private else runs[comm.rank :: comm.size] or runs
        in_flight = setup.users or DEFAULT_IN_FLIGHT * comm.size
        plan = restore_runs(
            own or [self._planner.residents.block],
            in_flight=max(1, in_flight // comm.size),
            operations=self._operations(),
            seed=setup.seed + comm.rank,
            block_bytes=setup.shape.block_bytes,
            block_tokens=setup.shape.block_tokens,
        )

        def once(settings: Settings, trial: int) -> RankRecord:
            return self._stage.run(plan, settings, self._trial("restoring", trial))

        self._trials(once, in_flight)

    def _operations(self) -> int:
        """How many blocks a plan of peak speed has."""
        each = self._setup.duration_seconds / self._argument.trials
        asked = int(MOST_BYTES_PER_SECOND * each / self._setup.shape.block_bytes)
        return min(max(asked, 1000), MOST_OPERATIONS)

    def _trials(self, once: Callable[[Settings, int], RankRecord], users: int, **more: Any) -> None:  # noqa: ANN401
        each = self._setup.duration_seconds / self._argument.trials
        for trial in range(1, self._argument.trials + 1):
            settings = self._settings(each * 5 / 6, each / 6, **more)
            self._at = f"trial {trial}/{self._argument.trials}"
            self._keep(SCORE, once(settings, trial), users, trial)

    def _store(self) -> None:
        comm, setup = self._comm, self._setup
        in_flight = setup.users or DEFAULT_IN_FLIGHT * comm.size
        own = max(1, in_flight // comm.size)
        run = max(1, min(16, setup.capacity_blocks // comm.size // own // 2))

        def once(settings: Settings, trial: int) -> RankRecord:
            plan = store_plan(
                (setup.seed << 40 ^ (comm.rank + 1) << 52) % (1 << 63),
                setup.shape.block_bytes,
                concurrency=own,
                requests=max(1, self._operations() // run),
                blocks_per_request=run,
                keep_blocks=setup.capacity_blocks // comm.size,
                tokens_per_block=setup.shape.block_tokens,
            )
            record = self._stage.run(plan, settings, self._trial("storing", trial, "store"))
            self._stage.clear()
            return record

        self._trials(once, in_flight, ends_with_writes=True)

    def _replay(self) -> None:
        self._whole(self._planner.replay(), self._setup.duration_seconds or None, "replaying", 0)

    def _v3(self) -> None:
        seconds = self._setup.duration_seconds
        self._whole(self._planner.v3(seconds), seconds, "mlperf-v3", self._setup.users)

    def _whole(self, plan: CompiledPlan, seconds: float | None, name: str, users: int) -> None:
        """All trials of a plan that begins with an empty cache."""
        self._describe(plan)
        share = self._planner.share(plan)
        for trial in range(1, self._argument.trials + 1):
            self._at = f"trial {trial}/{self._argument.trials}"
            record = self._stage.run(share, self._settings(seconds), self._trial(name, trial))
            self._keep(SCORE, record, users, trial)
            if trial < self._argument.trials:
                self._stage.clear()


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"


def foreign_libraries() -> list[str]:
    """Libraries that were put in front of the system's by the environment of this process."""
    named = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    preload = Path("/etc/ld.so.preload")
    if preload.exists():
        named += preload.read_text("utf-8", "replace").split()
    return named
