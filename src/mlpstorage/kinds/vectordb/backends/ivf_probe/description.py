"""What `ivf-probe` is, without numpy."""

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

ALIGNMENT = 4096
# In its list, and in the table of places.
_ID_BYTES = 4
# Measured with 100,000 × 768 and 1024 lists: what one core multiplies and adds in a second.
_FLOPS_PER_CORE = 2e10
_TRAINING_SHARE = 1.5


def lists_for(vectors: int, asked: int) -> int:
    """How many lists an index has: what is asked, or 4 · √vectors.

    >>> lists_for(100_000, 0), lists_for(20_000, 64)
    (1265, 64)
    """
    return min(asked or max(1, round(4 * math.sqrt(vectors))), vectors)


def _footprint(vectors: int, dimension: int, build: Parameters) -> Footprint:
    """Raw vectors with their ids, and on average half a block lost per list."""
    lists = lists_for(vectors, build["nlist"])
    raw = vectors * dimension * 4
    disk = raw + vectors * 2 * _ID_BYTES + lists * (ALIGNMENT // 2 + dimension * 4)
    return Footprint(
        memory_bytes=lists * dimension * 4 + 4 * disk // lists,
        disk_bytes=disk,
        build_disk_bytes=disk + raw,
        build_core_seconds=_TRAINING_SHARE * 2 * vectors * lists * dimension / _FLOPS_PER_CORE,
    )


IVF_PROBE = Description(
    name="ivf-probe",
    title="inverted lists on storage; a probe of ours, not a database",
    indexes=(
        IndexType(
            "IVF_FLAT",
            effort=Parameter("nprobe", 8, 1, 65536, "lists that a query reads"),
            footprint=_footprint,
            build=(Parameter("nlist", 0, 0, 1 << 20, "lists; 0 for 4 · √vectors"),),
        ),
    ),
    metrics=("cosine", "l2", "ip"),
    connector="mlpstorage.kinds.vectordb.backends.ivf_probe.probe:IvfProbe",
    database=False,
    direct=True,
)
