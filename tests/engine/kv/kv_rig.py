"""What the tests of the KV executor share: small plans and real directories."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.executor import execute
from mlpstorage.engine.kv.layouts import make_layout
from mlpstorage.engine.kv.plan import KvPlan, Op
from mlpstorage.engine.kv.plans import populate_plan
from mlpstorage.engine.kv.selftest import Wrapped
from mlpstorage.engine.kv.settings import Settings
from mlpstorage.engine.stamps import BlockPool, Origin

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.kv.record import RankRecord

BLOCK = 64 << 10
R, W, D = Op.READ, Op.WRITE, Op.DELETE


@dataclass
class Request:
    """A request of a test's plan: its operations as pairs of what and which block."""

    ops: list[tuple[Op, int]]
    session: int = 0
    arrival_ms: float = 0.0
    kind: int = 0
    hit_tokens: int = 0


def plan_of(
    *requests: Request,
    open_loop: bool = False,
    block_bytes: int = BLOCK,
    kinds: tuple[str, ...] = ("chat",),
) -> KvPlan:
    """The plan of some requests."""
    ops = [operation for request in requests for operation in request.ops]
    lengths = [len(request.ops) for request in requests]
    return KvPlan(
        op=np.array([op for op, _ in ops], np.uint8),
        block=np.array([block for _, block in ops], np.uint64),
        first_op=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        session=np.array([request.session for request in requests], np.int32),
        kind=np.array([request.kind for request in requests], np.int8),
        hit_tokens=np.array([request.hit_tokens for request in requests], np.int32),
        input_tokens=np.array([request.hit_tokens for request in requests], np.int32),
        arrival_ns=np.array([request.arrival_ms * 1e6 for request in requests], np.int64),
        open_loop=open_loop,
        kinds=kinds,
        block_bytes=block_bytes,
    )


@dataclass
class Rig:
    """A real directory and what was written into it."""

    root: Path
    name: str = "files"
    block_bytes: int = BLOCK
    direct: bool = True
    durable: bool = False
    blocks: int = 64
    run: int = 11
    resident: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    def __post_init__(self) -> None:
        self.pool = BlockPool(Origin(self.run), seed=5, pool_bytes=1 << 20, piece_bytes=4 << 20)
        self.layout: Layout = make_layout(
            self.name,
            self.root,
            self.block_bytes,
            blocks=self.blocks,
            direct=self.direct,
            durable=self.durable,
        )

    def populate(self, count: int, layout: Layout | None = None) -> RankRecord:
        """Write the blocks 1 to `count`."""
        self.resident = np.arange(1, count + 1, dtype=np.uint64)
        plan = populate_plan(self.resident, self.block_bytes, concurrency=4)
        return execute(plan, layout or self.layout, self.pool, settings_of())

    def execute(
        self,
        plan: KvPlan,
        settings: Settings | None = None,
        layout: Layout | None = None,
        rank: int = 0,
    ) -> RankRecord:
        """Execute a plan over the resident blocks."""
        return execute(
            plan,
            layout or self.layout,
            self.pool,
            settings or settings_of(),
            resident=self.resident,
            rank=rank,
        )


def settings_of(**changes: object) -> Settings:
    """Few threads, for small tests."""
    values: dict[str, object] = {"readers": 3, "writers": 2, "writers_beside_reads": 1}
    return Settings(**{**values, **changes})  # type: ignore[arg-type]  # any field of it


class Slow(Wrapped):
    """Each write takes some seconds longer."""

    seconds = 0.1

    def write(self, descriptor: int, views: list[memoryview], offset: int, /) -> int:
        """Write, later."""
        time.sleep(self.seconds)
        return self.inner.write(descriptor, views, offset)
