"""What a plan says about itself before it is executed: hits, bytes, and how blocks come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.engine.kv.plan import Op
from mlpstorage.kinds.kvcache.reuse import previous_use, reuse_distances

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpstorage.kinds.kvcache.compiled import CompiledPlan
    from mlpstorage.kinds.kvcache.stream import RequestStream

REUSE_SHARES = (0.25, 0.50, 0.75, 0.90)


class ReuseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the blocks of the prompts come back, whatever the cache; shares are 0 to 1.

    `infinite_hit` is the share of references to a block that was referenced before; `distances`
    are quantiles (see `REUSE_SHARES`) of the different blocks in between.
    """

    references: int
    unique: int
    infinite_hit: float
    distances: tuple[int, ...]


class PlanFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled plan in numbers; shares are 0 to 1, of all prompt tokens."""

    requests: int
    sessions: int
    input_tokens: int
    output_tokens: int
    read_blocks: int
    written_blocks: int
    deleted_blocks: int
    populate_blocks: int
    resident_blocks: int
    block_bytes: int
    hit_gpu: float
    hit_cpu: float
    hit_storage: float
    reuse: ReuseFigures

    @property
    def hit_rate(self) -> float:
        """Prompt tokens found in any tier."""
        return self.hit_gpu + self.hit_cpu + self.hit_storage

    @property
    def read_write_ratio(self) -> float | None:
        """Bytes read per byte written; None when nothing is written."""
        return self.read_blocks / self.written_blocks if self.written_blocks else None

    @property
    def peak_bytes(self) -> int:
        """The most bytes that are stored at a time."""
        return max(self.populate_blocks, self.resident_blocks) * self.block_bytes


def reuse_figures(stream: RequestStream) -> ReuseFigures:
    """How the prompts' blocks come back."""
    blocks = _prompt_blocks(stream)
    if not len(blocks):
        return ReuseFigures(references=0, unique=0, infinite_hit=0.0, distances=())
    _, dense = np.unique(blocks, return_inverse=True)
    again = int(np.count_nonzero(previous_use(dense) >= 0))
    distances = reuse_distances(dense)
    quantiles = np.quantile(distances, REUSE_SHARES).tolist() if len(distances) else []
    return ReuseFigures(
        references=len(blocks),
        unique=len(blocks) - again,
        infinite_hit=again / len(blocks),
        distances=tuple(int(value) for value in quantiles),
    )


def _prompt_blocks(stream: RequestStream) -> npt.NDArray[np.uint64]:
    lengths = np.diff(stream.first_block)
    within = np.arange(len(stream.block)) - np.repeat(stream.first_block[:-1], lengths)
    return stream.block[within < np.repeat(stream.prompt_blocks, lengths)]


def plan_figures(plan: CompiledPlan) -> PlanFigures:
    """A compiled plan in numbers."""
    stream = plan.stream
    tokens = int(stream.input_tokens.sum(dtype=np.int64))
    gpu, cpu, storage = (int(n) for n in plan.hit_tokens.sum(axis=0, dtype=np.int64))
    return PlanFigures(
        requests=stream.requests,
        sessions=len(np.unique(stream.session)),
        input_tokens=tokens,
        output_tokens=int(stream.output_tokens.sum(dtype=np.int64)),
        read_blocks=plan.count(Op.READ),
        written_blocks=plan.count(Op.WRITE),
        deleted_blocks=plan.count(Op.DELETE),
        populate_blocks=len(plan.populate),
        resident_blocks=len(plan.resident),
        block_bytes=plan.block_bytes,
        hit_gpu=gpu / tokens if tokens else 0.0,
        hit_cpu=cpu / tokens if tokens else 0.0,
        hit_storage=storage / tokens if tokens else 0.0,
        reuse=reuse_figures(stream),
    )
