from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.kernel_counts import rchar_around
from engine.pool_consumer import PATIENCE, consume
from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.epoch import EpochPlan, plan_epoch
from mlpstorage.engine.files import prove_direct
from mlpstorage.engine.reading import Batches, Extent, ReaderPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Data:
    """Files of `samples` samples of one size each; every file may have another size."""

    paths: list[str]
    sample_bytes: list[int]
    samples: int = 1

    @classmethod
    def make(cls, folder: Path, sample_bytes: list[int], samples: int = 1) -> Data:
        """Write the files."""
        paths = [str(folder / f"{number}.bin") for number in range(len(sample_bytes))]
        for path, size in zip(paths, sample_bytes, strict=True):
            Path(path).write_bytes(os.urandom(size * samples))
        return cls(paths, sample_bytes, samples)

    def plan(self, batch: int, rank: int = 0, ranks: int = 1) -> EpochPlan:
        """A rank's plan over all files in their order."""
        order = np.arange(len(self.paths))
        return plan_epoch(order, samples_per_file=self.samples, batch=batch, rank=rank, ranks=ranks)

    def extent(self, plan: EpochPlan, visit: int) -> Extent:
        """The bytes of a visit's samples."""
        file, first = int(plan.files[visit]), int(plan.first[visit])
        size = self.sample_bytes[file]
        return Extent(self.paths[file], first * size, (first + int(plan.samples[visit])) * size)

    def pool(
        self,
        plan: EpochPlan,
        *,
        threads: int = 3,
        length: int = 4096,
        direct: bool = False,
        ahead: int = 100,
        before: Callable[[int], None] = lambda _visit: None,
    ) -> ReaderPool:
        """A pool over this data; `before` is called by a reader before each visit."""

        def extent_of(visit: int) -> Extent:
            before(visit)
            return self.extent(plan, visit)

        def samples_in(visit: int, done: int) -> int:
            complete = done // self.sample_bytes[int(plan.files[visit])]
            return min(complete, int(plan.samples[visit]))

        buffers = [aligned_buffer(length)[:length] for _ in range(threads)]
        return ReaderPool(plan, extent_of, samples_in, buffers, direct=direct, ahead=ahead)


def take(pool: ReaderPool, steps: range) -> None:
    """Take some batches of a pool that is open; an error instead of a hang."""

    def work() -> None:
        for step in steps:
            pool.batches.wait(step)

    consumer = threading.Thread(target=work, daemon=True)
    consumer.start()
    consumer.join(PATIENCE)
    assert not consumer.is_alive(), f"one of {steps} never comes"


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.001)


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, int]]]:
    """Which [begin, end) of each file were read, by path."""
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    preadv = os.preadv

    def watched(fd: int, views: list[memoryview], offset: int) -> int:
        got = preadv(fd, views, offset)
        seen[str(Path(f"/proc/self/fd/{fd}").readlink())].append((offset, offset + got))
        return got

    monkeypatch.setattr(os, "preadv", watched)
    return seen


@pytest.fixture(params=[False, True], ids=["buffered", "direct"])
def direct(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """Both ways of reading, where the filesystem has both."""
    if request.param:
        probe = tmp_path / "probe"
        probe.write_bytes(bytes(4096))
        try:
            prove_direct(probe, aligned_buffer(4096))
        except ConfigurationError:
            pytest.skip("needs a filesystem with O_DIRECT")
    return bool(request.param)


def cover(pieces: list[tuple[int, int]], begin: int, end: int) -> bool:
    """Whether the pieces are [begin, end) without gap or overlap."""
    edges = sorted(pieces)
    joined = all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    return joined and (edges[0][0], edges[-1][1]) == (begin, end)


@pytest.mark.parametrize("samples", [1, 7])
def test_an_epoch_reads_every_byte_once(
    tmp_path: Path, direct: bool, ranges: dict[str, list[tuple[int, int]]], samples: int
) -> None:
    """The ranges asked for tile each file, and the kernel counts the files' bytes and no more."""
    sizes = [1, 4095, 4096, 4097, 8192, 30_000, 50_001, 12_345]
    data = Data.make(tmp_path, sizes, samples)
    plan = data.plan(batch=2)
    pool = data.pool(plan, length=8192, direct=direct)
    counted = rchar_around(lambda: consume(pool, plan.steps))
    total = samples * sum(sizes)
    assert (counted, sum(pool.bytes_read)) == (total, total)
    assert sorted(ranges) == sorted(data.paths)
    for path in data.paths:
        assert cover(ranges[path], 0, Path(path).stat().st_size)


def test_the_bytes_are_in_the_readers_buffer(tmp_path: Path) -> None:
    """What is counted was really loaded: the buffer ends with the file's last piece."""
    data = Data.make(tmp_path, [10_000])
    plan = data.plan(batch=1)
    buffer = aligned_buffer(4096)
    pool = ReaderPool(
        plan, lambda v: data.extent(plan, v), lambda _v, _n: 1, [buffer], direct=False, ahead=1
    )
    consume(pool, 1)
    content = Path(data.paths[0]).read_bytes()
    assert bytes(buffer) == content[8192:] + content[4096 + 1808 : 8192]


def test_every_visit_is_timed(tmp_path: Path) -> None:
    """A reader's busy time is the sum over its visits, and none is left out."""
    data = Data.make(tmp_path, [5000] * 20)
    plan = data.plan(batch=4)
    pool = data.pool(plan)
    consume(pool, plan.steps)
    assert min(pool.visit_ns) > 0
    assert sum(pool.visit_ns) == sum(pool.busy_ns)


def test_waiting_for_room_is_not_reading(tmp_path: Path) -> None:
    """The time a stream is held back by the window does not count as its reader's."""
    data = Data.make(tmp_path, [100], samples=20)
    plan = data.plan(batch=10)
    pool = data.pool(plan, threads=1, length=100, ahead=1)
    with pool:
        until(lambda: pool.batches._begun == 10)
        time.sleep(0.3)
        take(pool, range(plan.steps))
    assert 0 < pool.visit_ns[0] < 300_000_000


def test_ordered_batches_wait_for_their_own_samples(tmp_path: Path) -> None:
    """A slow file holds its batch back although the samples of the others are in."""
    data = Data.make(tmp_path, [100] * 8)
    gate = threading.Event()
    plan = data.plan(batch=2)
    pool = data.pool(plan, before=lambda visit: visit == 1 and gate.wait() and None)
    done: list[int] = []

    def work() -> None:
        for step in range(plan.steps):
            pool.batches.wait(step)
            done.append(step)

    with pool:
        consumer = threading.Thread(target=work, daemon=True)
        consumer.start()
        until(lambda: sum(ns > 0 for ns in pool.visit_ns) == 7)
        assert done == []
        gate.set()
        consumer.join(PATIENCE)
    assert done == [0, 1, 2, 3]


def test_streams_are_interleaved(tmp_path: Path) -> None:
    """With many samples per file the other files' samples make the batches of a slow one."""
    data = Data.make(tmp_path, [100] * 4, samples=5)
    gate = threading.Event()
    plan = data.plan(batch=5)
    pool = data.pool(plan, before=lambda visit: visit == 0 and gate.wait() and None)
    try:
        with pool:
            take(pool, range(3))
            assert pool.visit_ns[0] == 0
            gate.set()
            take(pool, range(3, 4))
    finally:
        gate.set()
    assert pool.visit_ns[0] > 0


def test_ordered_readers_stay_in_the_window(tmp_path: Path) -> None:
    """No file outside the window is begun, and each batch taken opens it by one batch."""
    data = Data.make(tmp_path, [100] * 12)
    plan = data.plan(batch=2)
    begun: set[int] = set()
    pool = data.pool(plan, threads=5, ahead=2, before=begun.add)
    with pool:
        for step in range(plan.steps):
            room = min((step + 2) * 2, 12)
            until(lambda room=room: len(begun) == room and all(pool.visit_ns[:room]))
            time.sleep(0.01)
            assert begun == set(range(room))
            take(pool, range(step, step + 1))


def test_streams_stay_in_the_window(
    tmp_path: Path, ranges: dict[str, list[tuple[int, int]]]
) -> None:
    """No more samples than the window holds are read, and each batch taken opens it by one."""
    data = Data.make(tmp_path, [100] * 3, samples=20)
    plan = data.plan(batch=5)
    pool = data.pool(plan, threads=2, length=200, ahead=3)

    def samples_read() -> int:
        return sum(end - begin for pieces in list(ranges.values()) for begin, end in pieces) // 100

    with pool:
        for step in range(plan.steps):
            room = min((step + 3) * 5, 60)
            # Reads are of two samples: an odd one may be left.
            until(lambda room=room: samples_read() >= room - 1)
            time.sleep(0.01)
            assert samples_read() <= room
            take(pool, range(step, step + 1))
    assert samples_read() == 60


def test_a_read_larger_than_the_window_passes(tmp_path: Path) -> None:
    """Reads that complete several batches at once neither hang nor run on without limit."""
    data = Data.make(tmp_path, [10] * 4, samples=100)
    plan = data.plan(batch=3)
    pool = data.pool(plan, threads=2, length=500, ahead=1)
    with pool:
        until(lambda: pool.batches._arrived == 50)
        time.sleep(0.01)
        assert pool.batches._begun == 50
        for step in range(plan.steps):
            take(pool, range(step, step + 1))
            assert pool.batches._begun < (step + 2) * 3 + 50
    assert pool.batches._begun >= plan.steps * 3


@pytest.mark.parametrize("samples", [1, 5])
def test_a_truncated_file_is_named(tmp_path: Path, direct: bool, samples: int) -> None:
    """The consumer gets an error with the file's name and both lengths; nothing hangs."""
    data = Data.make(tmp_path, [20_000] * 6, samples)
    os.truncate(data.paths[3], 13_001)
    plan = data.plan(batch=2)
    expected = f"{data.paths[3]} is truncated: it ends at 13001 of {20_000 * samples} bytes"
    with pytest.raises(BenchmarkError, match=expected):
        consume(data.pool(plan, length=20_480, direct=direct, ahead=1), plan.steps)


@pytest.mark.parametrize("samples", [1, 5])
def test_a_missing_file_is_named(tmp_path: Path, samples: int) -> None:
    """The consumer gets an error with the file's name, whichever batch it waits for."""
    data = Data.make(tmp_path, [5000] * 6, samples)
    Path(data.paths[5]).unlink()
    plan = data.plan(batch=2)
    with pytest.raises(BenchmarkError, match=f"{data.paths[5]} is missing"):
        consume(data.pool(plan, ahead=1), plan.steps)


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    """An error of reading, not only of opening, says which file it was."""
    data = Data.make(tmp_path, [5000] * 3)
    Path(data.paths[1]).unlink()
    Path(data.paths[1]).mkdir()
    with pytest.raises(BenchmarkError, match=f"cannot read {data.paths[1]}: Is a directory"):
        consume(data.pool(data.plan(batch=1)), 3)


@pytest.mark.parametrize("samples", [1, 5])
def test_any_exception_of_a_reader_reaches_the_consumer(tmp_path: Path, samples: int) -> None:
    """An unforeseen error ends the epoch at the consumer, also while other readers wait."""
    data = Data.make(tmp_path, [5000] * 8, samples)

    def explode(visit: int) -> None:
        if visit == 4:
            raise ZeroDivisionError("visit 4")

    plan = data.plan(batch=1)
    with pytest.raises(ZeroDivisionError, match="visit 4"):
        consume(data.pool(plan, ahead=2, before=explode), plan.steps)


@pytest.mark.parametrize("samples", [1, 5])
def test_leaving_early_ends_the_readers(tmp_path: Path, samples: int) -> None:
    """After a batch the pool is left while readers wait for room: all threads end."""
    data = Data.make(tmp_path, [5000] * 40, samples)
    plan = data.plan(batch=1)
    pool = data.pool(plan, threads=4, ahead=1)
    with pool:
        take(pool, range(1))
    assert not any(thread.is_alive() for thread in pool._threads)
    assert sum(ns > 0 for ns in pool.visit_ns) < 40


@pytest.mark.parametrize("samples", [1, 5])
def test_leaving_early_begins_no_file_more(tmp_path: Path, samples: int) -> None:
    """Readers that have room stop too: the file in the making is the last."""
    data = Data.make(tmp_path, [4000] * 40, samples)
    plan = data.plan(batch=1)
    gate, begun = threading.Event(), []

    def note(visit: int) -> None:
        begun.append(visit)
        if visit == 2:
            gate.wait(PATIENCE)

    pool = data.pool(plan, threads=1, ahead=1000, before=note)
    with pool:
        until(lambda: len(begun) == 3)
        pool.batches.close()
        gate.set()
    assert begun == [0, 1, 2]


@pytest.mark.parametrize("samples", [1, 4])
def test_leaving_early_does_not_finish_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    """A reader in the middle of a file stops after the read it is in."""
    data = Data.make(tmp_path, [400_000], samples)
    plan = data.plan(batch=1)
    gate, reads = threading.Event(), [0]
    preadv = os.preadv

    def slow(fd: int, views: list[memoryview], offset: int) -> int:
        reads[0] += 1
        if reads[0] == 3:
            gate.wait(PATIENCE)
        return preadv(fd, views, offset)

    monkeypatch.setattr(os, "preadv", slow)
    pool = data.pool(plan, threads=1)
    with pool:
        until(lambda: reads[0] == 3)
        pool.batches.close()
        gate.set()
    assert reads[0] == 3
    assert sum(pool.bytes_read) == 0


@pytest.mark.parametrize("samples", [1, 6])
def test_short_reads_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool, samples: int
) -> None:
    """When the kernel gives less than asked the rest is read, from a block's start if direct.

    The window is one batch of exactly the samples of one read: a reader that asked for more room
    before it has all of the former read would wait for itself.
    """
    data = Data.make(tmp_path, [4096] * 4, samples)
    plan = data.plan(batch=2)
    preadv = os.preadv
    offsets: list[int] = []

    def short(fd: int, views: list[memoryview], offset: int) -> int:
        offsets.append(offset)
        got = preadv(fd, views, offset)
        # 4000 bytes of progress at least, so that a block's start is passed sooner or later.
        return got - 100 if got > 4096 else got

    monkeypatch.setattr(os, "preadv", short)
    pool = data.pool(plan, threads=2, length=8192, direct=direct, ahead=1)
    consume(pool, plan.steps)
    assert sum(pool.bytes_read) == 4096 * 4 * samples
    if samples > 1:
        assert {offset % 4096 for offset in offsets} == ({0} if direct else {0, 3996})


def test_neighbours_read_a_shared_file_in_parts(
    tmp_path: Path, ranges: dict[str, list[tuple[int, int]]]
) -> None:
    """Over all ranks every byte of a multi-sample file is read once, also at the ranks' borders."""
    data = Data.make(tmp_path, [501, 4096, 333, 7000], samples=9)
    for rank in range(4):
        plan = data.plan(batch=3, rank=rank, ranks=4)
        assert plan.steps == 3
        before = sum(len(pieces) for pieces in ranges.values())
        consume(data.pool(plan, length=1000, ahead=1), plan.steps)
        assert sum(len(pieces) for pieces in ranges.values()) > before
    for path in data.paths:
        assert cover(ranges[path], 0, Path(path).stat().st_size)


def test_a_direct_part_takes_its_whole_blocks_along(
    tmp_path: Path, direct: bool, ranges: dict[str, list[tuple[int, int]]]
) -> None:
    """Parts that begin within a block are read direct and buffered alike, for the same counts.

    A direct read begins at a block's start, and no block within a part is read twice.
    """
    data = Data.make(tmp_path, [1000] * 5, samples=11)
    counts = []
    for rank in range(4):
        plan = data.plan(batch=1, rank=rank, ranks=4)
        pool = data.pool(plan, direct=direct, ahead=2)
        consume(pool, plan.steps)
        counts.append((plan.steps, pool.batches._arrived, sum(pool.bytes_read)))
    assert counts == [(13, 13, 13_000)] * 4
    reads = [piece for pieces in ranges.values() for piece in pieces]
    assert len(reads) == (17 if direct else 16)
    assert not direct or all(begin % 4096 == 0 for begin, _ in reads)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """Files whose samples have very different sizes."""
    sizes = [7, 4096, 1, 900, 12_288, 33]
    return Data.make(tmp_path_factory.mktemp("uneven"), sizes, samples=8)


# Without shrinking: an example that hangs is waited for once only.
@settings(max_examples=60, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(
    batch=st.integers(1, 11),
    ranks=st.integers(1, 5),
    threads=st.integers(1, 6),
    length=st.integers(1, 20_000).map(lambda n: max(n, 500)),
    ahead=st.integers(0, 4),
)
def test_every_plan_is_delivered(
    uneven: Data, batch: int, ranks: int, threads: int, length: int, ahead: int
) -> None:
    """Whatever the sizes, every rank gets all its batches, and reads its extents to the byte."""
    for rank in range(ranks):
        plan = uneven.plan(batch, rank, ranks)
        pool = uneven.pool(plan, threads=threads, length=length, ahead=ahead)
        consume(pool, plan.steps)
        extents = [uneven.extent(plan, visit) for visit in range(len(plan.files))]
        # What is beyond the last batch's need may still be given up, but there is nothing beyond.
        assert sum(pool.bytes_read) == sum(end - begin for _, begin, end in extents)


def test_a_batch_is_counted_down_by_its_own_size() -> None:
    """Samples that overflow a batch count for the next; the consumer passes when they are in."""
    plan = EpochPlan(np.array([0, 1]), np.array([0, 0]), np.array([5, 1]), steps=3, batch=2)
    batches = Batches(plan, ahead=1)
    assert not batches.ordered
    batches.arrive(5)
    batches.wait(0)
    batches.wait(1)
    batches.arrive(1)
    batches.wait(2)
