from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.pool_consumer import consume
from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.epoch import EpochPlan
from mlpstorage.engine.parts import Part, PartsPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.engine.parts import Loaded

DATA = np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files: the same bytes, and the same bytes backwards."""
    paths = [tmp_path / "forth.bin", tmp_path / "back.bin"]
    paths[0].write_bytes(DATA)
    paths[1].write_bytes(DATA[::-1])
    return [str(path) for path in paths]


def plan_of(samples: list[int], batch: int) -> EpochPlan:
    """A plan of one visit per entry, all of file 0."""
    count = len(samples)
    zeros = np.zeros(count, np.int64)
    return EpochPlan(zeros, zeros, np.array(samples), sum(samples) // batch, batch)


def pool_of(
    parts: list[list[Part]], samples: list[int], batch: int, *, length: int = 4096,
    direct: bool = False, threads: int = 2, ahead: int = 2,
    seen: dict[int, list[tuple[str, int, bytes]]] | None = None,
) -> PartsPool:  # fmt: skip
    """A pool over these parts that notes what it decodes, if it is to decode."""

    def decode(visit: int, loaded: Sequence[Loaded]) -> None:
        assert seen is not None
        seen[visit] = [(piece.path, piece.begin, bytes(piece.data)) for piece in loaded]

    buffers = [aligned_buffer(length)[:length] for _ in range(threads)]
    return PartsPool(
        plan_of(samples, batch), parts.__getitem__, buffers, direct=direct, ahead=ahead,
        decode=None if seen is None else decode,
    )  # fmt: skip


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("length", [4096, 65536])
def test_decoders_get_exactly_the_bytes_of_every_range(
    files: list[str], *, direct: bool, length: int
) -> None:
    """Whatever the ranges and the size of a read, the decoder sees the file's own bytes."""
    ranges = [(0, 1), (4095, 4097), (5000, 50_000), (99_999, 100_000)]
    parts = [[Part(files[0], ranges), Part(files[1], [(7, 9000)])], [Part(files[1], ranges)]]
    seen: dict[int, list[tuple[str, int, bytes]]] = {}
    consume(pool_of(parts, [3, 3], 2, length=length, direct=direct, seen=seen), 3)
    contents = {path: Path(path).read_bytes() for path in files}
    for visit, expected in enumerate(parts):
        flat = [(path, begin, end) for path, found in expected for begin, end in found]
        assert seen[visit] == [(path, b, contents[path][b:e]) for path, b, e in flat]


def test_counts_are_those_of_the_ranges(files: list[str]) -> None:
    """`bytes_read` sums the ranges, every visit has its time, and nothing counts as decoding."""
    parts = [[Part(files[0], [(0, 1000), (2000, 2500)])]] * 4
    pool = pool_of(parts, [1] * 4, 2)
    consume(pool, 2)
    assert sum(pool.bytes_read) == 4 * 1500
    assert all(pool.visit_ns)
    assert sum(pool.busy_ns) == sum(pool.visit_ns)
    assert not any(pool.decode_ns)


def test_decoding_is_timed_apart_from_reading(files: list[str]) -> None:
    """What a decoder does is no part of the readers' busy time."""
    waited = threading.Event()
    parts = [[Part(files[0], [(0, 100)])]] * 2

    def slow(_visit: int, _loaded: Sequence[Loaded]) -> None:
        waited.wait(0.05)

    buffers = [aligned_buffer(4096)]
    pool = PartsPool(
        plan_of([1, 1], 1), parts.__getitem__, buffers, direct=False, ahead=2, decode=slow
    )
    consume(pool, 2)
    assert sum(pool.decode_ns) >= 100e6
    assert sum(pool.busy_ns) < sum(pool.decode_ns)


def test_files_stay_open_from_visit_to_visit(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many visits of one file cost one open per reader."""
    opened: list[str] = []
    real = os.open

    def counting(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", counting)
    parts = [[Part(files[0], [(n, n + 10)])] for n in range(50)]
    consume(pool_of(parts, [2] * 50, 10, threads=2), 10)
    assert opened.count(files[0]) <= 2


@pytest.mark.parametrize("seen", [None, {}])
def test_a_truncated_file_is_named(
    files: list[str], seen: dict[int, list[tuple[str, int, bytes]]] | None
) -> None:
    """A range beyond the end of its file ends the epoch with the file's name."""
    parts = [[Part(files[0], [(99_000, 100_001)])]]
    with pytest.raises(BenchmarkError, match=r"forth\.bin is truncated: it ends at 100000"):
        consume(pool_of(parts, [1], 1, seen=seen), 1)


@pytest.mark.parametrize("seen", [None, {}])
def test_a_missing_file_is_named(
    files: list[str], seen: dict[int, list[tuple[str, int, bytes]]] | None
) -> None:
    """A file that is gone ends the epoch with its name."""
    parts = [[Part(files[0] + "x", [(0, 1)])]]
    with pytest.raises(BenchmarkError, match=r"forth\.binx is missing"):
        consume(pool_of(parts, [1], 1, seen=seen), 1)


def test_readers_stay_within_the_room_ahead(files: list[str]) -> None:
    """No more visits are begun than batches may be in the making."""
    begun: list[int] = []
    parts = [[Part(files[0], [(0, 10)])]] * 40

    def parts_of(visit: int) -> list[Part]:
        begun.append(visit)
        return parts[visit]

    plan = plan_of([5] * 40, 10)
    pool = PartsPool(plan, parts_of, [aligned_buffer(4096)], direct=False, ahead=3)
    with pool:
        pool.batches.wait(0)
        for thread in pool._threads:
            thread.join(0.2)
        assert len(begun) <= 8
        for step in range(1, 20):
            pool.batches.wait(step)
    assert len(begun) == 40


def test_an_early_end_leaves_no_reader_behind(files: list[str]) -> None:
    """Leaving the epoch early ends the readers, also those that wait for room."""
    parts = [[Part(files[0], [(0, 10)])]] * 40
    pool = pool_of(parts, [5] * 40, 10)
    with pool:
        pool.batches.wait(0)
    assert not any(thread.is_alive() for thread in pool._threads)
