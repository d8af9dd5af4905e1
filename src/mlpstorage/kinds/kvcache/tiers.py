"""Three tiers of cache simulated in logical order: what each request hits, stores and evicts.

`G` stands for accelerator memory and is capacity only; `C` is host memory; `S` is the storage that
is measured. All are least-recently-used; a hit moves a block to the fastest tier.

- Inclusive, write-through: a new block goes to every tier at once. Evicting it from `G` or `C`
  costs nothing.
- Exclusive, write-on-evict: a block is in one tier. What `G` evicts goes to `C`, what `C` evicts is
  written to `S`; a block read from `S` moves up and is deleted there. With neither `G` nor `C`, a
  block has nowhere to move: it is stored at once and stays.

A request never evicts blocks that it has just used; what then finds no room is not stored.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_READ, _WRITE, _DELETE = int(Op.READ), int(Op.WRITE), int(Op.DELETE)


class WritePolicy(enum.Enum):
    """When blocks reach the storage tier."""

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True)
class Capacity:
    """How many blocks each tier holds."""

    gpu: int
    cpu: int
    storage: int


Lru = OrderedDict[int, None]


@dataclass
class Tiers:
    """The state of all tiers, and the operations on storage that came of it so far.

    Blocks are small whole numbers. `op` and `block` grow by each request's operations: its reads,
    then deletions that make room, then writes.
    """

    capacity: Capacity
    policy: WritePolicy
    op: bytearray = field(default_factory=bytearray)
    block: list[int] = field(default_factory=list)
    gpu: Lru = field(default_factory=OrderedDict)
    cpu: Lru = field(default_factory=OrderedDict)
    storage: Lru = field(default_factory=OrderedDict)

    def fill(self, blocks: Iterable[int]) -> None:
        """Put blocks into storage before anything is asked for, the least recently used first."""
        for block in blocks:
            self.storage[block] = None

    def serve(self, blocks: Sequence[int], prompt: int) -> tuple[int, int, int]:
        """Look up a request's first `prompt` blocks, store the others; hits in G, C and S.

        Only the longest run of hits from the start counts: a prompt continues a prefix.
        """
        gpu, cpu, storage = self.gpu, self.cpu, self.storage
        reads: list[int] = []
        from_gpu = from_cpu = 0
        for block in blocks[:prompt]:
            if block in gpu:
                from_gpu += 1
            elif block in cpu:
                from_cpu += 1
            elif block in storage:
                reads.append(block)
            else:
                break
        run = from_gpu + from_cpu + len(reads)
        self._emit(_READ, reads)
        if self.policy is WritePolicy.INCLUSIVE:
            self._through(blocks)
        elif self.capacity.gpu or self.capacity.cpu:
            self._upwards(blocks, set(reads))
        else:
            self._store(blocks)
        return from_gpu, from_cpu, run - from_gpu - from_cpu

    def _emit(self, op: int, blocks: list[int]) -> None:
        self.op.extend(bytes((op,)) * len(blocks))
        self.block.extend(blocks)

    def _through(self, blocks: Sequence[int]) -> None:
        """Every block of the request is most recent wherever it is, and comes where it is not."""
        _keep(self.gpu, blocks, self.capacity.gpu)
        _keep(self.cpu, blocks, self.capacity.cpu)
        self._store(blocks)

    def _store(self, blocks: Sequence[int]) -> None:
        evicted, kept = _keep(self.storage, blocks, self.capacity.storage)
        self._emit(_DELETE, evicted)
        self._emit(_WRITE, kept)

    def _upwards(self, blocks: Sequence[int], read: set[int]) -> None:
        """Blocks move to the fastest tier; what falls out of one goes to the next."""
        moved = [block for block in blocks if block in self.storage]
        for block in moved:
            del self.storage[block]
        # A block that was not read is made anew from the prompt: the stored copy is of no use.
        self._emit(_DELETE, [b for b in moved if b in read] + [b for b in moved if b not in read])
        for block in blocks:
            self.cpu.pop(block, None)
        falling, _ = _keep(self.gpu, blocks, self.capacity.gpu)
        if self.capacity.gpu:
            falling += [block for block in blocks if block not in self.gpu]
        else:
            falling = list(blocks)
        for block in falling:
            self.cpu.pop(block, None)
        down, _ = _keep(self.cpu, falling, self.capacity.cpu)
        down += [block for block in falling if block not in self.cpu]
        evicted, kept = _keep(self.storage, down, self.capacity.storage)
        gone = [block for block in evicted if block not in kept]
        self._emit(_DELETE, gone)
        self._emit(_WRITE, kept)


def _keep(tier: Lru, blocks: Sequence[int], capacity: int) -> tuple[list[int], list[int]]:
    """Make blocks the most recent of a tier; what it evicted for them, and what is new in it.

    >>> tier = OrderedDict.fromkeys([1, 2, 3])
    >>> _keep(tier, [1, 4, 5], 4), list(tier)
    (([2], [4, 5]), [3, 1, 4, 5])
    """
    if not capacity:
        return [], []
    move = tier.move_to_end
    new: list[int] = []
    held = 0
    for block in blocks:
        if block in tier:
            move(block)
            held += 1
        else:
            new.append(block)
    del new[max(0, capacity - held) :]
    evicted = [tier.popitem(last=False)[0] for _ in range(len(tier) + len(new) - capacity)]
    for block in new:
        tier[block] = None
    return evicted, new
