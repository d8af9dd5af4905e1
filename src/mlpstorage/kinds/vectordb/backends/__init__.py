"""The backends, each in a folder of its own, in an explicit list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.kinds.vectordb.backends.diskann.description import DISKANN
from mlpstorage.kinds.vectordb.backends.ivf_probe.description import IVF_PROBE
from mlpstorage.kinds.vectordb.backends.lancedb.description import LANCEDB
from mlpstorage.kinds.vectordb.backends.milvus.description import MILVUS
from mlpstorage.kinds.vectordb.backends.pgvector.description import PGVECTOR, PGVECTOR_SERVER
from mlpstorage.kinds.vectordb.backends.zvec.description import ZVEC

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.backends.interface import Description

BACKENDS: tuple[Description, ...] = (
    ZVEC,
    DISKANN,
    LANCEDB,
    PGVECTOR,
    PGVECTOR_SERVER,
    MILVUS,
    IVF_PROBE,
)


def backend_named(name: str) -> Description:
    """The backend of this name.

    Raises:
        UsageError: there is none.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    raise UsageError(
        f"unknown backend {name!r}", fix=did_you_mean(name, [b.name for b in BACKENDS])
    )
