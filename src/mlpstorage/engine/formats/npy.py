"""NPY as `numpy.save` writes it: one uint8 array of shape (record, samples).

Sample k is `array[..., k]`, which is how the reference engine takes it. The array is in Fortran
order, so that a sample's bytes stand together in the file and one sample can be read alone.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from mlpstorage.engine.formats import Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

_HEADER_BYTES = 128
# numpy leaves room for the axis along which a file can grow (numpy.lib.format).
_GROWTH_DIGITS = 21


class Npy(SelfContained):
    """A header, then the samples one after the other."""

    name = "npy"
    extension = "npy"

    def payload_bytes(self, record_bytes: int) -> int:
        """A sample holds exactly what was drawn."""
        return record_bytes

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The header and the samples."""
        return _HEADER_BYTES + record_bytes * samples

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Samples stand one after the other."""
        size = _HEADER_BYTES + record_bytes * samples
        return Layout(size, _HEADER_BYTES, record_bytes, samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end."""
        packer = Packer(buffer)
        yield from packer.put(_header(record_bytes, samples))
        yield from packer.fill(payload, record_bytes * samples)
        yield from packer.rest()


def _header(record_bytes: int, samples: int) -> bytes:
    """The header of NPY format 1.0, to the byte as numpy writes it.

    An array with only one axis longer than 1 is in both orders, and numpy then says C.
    """
    fortran = record_bytes > 1 and samples > 1
    text = f"{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': ({record_bytes}, {samples}), }}"
    text += " " * (_GROWTH_DIGITS - len(str(samples if fortran else record_bytes)))
    room = _HEADER_BYTES - 10
    return b"\x93NUMPY\1\0" + struct.pack("<H", room) + text.ljust(room - 1).encode() + b"\n"


FORMAT: LaidOut = Npy()
