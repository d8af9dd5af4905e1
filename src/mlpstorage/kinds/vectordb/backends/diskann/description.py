"""What `diskannpy-rust` is, without its wheel."""

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

SECTOR = 4096
BEAM_WIDTH = 4
# A node's neighbours may exceed the degree by this much while the graph is built.
_SLACK = 1.3
# Milliseconds of one core per vector: at dimension 0, and per number.
# Measured with 20,000 × 128; at 100,000 × 768 on busy cores it took 5.8 ms.
_BUILD_MS, _BUILD_MS_PER_NUMBER = 0.5, 0.0065


def chunks_for(dimension: int, asked: int) -> int:
    """Bytes of a compressed vector: what is asked, or one for every eight numbers.

    >>> chunks_for(768, 0), chunks_for(128, 0), chunks_for(4, 0)
    (96, 16, 4)
    """
    return min(asked or max(16, dimension // 8), dimension)


def _footprint(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """A node per vector in whole sectors, and compressed vectors in memory and on disk.

    Building keeps vectors and graph in memory as well, and the vectors in a file of their own.
    """
    node = 4 * dimension + 4 * build["graph_degree"] + 4
    if node <= SECTOR:
        sectors = math.ceil(vectors / (SECTOR // node))
    else:
        sectors = vectors * math.ceil(node / SECTOR)
    compressed = vectors * chunks_for(dimension, build["num_pq_chunks"])
    disk = sectors * SECTOR + compressed
    graph = round(vectors * 4 * _SLACK * build["graph_degree"])
    return Footprint(
        memory_bytes=compressed,
        disk_bytes=disk,
        build_disk_bytes=disk + vectors * dimension * 4 + graph,
        build_core_seconds=vectors * (_BUILD_MS + _BUILD_MS_PER_NUMBER * dimension) / 1000,
    )


DISKANN = Description(
    name="diskannpy-rust",
    title="DiskANN in Rust, a static graph in this process",
    indexes=(
        IndexType(
            "DISKANN",
            effort=Parameter("complexity", 50, 1, 10_000, "candidates that a search keeps"),
            footprint=_footprint,
            effort_from_k=True,
            build=(
                Parameter("graph_degree", 64, 4, 512, "neighbours of a node"),
                Parameter("complexity", 100, 4, 2000, "candidates while building"),
                Parameter(
                    "num_pq_chunks", 0, 0, 4096, "bytes of a compressed vector; 0: dimension/8"
                ),
            ),
            search=(
                Parameter("beam_width", BEAM_WIDTH, 1, 64, "reads that a search has under way"),
            ),
        ),
    ),
    # Its own distance for ip is not offered for indexes on disk.
    metrics=("cosine", "l2"),
    connector="mlpstorage.kinds.vectordb.backends.diskann.engine:Diskann",
    extra="diskannpy-rust",
    modules=("diskannpy",),
    direct=True,
    closed=("DISKANN",),
)
