"""The queries of a run, in memory that a host's ranks share and that dropping caches spares."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.vectors.manifest import VectorManifest

_SHARED = Path("/dev/shm")  # noqa: S108 (memory shared by the ranks of a host)


def shared_queries(
    manifest: VectorManifest, folder: Path, token: str, comm: Comm
) -> NDArray[np.float32]:
    """All queries, checked by their checksums; one copy per host where it has shared memory.

    Its name is removed as soon as every rank has it, so a killed run leaves nothing.

    Raises:
        BenchmarkError: the file of the queries is damaged.
    """
    pool = manifest.spec.pool(folder)
    path = _SHARED / f"mlpstorage-queries-{token}"
    if comm.local_rank == 0:
        found = pool.all_checked(manifest.query_checksums)
        if comm.local_size > 1:
            with contextlib.suppress(OSError):  # none, or too small: everybody has a copy
                path.write_bytes(found.data.cast("B"))
    comm.barrier()
    if comm.local_rank:
        try:
            whole = path.stat().st_size == pool.count * pool.dimension * 4
            mapped = np.memmap(path, np.float32, "r", 0, (pool.count, pool.dimension))
            found = mapped if whole else pool.all_checked(manifest.query_checksums)
        except (OSError, ValueError):
            found = pool.all_checked(manifest.query_checksums)
        # Faulted in now, so that no query waits for it.
        found[:, 0].sum()
    comm.barrier()
    if comm.local_rank == 0:
        path.unlink(missing_ok=True)
    return found
