"""Indexed binary as DLIO 2.0.0 lays it out: bare samples, and two index files beside each file.

`<file>.off.idx` holds the offset of every sample in the file, `<file>.sz.idx` its size, both as
64-bit integers of the machine that wrote them; here always little-endian, as on all machines that
DLIO runs on. DLIO's offsets begin again at 0 with every generation buffer (a slip: its readers then
read the wrong samples); ours are those of the whole file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats import COMPANION_SUFFIXES, Companion, Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_ENTRY_BYTES = 8


def _offsets(record_bytes: int, samples: range) -> bytes:
    offsets = np.arange(samples.start, samples.stop) * record_bytes
    return offsets.astype("<i8").tobytes()


def _sizes(record_bytes: int, samples: range) -> bytes:
    return np.full(len(samples), record_bytes, "<i8").tobytes()


_OFFSET_SUFFIX, _SIZE_SUFFIX = COMPANION_SUFFIXES
_COMPANIONS = (
    Companion(_OFFSET_SUFFIX, _ENTRY_BYTES, _offsets),
    Companion(_SIZE_SUFFIX, _ENTRY_BYTES, _sizes),
)


class IndexedBinary(SelfContained):
    """Samples one after the other, found by an index of offsets and one of sizes."""

    name = "indexed_binary"
    extension = "indexed_binary"
    companions = _COMPANIONS

    def payload_bytes(self, record_bytes: int) -> int:
        """A sample holds exactly what was drawn."""
        return record_bytes

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """Nothing but samples."""
        return record_bytes * samples

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Samples stand one after the other."""
        return Layout(record_bytes * samples, 0, record_bytes, samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        packer = Packer(buffer)
        yield from packer.fill(payload, record_bytes * samples)
        yield from packer.rest()


FORMAT: LaidOut = IndexedBinary()
