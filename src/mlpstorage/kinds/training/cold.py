"""Getting a data set out of the page cache of this host, by all of its ranks together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.engine.files import drop_files, drop_method, drop_system_cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.dataset import DatasetSpec


def drop_data(method: str, comm: Comm, spec: DatasetSpec, folder: Path, files: int) -> str:
    """Drop the first `files` files of a data set from this host's page cache; how it was done.

    The ranks of a host share the work; nobody may read before all are done. `auto` drops all that
    the host has cached where this user may, else the files' pages.

    Raises:
        MlpstorageError: that is not allowed here, or a file cannot be read.
    """
    method = drop_method(method)
    if method == "system" and comm.local_rank == 0:
        drop_system_cache()
    if method == "files":
        share = range(comm.local_rank, files, comm.local_size)
        drop_files(path for index in share for path in _paths(spec, folder, index))
    return method


def _paths(spec: DatasetSpec, folder: Path, index: int) -> Iterator[Path]:
    """A data file and its companions."""
    path = folder / spec.relative_path(index)
    yield path
    for companion in spec.file_format.companions:
        yield path.with_name(companion.name_of(path.name))
