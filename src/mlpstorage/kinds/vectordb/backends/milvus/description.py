"""What `milvus` is, without its client."""

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
    from collections.abc import Callable

    from mlpstorage.kinds.vectordb.backends.interface import Parameters

_SECTOR = 4096
_ID_BYTES = 8
# Milliseconds of one core per vector and number.
_GRAPH_MS_PER_NUMBER, _IVF_MS_PER_NUMBER = 0.01, 0.001
# The object store keeps raw vectors beside the index, and a segment twice while it is compacted.
_COMPACTION = 2


def _footprint(
    index_bytes: int, memory_bytes: int, vectors: int, dimension: int, core_ms: float
) -> Footprint:
    raw = vectors * (dimension * 4 + _ID_BYTES)
    return Footprint(
        memory_bytes=memory_bytes,
        disk_bytes=raw + index_bytes,
        build_disk_bytes=_COMPACTION * raw + index_bytes,
        build_core_seconds=vectors * core_ms / 1000,
    )


def _nodes(vectors: int, node_bytes: int) -> int:
    """Bytes of a graph on disk, whose nodes lie in whole sectors."""
    if node_bytes <= _SECTOR:
        return math.ceil(vectors / (_SECTOR // node_bytes)) * _SECTOR
    return vectors * math.ceil(node_bytes / _SECTOR) * _SECTOR


def _diskann(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """A node per vector in whole sectors; compressed vectors in memory.

    Milvus allows compressed vectors `pq_code_budget_gb_ratio` (an eighth) of the raw bytes.
    """
    compressed = vectors * dimension * 4 // 8
    nodes = _nodes(vectors, 4 * dimension + 4 * build["max_degree"] + 4)
    ms = _GRAPH_MS_PER_NUMBER * dimension
    return _footprint(nodes + compressed, compressed, vectors, dimension, ms)


def _aisaq(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """As DISKANN, with compressed neighbours within the nodes, and so hardly anything in memory."""
    compressed = vectors * dimension * 4 // 8
    inline = build["inline_pq"] * dimension // 8
    nodes = _nodes(vectors, 4 * dimension + 4 * build["max_degree"] + 4 + inline)
    ms = _GRAPH_MS_PER_NUMBER * dimension
    return _footprint(nodes + compressed, vectors * _ID_BYTES, vectors, dimension, ms)


def _hnsw(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """Vectors and neighbours, all of them in memory."""
    index = vectors * (4 * dimension + round(4 * 2.1 * build["M"]) + _ID_BYTES)
    ms = _GRAPH_MS_PER_NUMBER * dimension * build["efConstruction"] / 200
    return _footprint(index, index, vectors, dimension, ms)


def _ivf(bytes_per_number: int) -> Callable[[int, int, Parameters], Footprint]:
    def footprint(vectors: int, dimension: int, build: Parameters) -> Footprint:
        """Vectors in lists, and centroids, all of them in memory."""
        index = (
            vectors * (bytes_per_number * dimension + _ID_BYTES) + build["nlist"] * dimension * 4
        )
        return _footprint(index, index, vectors, dimension, _IVF_MS_PER_NUMBER * dimension)

    return footprint


_GRAPH = (
    Parameter("max_degree", 56, 1, 512, "neighbours of a node"),
    Parameter("search_list_size", 100, 1, 2000, "candidates while building"),
)
_NLIST = (Parameter("nlist", 128, 1, 65536, "inverted lists"),)
_NPROBE = Parameter("nprobe", 8, 1, 65536, "lists that a query reads")
_SEARCH_LIST = Parameter("search_list", 50, 1, 10_000, "candidates that a search keeps")

MILVUS = Description(
    name="milvus",
    title="Milvus, a server",
    indexes=(
        IndexType(
            "DISKANN", effort=_SEARCH_LIST, footprint=_diskann, effort_from_k=True, build=_GRAPH
        ),
        IndexType(
            "AISAQ",
            effort=_SEARCH_LIST,
            footprint=_aisaq,
            effort_from_k=True,
            build=(
                *_GRAPH,
                Parameter("inline_pq", 0, 0, 512, "neighbours compressed within a node; 0: none"),
            ),
        ),
        IndexType(
            "HNSW",
            effort=Parameter("ef", 64, 1, 32768, "candidates that a search keeps"),
            footprint=_hnsw,
            effort_from_k=True,
            build=(
                Parameter("M", 16, 2, 2048, "neighbours of a node"),
                Parameter("efConstruction", 200, 1, 100_000, "candidates while building"),
            ),
        ),
        IndexType("IVF_FLAT", effort=_NPROBE, footprint=_ivf(4), build=_NLIST),
        IndexType("IVF_SQ8", effort=_NPROBE, footprint=_ivf(1), build=_NLIST),
    ),
    metrics=("cosine", "l2", "ip"),
    connector="mlpstorage.kinds.vectordb.backends.milvus.engine:Milvus",
    extra="milvus",
    modules=("pymilvus",),
    server=True,
    closed=("DISKANN", "AISAQ"),
    default_port=19530,
)
