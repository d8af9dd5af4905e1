"""Where a rank executes its plans: the directory, its blocks, and the other ranks beside it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.events import Progress
from mlpstorage.engine.kv.executor import execute
from mlpstorage.engine.kv.layouts import make_layout
from mlpstorage.engine.kv.plans import delete_plan, populate_plan
from mlpstorage.engine.kv.raw import sweep
from mlpstorage.engine.kv.settings import Settings
from mlpstorage.engine.kv.so_far import Standing
from mlpstorage.engine.kv.window import agree_cut, agree_start
from mlpstorage.engine.stamps import BlockPool, Origin
from mlpstorage.kinds.kvcache.live_figures import figures_of
from mlpstorage.kinds.kvcache.shared_files import SharedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.kv.executor import Progress as Passed
    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.kv.plan import KvPlan
    from mlpstorage.engine.kv.raw import RawPoint, RawSweep
    from mlpstorage.engine.kv.record import RankRecord
    from mlpstorage.kinds.kvcache.argument import Argument

# A slab has slots for what is written before the deletions that make room.
_SPARE_BLOCKS = 64
# Filling drops no writes, however slow storage is.
_NO_BUDGET_SECONDS = 1e9


class EndedEarlyError(Exception):
    """The user wants the run to stop: raised on all ranks at the same point of their work."""


@dataclass(frozen=True)
class Activity:
    """What a plan is for: what is shown of it while it is executed.

    Args:
        name: What the activity is called.
        part: Where it stands among `parts` of its kind, from 1.
        parts: How many there are.
        request: What a request is, of which figures are shown: a restore, a store; empty for none.
    """

    name: str
    part: int = 1
    parts: int = 1
    request: str = ""


class Stage:
    """One rank's view of the storage tier.

    Args:
        argument: What the launcher asks.
        comm: The ranks.
        emit: Where progress goes.
    """

    def __init__(self, argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> None:
        setup = argument.setup
        self._argument, self._comm, self._emit = argument, comm, emit
        self.shared = comm.size > 1 and not setup.private
        home = Path(argument.cache_dir)
        self.root = home / (f"rank_{comm.rank}" if setup.private else "blocks")
        self._pool = BlockPool(Origin(argument.run_number), seed=setup.seed)
        self._layout = self._make()
        self._resident: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._everywhere: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self.skew_ns = self.skew_error_ns = 0
        self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """Delete blocks that a killed run has left, on all ranks if on any."""
        there = self._layout.blocks()
        found = self._comm.gather(there is not None and len(there) > 0)
        if self._comm.broadcast(found is not None and any(found)):
            self.clear()

    def _make(self) -> Layout:
        argument, setup = self._argument, self._argument.setup
        blocks = setup.capacity_blocks + _SPARE_BLOCKS
        layout = make_layout(
            argument.layout,
            self.root,
            setup.shape.block_bytes,
            blocks=blocks,
            direct=argument.direct,
            durable=argument.durable,
        )
        if not self.shared:
            return layout
        size = setup.shape.block_bytes
        return SharedFiles(self.root, size, direct=argument.direct, durable=argument.durable)

    def raw(self, wanted: RawSweep) -> list[RawPoint]:
        """Measure plain reads and writes beside the blocks; fewer if the user wants to stop."""
        points: list[RawPoint] = []

        def report(point: RawPoint) -> None:
            points.append(point)
            done = len(points)
            self._emit(Progress(self._comm.rank, "raw speeds", done, wanted.points, "points", 0))

        folder = self.root / "raw"
        found = sweep(folder, wanted, self._pool, report, self._comm.stopping.heard)
        folder.rmdir()
        return found

    def populate(self, blocks: npt.NDArray[np.uint64]) -> RankRecord:
        """Store this rank's share of what is there before the clock.

        Raises:
            EndedEarlyError: the user wants to stop.
        """
        plan = populate_plan(blocks, self._argument.setup.shape.block_bytes)
        record = self._write(plan, "filling the cache")
        self._resident = blocks
        return record

    def declare(self, everywhere: npt.NDArray[np.uint64]) -> None:
        """Say which blocks all ranks together have stored before the clock."""
        self._everywhere = everywhere

    def _write(self, plan: KvPlan, activity: str) -> RankRecord:
        settings = Settings(
            readers=1,
            writers=self._argument.threads,
            writers_beside_reads=self._argument.threads,
            write_budget_seconds=_NO_BUDGET_SECONDS,
            ends_with_writes=True,
        )
        total = len(plan.block)
        record = self._run(plan, settings, Activity(activity), total, "blocks")
        if record.cut_ns is not None:
            raise EndedEarlyError
        return record

    def run(self, plan: KvPlan, settings: Settings, activity: Activity) -> RankRecord:
        """Execute a plan in step with the other ranks.

        If the user wants to stop, all ranks' windows are closed early (see `RankRecord.cut_ns`).

        Raises:
            EndedEarlyError: the user wanted to stop before it was begun.
        """
        seconds = settings.duration_seconds
        total = round(seconds + settings.warmup_seconds) if seconds else len(plan.session)
        return self._run(plan, settings, activity, total, "seconds" if seconds else "requests")

    def _run(
        self, plan: KvPlan, settings: Settings, activity: Activity, total: int, unit: str
    ) -> RankRecord:
        rank, comm = self._comm.rank, self._comm

        def tell(done: int, moved: int, standing: Standing | None) -> None:
            name, part, parts = activity.name, activity.part, activity.parts
            self._emit(Progress(rank, name, min(done, total), total, unit, moved, part, parts))
            if activity.request:
                for figure in figures_of(rank, standing, activity.request):
                    self._emit(figure)

        def report(passed: Passed) -> None:
            done = round(passed.seconds) if unit == "seconds" else passed.requests
            tell(done, passed.read_bytes + passed.written_bytes, passed.standing)

        if comm.stopping.agreed():
            raise EndedEarlyError
        if isinstance(self._layout, SharedFiles):
            self._layout.expect(plan, self._everywhere)
        record = execute(
            plan,
            self._layout,
            self._pool,
            settings,
            resident=self._resident,
            start_ns=self._agreed_start,
            rank=rank,
            on_progress=report,
            wants_stop=comm.stopping.heard,
            agree_cut=lambda cut_ns: agree_cut(comm, cut_ns),
        )
        if record.cut_ns is None:
            moved = record.moved_read_bytes + record.moved_written_bytes
            tell(total, moved, Standing.of(record))
        comm.barrier()
        return record

    def _agreed_start(self) -> int:
        start = agree_start(self._comm)
        self.skew_ns = max(self.skew_ns, start.skew_ns)
        self.skew_error_ns = max(self.skew_error_ns, start.error_ns)
        return start.start_ns

    def reset(self, blocks: npt.NDArray[np.uint64]) -> None:
        """Bring the cache back to the blocks of all ranks that were there before a plan.

        Files are compared by name: what a plan added is deleted, what it deleted is written anew.
        A slab is filled from the start, because its slots hold other blocks now.
        """
        size = self._argument.setup.shape.block_bytes
        there = self._layout.blocks()
        if there is None:
            resident = self._resident
            self.clear()
            self.populate(resident)
            return
        self._comm.barrier()
        first, step = (self._comm.rank, self._comm.size) if self.shared else (0, 1)
        added = np.setdiff1d(there, blocks)[first::step]
        missing = np.setdiff1d(blocks, there)[first::step]
        self._write(delete_plan(added, size), "resetting the cache")
        self._write(populate_plan(missing, size), "resetting the cache")

    def clear(self) -> None:
        """Delete all blocks; the ranks of a shared directory do it together."""
        self._layout.shut()
        self._comm.barrier()
        if not self.shared or self._comm.rank == 0:
            self._layout.remove()
        self._comm.barrier()
        self._layout = self._make()
        self._resident = np.zeros(0, np.uint64)
        self._comm.barrier()

    def abandon(self) -> None:
        """Delete what this rank made, without asking the others: the run has failed."""
        with contextlib.suppress(OSError):
            self._layout.shut()
            self._layout.remove()
            self.root.rmdir()

    def end(self, *, keep: bool) -> None:
        """Close everything; delete what was made unless it is to be kept."""
        self._layout.shut()
        self._comm.barrier()
        if keep:
            return
        if not self.shared or self._comm.rank == 0:
            self._layout.remove()
            self.root.rmdir()
        self._comm.barrier()
        if self._comm.rank == 0 and not any(self.root.parent.iterdir()):
            self.root.parent.rmdir()
