"""Storage that goes wrong in each known way is told by the record, with file and offset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from engine.kv.kv_rig import BLOCK, R, Request, Rig, plan_of, settings_of
from mlpstorage.engine.kv.record import MOST_FINDINGS, merge
from mlpstorage.engine.kv.selftest import (
    FlippingLayout,
    LyingLayout,
    PacedLayout,
    TruncatingLayout,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.kv.plan import KvPlan

BOTH = pytest.mark.parametrize("name", ["files", "slab"])


def reads(count: int) -> KvPlan:
    """Read all blocks."""
    return plan_of(Request([(R, block) for block in range(1, count + 1)]))


@BOTH
def test_a_flipped_bit_in_a_stamp(tmp_path: Path, name: str) -> None:
    """One bit of one stamp: a finding that names the block, the file and the sector's offset."""
    rig = Rig(tmp_path, name)
    rig.populate(10, FlippingLayout(rig.layout, every=10, at=3 * 4096 + 17))
    found = rig.execute(reads(10)).verification
    assert (found.bad, found.blocks) == (1, 10)
    (finding,) = found.findings
    assert finding.what == "stamp"
    with open(finding.file, "rb") as file:  # noqa: PTH123 (a string)
        file.seek(finding.offset + 16)
        block = int.from_bytes(file.read(8), "little")
    # Byte 17 is in the block's id, so the file says another block there.
    assert block ^ int(finding.block, 16) == 1 << 8
    assert finding.offset % BLOCK == 3 * 4096


@BOTH
def test_a_flipped_bit_between_stamps(tmp_path: Path, name: str) -> None:
    """Stamps do not see a bit of the payload; comparing whole blocks does, to the byte."""
    rig = Rig(tmp_path, name)
    rig.populate(10, FlippingLayout(rig.layout, every=5, at=40_000))
    assert rig.execute(reads(10)).verification.bad <= 2
    found = rig.execute(reads(10), settings_of(verify="full")).verification
    assert (found.bad, found.whole_blocks) == (2, 10)
    assert {finding.what for finding in found.findings} == {"bytes"}
    assert {finding.offset % BLOCK for finding in found.findings} == {40_000}


@pytest.mark.parametrize("length", [0, 4096, 10_000])
def test_a_truncated_block(tmp_path: Path, length: int) -> None:
    """A short read is a finding at the file's end, and its bytes do not count as read."""
    rig = Rig(tmp_path)
    rig.populate(9, TruncatingLayout(rig.layout, every=9, length=length))
    record = rig.execute(reads(9))
    assert record.reads == 8
    (finding,) = record.verification.findings
    assert (finding.what, finding.offset) == ("short", length)
    assert os.stat(finding.file).st_size == length  # noqa: PTH116 (a string)


def test_a_truncated_block_of_several_pieces(tmp_path: Path) -> None:
    """The piece that is short is named, the missing ones as well; the request still ends."""
    size, cut = 12 << 20, 5 << 20
    rig = Rig(tmp_path, block_bytes=size)
    rig.populate(2, TruncatingLayout(rig.layout, every=2, length=cut))
    record = rig.execute(plan_of(Request([(R, 1), (R, 2)]), block_bytes=size))
    assert record.reads == 1
    assert sorted(f.offset for f in record.verification.findings) == [cut, 8 << 20]


def test_reads_that_lie(tmp_path: Path) -> None:
    """Reads that return without reading show in the stamps and in the kernel's counters."""
    rig = Rig(tmp_path)
    rig.populate(40)
    record = rig.execute(reads(40), layout=LyingLayout(rig.layout, every=4))
    assert record.moved_read_bytes == 40 * BLOCK
    assert record.read_count_gap == pytest.approx(0.25, abs=0.03)
    assert record.verification.bad == 10
    assert {finding.what for finding in record.verification.findings} == {"stamp"}


def test_another_runs_data(tmp_path: Path) -> None:
    """Blocks that an earlier run left under the same names are told as that."""
    Rig(tmp_path, run=10).populate(3)
    found = Rig(tmp_path, run=11).execute(reads(3)).verification
    assert found.bad == 3
    assert "another run" in found.findings[0].detail


def test_findings_are_all_counted_and_some_kept(tmp_path: Path) -> None:
    """A thousand bad blocks do not make a record of a thousand findings."""
    Rig(tmp_path, run=10).populate(50)
    found = Rig(tmp_path, run=11).execute(reads(50)).verification
    assert (found.bad, len(found.findings)) == (50, MOST_FINDINGS)


def test_verification_can_be_off(tmp_path: Path) -> None:
    """Off, nothing is compared, and the record says that nothing was."""
    Rig(tmp_path, run=10).populate(5)
    found = Rig(tmp_path, run=11).execute(reads(5), settings_of(verify="off")).verification
    assert (found.bad, found.blocks, found.sectors) == (0, 0, 0)


def test_a_slow_rank_shows(tmp_path: Path) -> None:
    """Of three ranks the one with slow storage is named, and stays visible in the pool."""
    records = []
    for rank in range(3):
        rig = Rig(tmp_path / str(rank))
        rig.populate(30)
        layout = PacedLayout(rig.layout, 0.02) if rank == 1 else rig.layout
        records.append(rig.execute(reads(30), layout=layout, rank=rank))
    merged = merge(records, 3)
    assert merged.slowest_rank == 1
    assert merged.read_rates[1] < min(merged.read_rates[0], merged.read_rates[2])
    assert merged.last_done_ns == records[1].last_done_ns >= 600_000_000
    assert merged.first_done_ns < merged.last_done_ns
    assert merged.all.block_read.most == records[1].block_read.most
