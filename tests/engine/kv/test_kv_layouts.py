"""Layouts on a real filesystem: names, atomic writes, real deletes, direct I/O, refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.kv.kv_rig import BLOCK, D, R, Request, Rig, W, plan_of
from mlpstorage.core.errors import AccessError, BenchmarkError, ConfigurationError
from mlpstorage.engine.kv.layouts import make_layout, require_direct
from mlpstorage.engine.kv.plans import store_plan
from mlpstorage.engine.kv.schedule import most_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("name", ["files", "slab"])


@BOTH
def test_what_was_written_is_read_back_directly(tmp_path: Path, name: str) -> None:
    """Blocks that the layout wrote come back with every byte right, past the page cache."""
    rig = Rig(tmp_path, name)
    rig.populate(10)
    record = rig.execute(plan_of(Request([(R, block) for block in range(1, 11)])))
    assert (record.reads, record.verification.bad, record.direct) == (10, 0, True)
    assert record.read_bytes == 10 * BLOCK


def test_a_block_is_a_file_of_its_size_in_two_levels(tmp_path: Path) -> None:
    """`files` makes one file per block, named by its id, below two levels of directories."""
    rig = Rig(tmp_path)
    rig.populate(5)
    found = sorted(tmp_path.rglob("*.kv"))
    assert sorted(path.stem for path in found) == [f"{block:016x}" for block in range(1, 6)]
    assert {len(path.relative_to(tmp_path).parts) for path in found} == {3}
    assert {path.stat().st_size for path in found} == {BLOCK}
    assert sorted(rig.layout.blocks()) == [1, 2, 3, 4, 5]


def test_deletes_are_real(tmp_path: Path) -> None:
    """A DELETE of `files` removes the file, and its space is free again."""
    rig = Rig(tmp_path)
    rig.populate(6)
    record = rig.execute(plan_of(Request([(D, 2), (D, 3)])))
    assert record.deletes == 2
    assert sorted(rig.layout.blocks()) == [1, 4, 5, 6]
    assert not Path(rig.layout.path_of(2)).exists()


def test_a_slab_is_preallocated_and_stays_as_large(tmp_path: Path) -> None:
    """Storing and deleting far more blocks than there are slots never grows a slab's files."""
    plan = store_plan(100, BLOCK, concurrency=2, requests=50, blocks_per_request=2, keep_blocks=8)
    rig = Rig(tmp_path, "slab", blocks=most_blocks(plan, 0))
    before = [(path, path.stat().st_size, path.stat().st_blocks) for path in tmp_path.iterdir()]
    record = rig.execute(plan)
    assert record.writes == 100
    after = [(path, path.stat().st_size, path.stat().st_blocks) for path in tmp_path.iterdir()]
    assert after == before
    assert all(blocks * 512 >= size > 0 for _, size, blocks in before)


def test_slots_are_reused_only_after_their_delete(tmp_path: Path) -> None:
    """A WRITE into a used slot names the DELETE that must come first; fresh slots go first."""
    rig = Rig(tmp_path, "slab", blocks=1)
    slots = rig.layout.slots
    fill = [(W, block) for block in range(slots)]
    plan = plan_of(Request([*fill, (D, 7), (D, 3), (W, 900), (R, 900), (W, 901)]))
    places = rig.layout.assign(plan, np.zeros(0, np.uint64))
    assert places.place.tolist() == [*range(slots), 7, 3, 7, 7, 3]
    assert places.freed_by.tolist() == [-1] * (slots + 2) + [slots, -1, slots + 1]


def test_a_slab_that_is_too_small_is_refused_before_the_clock(tmp_path: Path) -> None:
    """A plan that keeps more blocks than there are slots is an error, with the way out."""
    rig = Rig(tmp_path, "slab", blocks=1)
    plan = plan_of(Request([(W, block) for block in range(rig.layout.slots + 1)]))
    with pytest.raises(ConfigurationError, match="slots") as caught:
        rig.execute(plan)
    assert "most_blocks" in caught.value.fix


def test_a_slab_does_not_know_the_blocks_of_others(tmp_path: Path) -> None:
    """Reading a block that nobody wrote into the slab is refused, and says to use `files`."""
    rig = Rig(tmp_path, "slab")
    with pytest.raises(ConfigurationError, match="not in the slab") as caught:
        rig.execute(plan_of(Request([(R, 5)])))
    assert "files" in caught.value.fix


def test_a_slab_belongs_to_one_rank(tmp_path: Path) -> None:
    """While one has it open, nobody else gets it; afterwards it holds what was written."""
    first = Rig(tmp_path, "slab")
    with pytest.raises(ConfigurationError, match="in use by another process"):
        Rig(tmp_path, "slab")
    first.populate(3)
    first.layout.shut()
    second = Rig(tmp_path, "slab")
    second.resident = first.resident
    assert second.execute(plan_of(Request([(R, 1), (R, 2), (R, 3)]))).verification.bad == 0


_WRITER = """
import sys, time
from pathlib import Path
from engine.kv.kv_rig import Rig
from mlpstorage.engine.kv.selftest import Wrapped

class Slow(Wrapped):
    def write(self, descriptor, views, offset, /):
        time.sleep(0.1)
        return self.inner.write(descriptor, views, offset)

rig = Rig(Path(sys.argv[1]), block_bytes=8 << 20)
rig.populate(50, Slow(rig.layout))
"""


def test_a_killed_writer_leaves_no_final_name(tmp_path: Path) -> None:
    """After SIGKILL in the middle of blocks, every file with a final name is whole and right."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    search = {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], env={**os.environ, **search}
    )
    try:
        patience = time.monotonic() + 20
        while not (list(tmp_path.rglob("*.kv")) and list(tmp_path.rglob("*.part"))):
            assert time.monotonic() < patience, "the writer writes nothing"
            assert writer.poll() is None
            time.sleep(0.01)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert list(tmp_path.rglob("*.part"))
    assert {path.stat().st_size for path in tmp_path.rglob("*.kv")} == {8 << 20}
    rig = Rig(tmp_path, block_bytes=8 << 20)
    whole = rig.layout.blocks().tolist()
    record = rig.execute(plan_of(Request([(R, block) for block in whole]), block_bytes=8 << 20))
    assert (record.reads, record.verification.bad) == (len(whole), 0)
    rig.layout.remove()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def _tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_filesystem_is_named(tmp_path: Path) -> None:
    """ENOSPC ends the run, names a block's file and the directory, and leaves no part of it."""
    with _tmpfs(tmp_path / "small", "size=1m") as small:
        rig = Rig(small, direct=False)
        with pytest.raises(BenchmarkError, match=r"\.kv: No space left") as caught:
            rig.populate(40)
        assert f"of {small} is full" in caught.value.why
        assert not list(small.rglob("*.part"))


def test_a_slab_that_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    """Preallocation fails before the clock when there is too little room."""
    with (
        _tmpfs(tmp_path / "small", "size=1m") as small,
        pytest.raises(BenchmarkError, match="No space left"),
    ):
        Rig(small, "slab", direct=False)


def test_a_read_only_filesystem_is_named(tmp_path: Path) -> None:
    """EROFS is an error of access that names the directory."""
    with _tmpfs(tmp_path / "small", "size=1m,ro") as small, pytest.raises(AccessError) as caught:
        make_layout("files", small / "kv", BLOCK, blocks=1)
    assert str(small) in caught.value.what


def test_no_direct_io_is_a_refusal_and_no_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the filesystem refuses O_DIRECT, making the layout fails, and leaves no probe."""
    real = os.open

    def refusing(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument", path)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(ConfigurationError, match="refuses O_DIRECT"):
        require_direct(tmp_path)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_durable_blocks_are_synced_one_by_one(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `durable` every block is synced before it is visible; without it none is."""
    calls: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append(fd), real(fd))[1])
    rig = Rig(tmp_path / "a", name)
    rig.populate(8)
    at_the_end = len(calls)
    assert at_the_end <= 1
    durable = Rig(tmp_path / "b", name, durable=True)
    durable.populate(8)
    assert len(calls) >= at_the_end + 8


@BOTH
def test_removal_leaves_an_empty_directory(tmp_path: Path, name: str) -> None:
    """`remove` deletes all that the layout made, and nothing that it did not."""
    rig = Rig(tmp_path, name)
    rig.populate(3)
    (tmp_path / "mine").write_text("kept", "ascii")
    rig.layout.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("size", [0, 1000, 4097])
def test_odd_block_sizes_are_refused(tmp_path: Path, size: int) -> None:
    """A block must be whole sectors."""
    with pytest.raises(ConfigurationError, match="multiple of 4096"):
        make_layout("files", tmp_path, size, blocks=1)
