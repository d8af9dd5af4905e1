"""What `zvec` is, without its wheel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlpstorage.kinds.vectordb.backends.interface import (
    Description,
    Footprint,
    IndexType,
    Parameter,
)

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.backends.interface import Parameters

_SECTOR = 4096
# A node's neighbours may exceed the degree by this much (DiskANN's graph slack).
_SLACK = 1.3
# Ids and other columns of a row on disk; measured with 20,000 × 128 and 100,000 × 768.
_ROW_BYTES = 64
# Milliseconds of one core per vector: at dimension 0, and per number (measured at the same two).
_BUILD_MS, _BUILD_MS_PER_NUMBER = 0.5, 0.0098


def _footprint(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """A node per vector in whole sectors, and compressed vectors in memory and on disk."""
    node = 4 * dimension + 4 * math.ceil(_SLACK * build["max_degree"]) + 8
    if node <= _SECTOR:
        sectors = math.ceil(vectors / (_SECTOR // node))
    else:
        sectors = vectors * math.ceil(node / _SECTOR)
    compressed = vectors * (build["pq_chunk_num"] or max(16, dimension // 8))
    disk = sectors * _SECTOR + compressed + vectors * _ROW_BYTES
    return Footprint(
        memory_bytes=compressed + vectors * 16,
        disk_bytes=disk,
        build_disk_bytes=disk + vectors * (dimension * 4 + _ROW_BYTES),
        build_core_seconds=vectors * (_BUILD_MS + _BUILD_MS_PER_NUMBER * dimension) / 1000,
    )


ZVEC = Description(
    name="zvec",
    title="zvec, a DiskANN graph in this process",
    indexes=(
        IndexType(
            "DISKANN",
            effort=Parameter("list_size", 50, 1, 10_000, "candidates that a search keeps"),
            footprint=_footprint,
            effort_from_k=True,
            build=(
                Parameter("max_degree", 64, 1, 100, "neighbours of a node"),
                Parameter("list_size", 100, 10, 100, "candidates while building"),
                Parameter("pq_chunk_num", 0, 0, 1024, "parts of a compressed vector; 0: chosen"),
            ),
        ),
    ),
    metrics=("cosine", "l2", "ip"),
    connector="mlpstorage.kinds.vectordb.backends.zvec.engine:Zvec",
    extra="zvec",
    modules=("zvec",),
    direct=True,
    closed=("DISKANN",),
)
