from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dlio.records import index_of
from mlpstorage.engine.formats import format_of
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path


def _records(path: Path, samples: int) -> None:
    with path.open("wb") as file:
        pieces = format_of("tfrecord").pieces(1000, samples, Payload(1, 0), aligned_buffer(1 << 16))
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)


def test_the_index_names_every_record(tmp_path: Path) -> None:
    """Each line is a record's offset and length, and together they are the file."""
    path = tmp_path / "img.tfrecord"
    _records(path, 5)
    lines = [tuple(map(int, line.split())) for line in index_of(path).splitlines()]
    assert len(lines) == 5
    assert [offset for offset, _ in lines] == [
        sum(length for _, length in lines[:number]) for number in range(5)
    ]
    assert sum(length for _, length in lines) == path.stat().st_size


def test_a_torn_file_has_no_index(tmp_path: Path) -> None:
    """A file that ends inside a record is refused with the place."""
    path = tmp_path / "img.tfrecord"
    _records(path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="ends inside a record at"):
        index_of(path)
