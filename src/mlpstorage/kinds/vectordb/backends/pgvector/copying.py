"""Rows as PostgreSQL's binary COPY takes them, packed by numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_FIELDS = 2


def packed_rows(first_id: int, vectors: NDArray[np.float32]) -> bytes:
    """A whole COPY of ids and vectors, header and end included.

    >>> len(packed_rows(7, np.zeros((2, 3), np.float32))) - len(_SIGNATURE) - len(_END)
    68
    """
    count, dimension = vectors.shape
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">u2"),
            ("unused", ">u2"),
            ("vector", ">f4", (dimension,)),
        ]
    )
    rows = np.zeros(count, row)
    rows["fields"], rows["id_bytes"], rows["vector_bytes"] = _FIELDS, 8, 4 + 4 * dimension
    rows["id"] = np.arange(first_id, first_id + count)
    rows["dimension"], rows["vector"] = dimension, vectors
    return _SIGNATURE + rows.tobytes() + _END


def packed_vector(vector: NDArray[np.float32]) -> bytes:
    """One vector as pgvector sends and takes it: its length, two bytes of nothing, its numbers.

    >>> packed_vector(np.ones(1, np.float32)).hex()
    '000100003f800000'
    """
    return len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f4").tobytes()
