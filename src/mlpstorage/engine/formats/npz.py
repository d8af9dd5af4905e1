"""NPZ as `numpy.savez` writes it: a stored zip with the members x.npy (payload) and y.npy (labels).

x is uint8 of shape (rows, columns, samples), y is int64 zeros of shape (samples,). Of several
samples x is in Fortran order, so that a sample's bytes stand together in the file. The bytes are
the same as numpy's own, but streamed, and with a size that is known beforehand. Structures are
those of PKWARE's APPNOTE 6.3.10; like Python's zipfile, the 64-bit ones are used from 2 GiB on.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.engine.formats import Layout, SelfContained
from mlpstorage.engine.formats.packer import Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlpstorage.engine.formats import LaidOut
    from mlpstorage.engine.payload import Filler

# The shape's padding (21 digits for the first axis) rounds every header of ours up to this.
_NPY_HEADER_BYTES = 128
_LOCAL = struct.Struct("<4sBBHHHHIIIHH")
_LOCAL_ZIP64 = struct.Struct("<HHQQ")
_CENTRAL = struct.Struct("<4sBBBBHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END_ZIP64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_ZIP64 = struct.Struct("<4sIQI")
_CRC_OFFSET = 14
_NAME_BYTES = 5
_MEMBER_HEADER_BYTES = _LOCAL.size + _NAME_BYTES + _LOCAL_ZIP64.size
_ZIP64_LIMIT = (1 << 31) - 1
_MAX_32 = 0xFFFFFFFF
_VERSION = 45
_UNIX = 3
_DATE_1980 = 0x21
_MODE = 0o600 << 16


@dataclass(frozen=True)
class _Member:
    """One member of the zip: its name, where its local header stands, its size and CRC-32."""

    name: bytes
    offset: int
    size: int
    crc: int

    def local_header(self) -> bytes:
        sizes = _LOCAL_ZIP64.pack(1, 16, self.size, self.size)
        return (
            _LOCAL.pack(
                b"PK\3\4", _VERSION, 0, 0, 0, 0, _DATE_1980, self.crc,
                _MAX_32, _MAX_32, len(self.name), len(sizes),
            )
            + self.name
            + sizes
        )  # fmt: skip

    def central_header(self) -> bytes:
        wide = [self.size, self.size] if self.size > _ZIP64_LIMIT else []
        size = _MAX_32 if wide else self.size
        offset = self.offset
        if offset > _ZIP64_LIMIT:
            wide.append(offset)
            offset = _MAX_32
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        return (
            _CENTRAL.pack(
                b"PK\1\2", _VERSION, _UNIX, _VERSION, 0, 0, 0, 0, _DATE_1980, self.crc,
                size, size, len(self.name), len(extra), 0, 0, 0, _MODE, offset,
            )
            + self.name
            + extra
        )  # fmt: skip


class Npz(SelfContained):
    """A stored zip of two arrays; one sample per file in every published workload."""

    name = "npz"
    extension = "npz"

    def payload_bytes(self, record_bytes: int) -> int:
        """A sample is a matrix of isqrt(record) rows: at most isqrt(record) - 1 bytes are lost.

        >>> Npz().payload_bytes(146_600_628)
        146591556
        """
        rows = math.isqrt(record_bytes)
        return rows * (record_bytes // rows)

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The sizes of the two members and of the directory that follows them."""
        rows = _isqrt(record_bytes)
        x_size = _NPY_HEADER_BYTES + rows * (record_bytes // rows) * samples
        y_offset = _MEMBER_HEADER_BYTES + x_size
        directory = y_offset + _MEMBER_HEADER_BYTES + _NPY_HEADER_BYTES + 8 * samples
        y_wide = 8 * samples + _NPY_HEADER_BYTES > _ZIP64_LIMIT
        x_extra = np.where(x_size > _ZIP64_LIMIT, 4 + 16, 0)
        y_extra = 16 * y_wide + 8 * (y_offset > _ZIP64_LIMIT)
        y_extra = y_extra + 4 * (y_extra > 0)
        end = np.where(directory > _ZIP64_LIMIT, _END_ZIP64.size + _LOCATOR_ZIP64.size, 0)
        fixed = 2 * (_CENTRAL.size + _NAME_BYTES) + _END.size
        sizes: NDArray[np.int64] = directory + x_extra + y_extra + end + fixed
        return sizes

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """Samples stand one after the other."""
        size = int(self.file_bytes(np.asarray(record_bytes, np.int64), samples))
        start = _MEMBER_HEADER_BYTES + _NPY_HEADER_BYTES
        return Layout(size, start, self.payload_bytes(record_bytes), samples)

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file from start to end, then once more the 4 bytes of x's CRC-32 in its header."""
        from zlib_ng.zlib_ng import crc32

        packer = Packer(buffer)
        rows = math.isqrt(record_bytes)
        columns = record_bytes // rows
        # numpy calls an array C-ordered that is in both orders.
        fortran = samples > 1 and columns > 1
        head = _npy_header("|u1", f"({rows}, {columns}, {samples})", fortran=fortran)
        x_bytes = rows * columns * samples
        x = _Member(b"x.npy", 0, len(head) + x_bytes, 0)
        yield from packer.put(x.local_header() + head)
        crc = yield from packer.fill(payload, x_bytes, crc32, crc32(head))
        x = _Member(x.name, x.offset, x.size, crc)

        head = _npy_header("<i8", f"({samples},)")
        y = _Member(b"y.npy", packer.position, len(head) + 8 * samples, 0)
        y = _Member(y.name, y.offset, y.size, _crc32_of_zeros(8 * samples, crc32(head)))
        yield from packer.put(y.local_header() + head)
        yield from packer.zeros(8 * samples)
        yield from packer.put(_directory((x, y), packer.position))
        yield from packer.rest()
        yield _CRC_OFFSET, memoryview(struct.pack("<I", crc))


def _npy_header(dtype: str, shape: str, *, fortran: bool = False) -> bytes:
    """The header of NPY format 1.0, padded as numpy pads it."""
    text = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    room = _NPY_HEADER_BYTES - 10
    return b"\x93NUMPY\1\0" + struct.pack("<H", room) + text.ljust(room - 1).encode() + b"\n"


def _crc32_of_zeros(count: int, crc: int) -> int:
    from zlib_ng.zlib_ng import crc32

    zeros = memoryview(bytes(min(count, 1 << 20)))
    while count:
        step = min(count, len(zeros))
        crc = crc32(zeros[:step], crc)
        count -= step
    return crc


def _directory(members: tuple[_Member, ...], offset: int) -> bytes:
    """The central directory that stands at `offset`, and the records that end the file."""
    headers = b"".join(member.central_header() for member in members)
    count, size = len(members), len(headers)
    wide = b""
    if offset > _ZIP64_LIMIT:
        wide = _END_ZIP64.pack(
            b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, count, count, size, offset
        ) + _LOCATOR_ZIP64.pack(b"PK\6\7", 0, offset + size, 1)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, size, min(offset, _MAX_32), 0)
    return headers + wide + end


def _isqrt(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integer square roots; exact below 2**52, mended by one where the float was rounded up."""
    roots = np.sqrt(values.astype(np.float64)).astype(np.int64)
    exact: NDArray[np.int64] = roots - (roots * roots > values)
    return exact


FORMAT: LaidOut = Npz()
