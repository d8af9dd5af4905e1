"""Pages in the frames of Parquet's codecs, written without a compression library.

Payload is incompressible, so all that a codec can do with it is to store it, and so do the usual
libraries: literals in Snappy and LZ4, stored blocks in gzip, raw blocks in Zstandard. Here this is
done directly. Any reader decompresses these pages, their sizes are known beforehand to the byte,
and a data set's bytes do not depend on the version of a library.

Sources: google/snappy format_description.txt; RFC 1951 and 1952; lz4 doc/lz4_Block_format.md;
RFC 8878; apache/parquet-format Compression.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpstorage.engine.formats.parquet.thrift import varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mlpstorage.engine.formats.parquet.schema import Compression

# Numbers of the enumeration CompressionCodec; lz4 is LZ4_RAW, which replaced Hadoop's framing.
CODEC_NUMBERS = {"none": 0, "snappy": 1, "gzip": 2, "zstd": 6, "lz4": 7}

# As libsnappy cuts its input.
_SNAPPY_BLOCK = 1 << 16
_SNAPPY_SHORT, _SNAPPY_ONE_BYTE = 60, 1 << 8
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_GZIP_BLOCK = (1 << 16) - 1
_GZIP_TAIL_BYTES = 8
_LZ4_SHORT, _LZ4_MORE = 15, 255
_ZSTD_BLOCK = 1 << 17
# Magic number; a content size of 4 bytes follows a window of 128 KiB, the size of a block.
_ZSTD_HEAD = b"\x28\xb5\x2f\xfd\x80\x38"


class Part(NamedTuple):
    """Some bytes of a page, described: they are made only when the file is written.

    Payload if `pattern` is empty; payload with `pattern` on every multiple of `stride` if there is
    one; else `pattern` again and again. `phase` is where in that cycle the part begins. `framing`
    is what stands around a page's content.
    """

    length: int
    pattern: bytes = b""
    stride: int = 0
    phase: int = 0
    framing: bool = False

    def cut(self, length: int) -> tuple[Part, Part]:
        """The first `length` bytes, and the others."""
        cycle = self.stride or len(self.pattern) or 1
        rest = self._replace(length=self.length - length, phase=(self.phase + length) % cycle)
        return self._replace(length=length), rest


class Checksum(NamedTuple):
    """The end of a gzip member: CRC-32 and size of the content since the last one."""

    size: int


Step = Part | Checksum


def literal(data: bytes, *, framing: bool = False) -> Part:
    """A part of just these bytes."""
    return Part(len(data), data, framing=framing)


def framed(codec: Compression, content: Sequence[Part], size: int) -> Iterator[Step]:
    """The compressed form of a page whose content are parts of `size` bytes together."""
    if codec == "none":
        yield from content
    elif codec == "snappy":
        yield literal(varint(size), framing=True)
        yield from _blocks(content, size, _SNAPPY_BLOCK, _snappy_head)
    elif codec == "gzip":
        yield literal(_GZIP_HEAD, framing=True)
        yield from _blocks(content, size, _GZIP_BLOCK, _gzip_head)
        yield Checksum(size)
    elif codec == "lz4":
        yield from _lz4_head(size)
        yield from content
    else:
        yield literal(_ZSTD_HEAD + struct.pack("<I", size), framing=True)
        yield from _blocks(content, size, _ZSTD_BLOCK, _zstd_head)


def framed_bytes(codec: Compression, size: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sizes of compressed pages whose contents have these sizes, each at least 1."""
    if codec == "none":
        return size
    if codec == "snappy":
        rest = (size - 1) % _SNAPPY_BLOCK + 1
        length = 1 + (rest > _SNAPPY_SHORT) + (rest > _SNAPPY_ONE_BYTE)
        return _varint_bytes(size) + 3 * ((size - 1) // _SNAPPY_BLOCK) + length + size
    if codec == "gzip":
        return len(_GZIP_HEAD) + 5 * -(-size // _GZIP_BLOCK) + _GZIP_TAIL_BYTES + size
    if codec == "lz4":
        more = np.where(size < _LZ4_SHORT, 0, (size - _LZ4_SHORT) // _LZ4_MORE + 1)
        return 1 + more + size
    return len(_ZSTD_HEAD) + 4 + 3 * -(-size // _ZSTD_BLOCK) + size


def _blocks(
    content: Sequence[Part], size: int, most: int, head: Callable[[int, bool], bytes]
) -> Iterator[Part]:
    """The content cut into blocks of at most `most` bytes, a head before each."""
    room = 0
    for part in content:
        rest = part
        while rest.length:
            if not room:
                room = min(size, most)
                size -= room
                yield literal(head(room, not size), framing=True)
            taken, rest = rest.cut(min(room, rest.length))
            room -= taken.length
            yield taken


def _snappy_head(length: int, _last: bool) -> bytes:
    """The tag of a literal."""
    if length <= _SNAPPY_SHORT:
        return bytes([length - 1 << 2])
    if length <= _SNAPPY_ONE_BYTE:
        return bytes([60 << 2, length - 1])
    return bytes([61 << 2]) + struct.pack("<H", length - 1)


def _gzip_head(length: int, last: bool) -> bytes:
    return struct.pack("<BHH", last, length, length ^ 0xFFFF)


def _zstd_head(length: int, last: bool) -> bytes:
    return struct.pack("<I", length << 3 | last)[:3]


def _lz4_head(size: int) -> Iterator[Part]:
    """The token and length of one sequence of literals, which ends the block."""
    if size < _LZ4_SHORT:
        yield literal(bytes([size << 4]), framing=True)
        return
    more, last = divmod(size - _LZ4_SHORT, _LZ4_MORE)
    yield literal(b"\xf0", framing=True)
    if more:
        yield Part(more, b"\xff", framing=True)
    yield literal(bytes([last]), framing=True)


def _varint_bytes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    length = np.ones_like(values)
    for bits in range(7, 63, 7):
        length += values >= np.int64(1) << bits
    return length
