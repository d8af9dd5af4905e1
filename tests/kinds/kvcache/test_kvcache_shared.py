from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.engine.kv import layouts
from mlpstorage.engine.kv.files_layout import FilesLayout
from mlpstorage.engine.kv.layouts import require_direct
from mlpstorage.engine.kv.plan import KvPlan, Op
from mlpstorage.kinds.kvcache.shared_files import PATIENCE_SECONDS, SharedFiles

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 4096


def reading(block: int) -> KvPlan:
    """A plan that reads one block."""
    one = np.ones(1, np.int32)
    return KvPlan(
        op=np.array([Op.READ], np.uint8),
        block=np.array([block], np.uint64),
        first_op=np.array([0, 1], np.int64),
        session=one - 1,
        kind=np.zeros(1, np.int8),
        hit_tokens=one,
        input_tokens=one,
        arrival_ns=np.zeros(1, np.int64),
        open_loop=False,
        kinds=("any",),
        block_bytes=SIZE,
    )


def store(layout: FilesLayout, block: int) -> None:
    """Write a block."""
    descriptor, offset = layout.create(block)
    os.pwrite(descriptor, bytes(SIZE), offset)
    layout.commit(descriptor, block)


def test_ranks_write_the_same_block_at_once(tmp_path: Path) -> None:
    """Ranks of different hosts may have one process id: both writes are whole, and one stays."""
    first, second = (FilesLayout(tmp_path, SIZE, direct=False, durable=False) for _ in range(2))
    opened = [(layout, layout.create(7)[0]) for layout in (first, second)]
    for layout, descriptor in opened:
        os.pwrite(descriptor, bytes(SIZE), 0)
        layout.commit(descriptor, 7)
    assert first.blocks().tolist() == [7]
    assert not list(tmp_path.rglob("*.part"))


def test_ranks_try_direct_io_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying direct I/O in a shared directory does not remove what another rank tries it with."""
    seen: list[Path] = []
    monkeypatch.setattr(layouts, "prove_direct", lambda path, _buffer: seen.append(path))
    require_direct(tmp_path)
    require_direct(tmp_path)
    assert len(set(seen)) == 2
    assert not list(tmp_path.iterdir())


def test_a_read_waits_for_another_ranks_write(tmp_path: Path) -> None:
    """A block that another rank is about to write is opened as soon as it is there."""
    layout = SharedFiles(tmp_path, SIZE, direct=False, durable=False)
    layout.expect(reading(7), np.zeros(0, np.uint64))
    writer = threading.Timer(0.05, store, (layout, 7))
    writer.start()
    descriptor, _ = layout.open(7)
    assert os.fstat(descriptor).st_size == SIZE
    layout.close(descriptor)
    writer.join()


@pytest.mark.parametrize("there", [[], [7]])
def test_a_read_does_not_wait_for_ever(tmp_path: Path, there: list[int]) -> None:
    """Nobody writes it: a read gives up; of a block that was there it does not wait at all."""
    layout = SharedFiles(tmp_path, SIZE, direct=False, durable=False)
    layout.expect(reading(7), np.array(there, np.uint64))
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        layout.open(7)
    assert (time.monotonic() - began >= PATIENCE_SECONDS) is (not there)
