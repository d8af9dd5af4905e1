"""The raw table: every point measured, fio beside it on the same files, nothing left behind."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.kv.fio import _parsed, run_fio
from mlpstorage.engine.kv.raw import RawSweep, sweep
from mlpstorage.engine.stamps import BlockPool, Origin

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.kv.raw import RawPoint

POOL = BlockPool(Origin(1), seed=1, pool_bytes=1 << 20)
FIO = shutil.which("fio")
needs_fio = pytest.mark.skipif(FIO is None, reason="fio is not installed")


def small(*, with_fio: bool) -> RawSweep:
    """Two sizes and depths, for a moment each."""
    return RawSweep(
        block_bytes=(64 << 10, 1 << 20),
        queue_depths=(1, 2),
        total_bytes=8 << 20,
        seconds=0.1,
        pairs=1,
        with_fio=with_fio,
    )


def test_every_point_is_measured_and_told(tmp_path: Path) -> None:
    """Reads and writes of each size and depth, in order, verified; the directory is empty again."""
    told: list[RawPoint] = []
    points = sweep(tmp_path, small(with_fio=False), POOL, told.append)
    assert told == points
    assert [(p.block_bytes, p.direction, p.queue_depth) for p in points] == [
        (size, direction, depth)
        for size in (64 << 10, 1 << 20)
        for direction in ("read", "write")
        for depth in (1, 2)
    ]
    assert all(p.rate > 0 and p.p99_ns >= p.p50_ns > 0 and p.bad == 0 for p in points)
    assert {point.efficiency for point in points} == {None}
    assert list(tmp_path.iterdir()) == []


@needs_fio
def test_fio_stands_beside_each_point(tmp_path: Path) -> None:
    """With fio each point has its rate and CPU, and the ratio of both."""
    wanted = RawSweep(
        block_bytes=(256 << 10,), queue_depths=(2,), total_bytes=8 << 20, seconds=0.3, pairs=2
    )
    for point in sweep(tmp_path, wanted, POOL):
        assert point.fio_rate is not None
        assert point.fio_rate > 0
        assert point.efficiency is not None
        assert 0 < point.efficiency < 100
        assert point.bad == 0


@needs_fio
def test_fio_that_fails_is_an_error_with_its_words(tmp_path: Path) -> None:
    """A file that is not there is named by fio and by the error."""
    with pytest.raises(BenchmarkError, match="fio ended with"):
        run_fio(
            str(FIO), [str(tmp_path / "none")], write=False, block_bytes=4096, queue_depth=1,
            seconds=0.1, direct=True,
        )  # fmt: skip


def test_fio_output_is_understood_or_refused() -> None:
    """Notes before the document do not matter; another document is an error."""
    job = '{"jobs": [{"read": {"io_bytes": 100, "bw_bytes": 50}, "usr_cpu": 1, "sys_cpu": 3,'
    found = _parsed("note: so\n" + job + ' "job_runtime": 500}]}', "read")
    assert found.bytes_per_second == 50
    assert found.cpu_seconds_per_byte == pytest.approx(0.02 / 100)
    for text in ("", "nothing", '{"jobs": []}', '{"other": 1}'):
        with pytest.raises(BenchmarkError, match="not understood"):
            _parsed(text, "read")
