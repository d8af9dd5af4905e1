"""What a data set and its index take: the one place where that is worked out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.kinds.vectordb.backends.interface import checked_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mlpstorage.kinds.vectordb.backends.interface import Description, IndexType
    from mlpstorage.kinds.vectordb.workload import Workload

# Without a memory cap, vectors must be this many times the memory of the hosts that serve them.
MEMORY_FACTOR = 5
# What one core multiplies and adds in a second, in float32, and does of the selection besides.
_FLOPS_PER_CORE = 3e10
_TRUTH_SHARE = 2.0


@dataclass(frozen=True)
class Sizing:
    """Bytes and hours of one backend's index; `memory_bytes` is per client process or server."""

    backend: str
    index: str
    memory_bytes: int
    disk_bytes: int
    build_disk_bytes: int
    build_hours: float


def size_index(
    description: Description,
    index: IndexType,
    workload: Workload,
    given: Mapping[str, Any],
    cores: float,
) -> Sizing:
    """What the index of a backend takes, by the backend's own model.

    Raises:
        UsageError: a parameter is unknown or out of range.
    """
    data = workload.dataset
    build = checked_parameters(given, index.build, "index", description.name)
    found = index.footprint(data.num_vectors, data.dimension, build)
    return Sizing(
        backend=description.name,
        index=index.name,
        memory_bytes=found.memory_bytes,
        disk_bytes=found.disk_bytes,
        build_disk_bytes=found.build_disk_bytes,
        build_hours=found.build_core_seconds / cores / 3600,
    )


def truth_hours(workload: Workload, cores: float) -> float:
    """Hours of finding the exact neighbours: 2 · N · Q · D operations and the selection.

    >>> from mlpstorage.kinds.vectordb.workload import resolve_workload
    >>> round(truth_hours(resolve_workload("closed-1m").workload, 8), 2)
    0.07
    """
    data = workload.dataset
    operations = 2 * data.num_vectors * data.gt_queries * data.dimension
    return _TRUTH_SHARE * operations / _FLOPS_PER_CORE / cores / 3600


def dataset_bytes(workload: Workload) -> int:
    """Bytes of the files that datagen makes."""
    data = workload.dataset
    vectors = (data.num_vectors + data.query_pool) * data.dimension * 4
    return vectors + data.gt_queries * data.gt_neighbours * 8
