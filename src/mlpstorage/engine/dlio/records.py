"""The index of TFRecord files that DLIO makes by a program of NVIDIA's DALI, made here instead."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.engine.dlio.prepare import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

# A record is its length, the length's checksum, the payload and the payload's checksum.
_HEAD = struct.Struct("<QI")
_TAIL_BYTES = 4


def install() -> None:
    """Have DLIO's generator of TFRecord files call the function below, not a program."""
    generator = importlib.import_module("dlio_benchmark.data_generator.tf_generator")
    wrap(generator, "call", lambda _: _write_index_as_asked)


def _write_index_as_asked(words: Sequence[str]) -> int:
    """In the place of `tfrecord2idx RECORDS INDEX`."""
    _, records, index = words
    Path(index).write_text(index_of(Path(records)), "ascii")
    return 0


def index_of(path: Path) -> str:
    """One line for each record of a file: where it begins, and its bytes with framing.

    Raises:
        ValueError: the file ends inside a record.
    """
    size, offset, lines = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise ValueError(f"{path} ends inside a record at {offset}")
            length = _HEAD.unpack(head)[0] + _HEAD.size + _TAIL_BYTES
            if offset + length > size:
                raise ValueError(f"{path} ends inside a record at {offset}")
            lines.append(f"{offset} {length}\n")
            offset += length
    return "".join(lines)
