from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import BenchmarkError, NotFoundError
from mlpstorage.engine.checkpoint.lanes import Blocks, Buffers, Lanes, Shard
from mlpstorage.engine.checkpoint.reading import read_shards
from mlpstorage.engine.checkpoint.stamps import file_ident
from mlpstorage.engine.checkpoint.writing import write_shards
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.checkpoint.lanes import Block
    from mlpstorage.engine.checkpoint.reading import Check, ReadBack
    from mlpstorage.engine.checkpoint.stamps import StampedBuffer

MIB = 1 << 20
SEED = 9
SHARDS = [
    Shard("a.pt", 2 * MIB, file_ident(1, 0, 0)),
    Shard("b.pt", 3 * MIB, file_ident(1, 0, 1)),
]


@pytest.fixture
def buffers() -> Buffers:
    """Filled buffers for two calls of 256 KiB at a time."""
    made = Buffers(2, 256 << 10)
    for index, buffer in enumerate(made.all):
        buffer.fill(Payload(SEED, index), SEED)
    return made


@pytest.fixture
def folder(tmp_path: Path, buffers: Buffers) -> Path:
    """A written checkpoint."""
    write_shards(tmp_path / "ck", SHARDS, buffers, depth=2, direct=False)
    return tmp_path / "ck"


def _read(folder: Path, buffers: Buffers, check: Check = "stamps") -> ReadBack:
    return read_shards(folder, SHARDS, buffers, depth=2, direct=False, seed=SEED, check=check)


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_a_sound_checkpoint_has_no_mismatch(folder: Path, buffers: Buffers) -> None:
    """All stamps and one checksum of each block are compared."""
    back = _read(folder, buffers)
    assert (back.bytes, back.files, back.mismatches) == (5 * MIB, 2, 0)
    assert back.sectors_verified == 5 * MIB // 4096
    assert back.payloads_verified == 20
    assert _read(folder, buffers, "off").sectors_verified == 0


def test_a_flipped_bit_of_a_stamp_is_found_by_default(folder: Path, buffers: Buffers) -> None:
    """The mismatch names the file and the sector's offset."""
    _flip(folder / "b.pt", 2 * MIB + 17)
    back = _read(folder, buffers)
    assert back.mismatches == 1
    assert back.first_file == str(folder / "b.pt")
    assert back.first_offset == 2 * MIB


def test_a_flipped_bit_anywhere_is_found_in_full(folder: Path, buffers: Buffers) -> None:
    """Full verification finds what the stamps do not show."""
    _flip(folder / "a.pt", MIB + 4096 + 1000)
    back = _read(folder, buffers, "full")
    assert (back.mismatches, back.first_offset) == (1, MIB + 4096)
    assert "checksum" in back.first_what
    assert _read(folder, buffers, "off").mismatches == 0


def test_the_first_of_several_mismatches_is_named(folder: Path, buffers: Buffers) -> None:
    """The order is that of files and offsets, not of the threads."""
    for name, offset in (("b.pt", 0), ("a.pt", MIB), ("a.pt", 512 << 10)):
        _flip(folder / name, offset)
    back = _read(folder, buffers)
    assert back.mismatches == 3
    assert (back.first_file, back.first_offset) == (str(folder / "a.pt"), 512 << 10)


def test_swapped_files_are_told(folder: Path, buffers: Buffers) -> None:
    """A file under another's name is found by its stamps."""
    data = (folder / "b.pt").read_bytes()[: 2 * MIB]
    (folder / "a.pt").write_bytes(data)
    back = _read(folder, buffers)
    assert back.mismatches == 8
    assert "another file" in back.first_what


@pytest.mark.parametrize("length", [0, MIB, 3 * MIB - 1, 3 * MIB + 4096])
def test_another_length_is_an_error(folder: Path, buffers: Buffers, length: int) -> None:
    """A file that was truncated or grew is named with both lengths."""
    with (folder / "b.pt").open("r+b") as file:
        file.truncate(length)
    with pytest.raises(BenchmarkError) as caught:
        _read(folder, buffers)
    assert f"{folder / 'b.pt'} is t" in caught.value.what
    assert f"{length} of {3 * MIB} bytes" in caught.value.what


def test_a_missing_file_is_named(folder: Path, buffers: Buffers) -> None:
    """Nothing is read of a checkpoint without one of its files."""
    (folder / "b.pt").unlink()
    with pytest.raises(NotFoundError, match=r"b\.pt is missing"):
        _read(folder, buffers)


def test_no_more_calls_than_asked_are_in_io(buffers: Buffers) -> None:
    """There are more threads than I/O at a time, and each block is done once."""
    lanes = Lanes(Blocks([40, 2], 4), buffers.all, 2)
    inside, most, seen = [0], [0], []

    def call() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)  # lets another thread run
        inside[0] -= 1

    def work(lanes: Lanes, _buffer: StampedBuffer, block: Block) -> None:
        lanes.io(call, block.length)
        seen.append(tuple(block))
        if lanes.last_of_file(block.file):
            seen.append(("last", block.file))

    lanes.run(work, lambda _: None)
    assert most[0] <= 2
    assert len(buffers.all) == 3
    assert sorted(at for at in seen if at[0] != "last") == [
        *((0, offset, 4) for offset in range(0, 40, 4)),
        (1, 0, 2),
    ]
    assert sorted(at for at in seen if at[0] == "last") == [("last", 0), ("last", 1)]
    assert lanes.done_bytes == 42
