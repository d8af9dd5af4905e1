"""Payload bytes that no storage can compress or deduplicate, and that anyone can produce again.

The bytes are the keystream of AES-128 in counter mode (NIST SP 800-38A, 6.5): the key comes from
the seed, the upper half of the counter block is the stream (a file's index), the lower half counts
16-byte blocks. So every byte range of every stream can be made by any process, without state.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

BLOCK_BYTES = 16
# Larger calls are no faster, and a source that stays in the L2 cache leaves room for the output.
_ZEROS = memoryview(bytes(256 * 1024))


class Filler(Protocol):
    """Something that fills buffers with the next bytes of a stream."""

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of the stream into `out`."""


class Payload:
    """The endless byte stream number `stream` of a seed, from byte `offset` on.

    >>> whole, part = bytearray(100), bytearray(7)
    >>> Payload(seed=1, stream=5).fill(memoryview(whole))
    >>> Payload(seed=1, stream=5, offset=33).fill(memoryview(part))
    >>> whole[33:40] == part
    True

    Args:
        seed: Any non-negative integer; another seed gives unrelated bytes.
        stream: Which stream of the seed, below 2**64.
        offset: The first byte that `fill` gives, in bytes from the start of the stream.
    """

    def __init__(self, seed: int, stream: int, offset: int = 0) -> None:
        # Start-up: ranks that only read never load the cryptography library.
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        block, skip = divmod(offset, BLOCK_BYTES)
        counter = stream.to_bytes(8, "big") + block.to_bytes(8, "big")
        self._encryptor = Cipher(AES(key_of(seed)), CTR(counter)).encryptor()
        self._encryptor.update(bytes(skip))

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of the stream into `out` (writable, of bytes)."""
        step = len(_ZEROS)
        for start in range(0, len(out), step):
            part = out[start : start + step]
            self._encryptor.update_into(_ZEROS[: len(part)], part)


def key_of(seed: int) -> bytes:
    """The 16-byte key of a seed: the first half of a SHA-256 over its decimal digits.

    >>> key_of(1).hex(), key_of(1) == key_of(2)
    ('2d25d46185afc0f047e73716882c98e7', False)
    """
    return hashlib.sha256(b"mlpstorage payload %d" % seed).digest()[:16]
