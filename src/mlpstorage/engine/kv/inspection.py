"""Comparing what was read with what must have been written, and keeping what is found."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.kv.record import MOST_FINDINGS, Finding, Verification
from mlpstorage.engine.kv.settings import FULL, OFF
from mlpstorage.engine.stamps import SECTOR_BYTES, describe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpstorage.engine.kv.layouts import Layout
    from mlpstorage.engine.stamps import BlockPool

# One block in this many is compared as a whole.
SAMPLED = 100
_WORDS = SECTOR_BYTES // 8


class Findings:
    """What all threads found; the first ones are kept, all are counted."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.count = 0
        self._lock = threading.Lock()

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        with self._lock:
            self.count += 1
            if len(self.kept) < MOST_FINDINGS:
                self.kept.append(finding)


class Inspector:
    """Looks at one thread's buffer after each read.

    Args:
        pool: What the blocks were made from.
        buffer: The thread's buffer.
        layout: Where the blocks lie.
        findings: Where to put what is wrong.
        mode: See `Settings.verify`.
        chosen: By operation, whether the block is compared as a whole.
    """

    def __init__(
        self,
        pool: BlockPool,
        buffer: memoryview,
        layout: Layout,
        findings: Findings,
        mode: str,
        chosen: bytes,
    ) -> None:
        self._checker = pool.checker()
        self._origin = pool.origin
        self._words = np.frombuffer(buffer, np.uint64)
        self._layout = layout
        self._findings = findings
        self._off, self._full = mode == OFF, mode == FULL
        self._chosen = chosen
        self.blocks = self.sectors = self.whole_blocks = 0

    def inspect(self, op: int, block: int, place: int, start: int, length: int) -> None:
        """Compare the piece of a block that begins at byte `start` and is in the buffer."""
        if self._off:
            return
        data = self._words[: length // 8]
        sector = start // SECTOR_BYTES
        if not start:
            self.blocks += 1
        self.sectors += length // SECTOR_BYTES
        bad = self._checker.first_bad_stamp(data, block, sector)
        if bad is not None:
            held = describe(data[bad * _WORDS : (bad + 1) * _WORDS], self._origin)
            self._report("stamp", block, place, start + bad * SECTOR_BYTES, f"holds {held}")
        elif self._full or self._chosen[op]:
            if not start:
                self.whole_blocks += 1
            byte = self._checker.first_bad_byte(data, block, sector)
            if byte is not None:
                self._report("bytes", block, place, start + byte, "holds another byte than written")

    def short(self, block: int, place: int, offset: int) -> None:
        """Report a block that ends before its length."""
        self._report("short", block, place, offset, f"ends before {self._layout.block_bytes} bytes")

    def missing(self, block: int, place: int) -> None:
        """Report a block that is not there."""
        self._report("missing", block, place, 0, "the block is not there")

    def _report(self, what: str, block: int, place: int, offset: int, detail: str) -> None:
        path, base = self._layout.path_of(place), self._layout.offset_of(place)
        self._findings.add(
            Finding(
                what=what, file=path, offset=base + offset, block=f"{block:016x}", detail=detail
            )
        )


def verified(inspectors: Iterable[Inspector], findings: Findings) -> Verification:
    """The sum over all threads."""
    parts = list(inspectors)
    return Verification(
        blocks=sum(part.blocks for part in parts),
        sectors=sum(part.sectors for part in parts),
        whole_blocks=sum(part.whole_blocks for part in parts),
        bad=findings.count,
        findings=findings.kept,
    )
