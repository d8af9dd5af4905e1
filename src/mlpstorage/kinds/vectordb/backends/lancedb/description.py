"""What `lancedb` is, without its wheel."""

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

REFINE_FACTOR = 10
# A row's id, in the table and in the index.
_ROW_BYTES = 16
# Milliseconds of one core per vector and number; measured with 20,000 × 128.
_BUILD_MS_PER_NUMBER = 0.006


def parts_for(dimension: int, asked: int) -> int:
    """Parts of a compressed vector: what is asked, or one for every eight numbers.

    A part must hold equally many numbers, so there are as many as divide the dimension.

    >>> parts_for(768, 0), parts_for(100, 0), parts_for(768, 48)
    (96, 10, 48)
    """
    wanted = asked or max(1, dimension // 8)
    return asked or next(parts for parts in range(wanted, 0, -1) if dimension % parts == 0)


def _footprint(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """Raw vectors in the table, and compressed ones in the index, whose centroids are in memory.

    The table is written twice, as building joins its fragments first.
    """
    raw = vectors * (dimension * 4 + _ROW_BYTES // 2)
    lists = build["num_partitions"] or max(1, round(math.sqrt(vectors)))
    compressed = vectors * (parts_for(dimension, build["num_sub_vectors"]) + _ROW_BYTES // 2)
    disk = raw + compressed + lists * dimension * 4
    return Footprint(
        memory_bytes=lists * dimension * 4 + compressed,
        disk_bytes=disk,
        build_disk_bytes=disk + raw,
        build_core_seconds=vectors * _BUILD_MS_PER_NUMBER * dimension / 1000,
    )


LANCEDB = Description(
    name="lancedb",
    title="LanceDB, inverted lists of compressed vectors in this process",
    indexes=(
        IndexType(
            "IVF_PQ",
            effort=Parameter("nprobes", 16, 1, 65536, "lists that a query reads"),
            footprint=_footprint,
            build=(
                Parameter("num_partitions", 0, 0, 65536, "lists; 0: chosen by LanceDB"),
                Parameter(
                    "num_sub_vectors", 0, 0, 4096, "parts of a compressed vector; 0: dimension/8"
                ),
            ),
            search=(
                Parameter(
                    "refine_factor",
                    REFINE_FACTOR,
                    1,
                    1000,
                    "whole vectors compared, × k, per query",
                ),
            ),
        ),
    ),
    metrics=("cosine", "l2", "ip"),
    connector="mlpstorage.kinds.vectordb.backends.lancedb.engine:Lancedb",
    extra="lancedb",
    modules=("lancedb",),
)
