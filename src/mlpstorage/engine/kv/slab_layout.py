"""Preallocated files cut into slots: what stores with an allocator of their own write."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.kv.layouts import Places, storage_errors
from mlpstorage.engine.kv.plan import Op

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.kv.plan import KvPlan

# Several files: a filesystem may lock a file for every write that allocates in it.
FILE_BYTES = 4 << 30
# Slots beyond what the plan needs, so that a freed slot is seldom used again at once: the write
# would have to wait for the reads of the block that was there.
_SPARE_SHARE = 16
_LEAST_SPARE = 16


class SlabLayout:
    """Slots in preallocated files; the place of a block is its slot's number.

    Slots are given out from the plan: fresh ones first, then those freed longest ago. Deleting a
    block only frees its slot. Every slab belongs to one rank.

    Args:
        root: The directory of the slab files.
        block_bytes: The size of a slot.
        blocks: The most blocks that are there at a time.
        direct: Open with O_DIRECT.
        durable: fdatasync after each block.
    """

    name = "slab"
    read = staticmethod(os.preadv)
    write = staticmethod(os.pwritev)

    def __init__(
        self, root: Path, block_bytes: int, *, blocks: int, direct: bool, durable: bool
    ) -> None:
        self.root = root
        self.block_bytes = block_bytes
        self.direct = direct
        self.slots = blocks + max(_LEAST_SPARE, blocks // _SPARE_SHARE)
        self._durable = durable
        self._per_file = max(1, FILE_BYTES // block_bytes)
        self._descriptors: list[int] = []
        try:
            self._allocate()
        except BaseException:
            self.shut()
            raise

    def _take(self, descriptor: int) -> None:
        """Keep other ranks and runs out: their slots would hold other blocks.

        Raises:
            ConfigurationError: somebody else has the slab open.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"the slab in {self.root} is in use by another process",
                why="a slab belongs to one rank: each would overwrite the other's blocks",
                fix="give each rank a directory of its own, or use the layout `files`",
            ) from error
        except OSError:
            # A filesystem without locks: the directory is the caller's care alone.
            return

    def _allocate(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_DIRECT if self.direct else 0)
        for first in range(0, self.slots, self._per_file):
            path = self.path_of(first)
            length = min(self._per_file, self.slots - first) * self.block_bytes
            with storage_errors(self.root, path):
                self._descriptors.append(os.open(path, flags, 0o666))
                self._take(self._descriptors[-1])
                os.posix_fallocate(self._descriptors[-1], 0, length)

    def assign(self, plan: KvPlan, resident: NDArray[np.uint64]) -> Places:
        """Simulate the allocator over the plan.

        Raises:
            ConfigurationError: the plan needs more slots than there are.
        """
        slot_of = {block: slot for slot, block in enumerate(resident.tolist())}
        fresh = itertools.count(len(slot_of))
        freed: deque[tuple[int, int]] = deque()
        place, freed_by = [0] * len(plan.op), [-1] * len(plan.op)
        for index, (op, block) in enumerate(
            zip(plan.op.tolist(), plan.block.tolist(), strict=True)
        ):
            slot = slot_of.get(block)
            if op == Op.WRITE and slot is None:
                slot = next(fresh)
                if slot >= self.slots:
                    if not freed:
                        raise self._too_small(index)
                    slot, freed_by[index] = freed.popleft()
                slot_of[block] = slot
            elif op == Op.DELETE and slot is not None:
                freed.append((slot, index))
                del slot_of[block]
            if slot is None:
                raise _unknown(index, block)
            place[index] = slot
        return Places(np.array(place, np.uint64), np.array(freed_by, np.int64))

    def _too_small(self, index: int) -> ConfigurationError:
        return ConfigurationError(
            f"operation {index} of the plan needs more than the slab's {self.slots} slots",
            why="the slab was made for fewer blocks than the plan keeps at a time",
            fix="make the layout with `most_blocks` of the plan",
        )

    def path_of(self, place: int) -> str:
        """The slab file of a slot."""
        return str(self.root / f"slab-{place // self._per_file:04d}.kv")

    def offset_of(self, place: int) -> int:
        """Where the slot begins."""
        return place % self._per_file * self.block_bytes

    def open(self, place: int) -> tuple[int, int]:
        """The slab's descriptor and the slot's offset."""
        number, slot = divmod(place, self._per_file)
        return self._descriptors[number], slot * self.block_bytes

    def create(self, place: int) -> tuple[int, int]:
        """The same as for reading."""
        return self.open(place)

    def close(self, descriptor: int) -> None:
        """Nothing: slab files stay open."""

    def commit(self, descriptor: int, place: int) -> None:  # noqa: ARG002 (a protocol)
        """Nothing, or fdatasync."""
        if self._durable:
            os.fdatasync(descriptor)

    def discard(self, descriptor: int, place: int) -> None:
        """Nothing: the slot holds whatever it holds."""

    def delete(self, place: int) -> None:
        """Nothing: the plan knows that the slot is free."""

    def blocks(self) -> None:
        """Unknown: only the plan says what the slots hold."""

    def sync(self) -> None:
        """Fdatasync every slab file."""
        for descriptor in self._descriptors:
            os.fdatasync(descriptor)

    def shut(self) -> None:
        """Close the slab files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def remove(self) -> None:
        """Close and delete the slab files."""
        self.shut()
        for first in range(0, self.slots, self._per_file):
            (self.root / self.path_of(first)).unlink(missing_ok=True)


def _unknown(index: int, block: int) -> ConfigurationError:
    return ConfigurationError(
        f"operation {index} of the plan uses block {block:016x}, which is not in the slab",
        why="a slab belongs to one rank: blocks that other ranks write have no slot in it",
        fix="use the layout `files` where ranks share blocks",
    )
