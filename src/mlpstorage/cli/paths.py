"""Which options take a path: their names say it, in every command alike."""

from __future__ import annotations

from typing import Literal

PathKind = Literal["directory", "file"]

_DIRECTORY_ENDINGS = ("_dir", "_folder", "_path")
_FILE_ENDINGS = ("_file", "lockfile")
# Names that do not say it. A launcher may also be named by a path.
_OTHERS: dict[str, PathKind] = {
    "storage_root": "directory",
    "tree": "directory",
    "baseline": "directory",
    "candidate": "directory",
    "output": "file",
    "trace": "file",
    "dataset": "file",
    "dataset_queries": "file",
    "pyproject": "file",
    "mpi_bin": "file",
}


def path_kind(name: str) -> PathKind | None:
    """What the option with this field name takes: a directory, a file, or no path.

    >>> path_kind("data_dir"), path_kind("workload_file"), path_kind("loops")
    ('directory', 'file', None)
    """
    if name.endswith(_DIRECTORY_ENDINGS):
        return "directory"
    if name.endswith(_FILE_ENDINGS):
        return "file"
    return _OTHERS.get(name)
