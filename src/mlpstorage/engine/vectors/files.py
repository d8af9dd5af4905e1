"""Files of vectors, in the layouts of the field; every one gives any range of rows as float32.

.fbin .u8bin .i8bin .ibin   big-ann: uint32 count, uint32 dimension, rows one after the other
.fvecs .bvecs .ivecs        before every row its dimension as int32
.npy                        a matrix
.hdf5 .h5                   ann-benchmarks: `train`, `test`, `neighbors`, `distances`
.parquet                    one row per vector, in a column of lists (`emb`)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEADER_BYTES = 8
_BIN = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}
_VECS = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
_HDF5 = (".hdf5", ".h5")
SUFFIXES = (*_BIN, *_VECS, ".npy", *_HDF5, ".parquet")
_EMBEDDING_COLUMNS = ("emb", "embedding", "vector", "values")


class Vectors(Protocol):
    """Vectors that can be read from any row on."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def dimension(self) -> int:
        """Numbers per vector."""

    def rows(self, begin: int, end: int) -> NDArray[np.float32]:
        """Vectors [begin, end), float32 (end − begin, dimension)."""

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these numbers, in this order."""


class MatrixVectors:
    """Vectors in a matrix: an array, a mapped file, or what behaves like one."""

    def __init__(self, matrix: Any) -> None:  # noqa: ANN401 (an array or an h5py data set)
        self._matrix = matrix
        self.count, self.dimension = int(matrix.shape[0]), int(matrix.shape[1])

    def rows(self, begin: int, end: int) -> NDArray[np.float32]:
        """See `Vectors`."""
        return np.ascontiguousarray(self._matrix[begin:end], np.float32)

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Vectors`; in the order of the file, which is what disks and h5py want."""
        distinct, place = np.unique(ids, return_inverse=True)
        return np.ascontiguousarray(self._matrix[distinct], np.float32)[place]


def open_vectors(path: Path, *, part: str = "train") -> Vectors:
    """The vectors of a file; `part` names the data set inside of an HDF5 file.

    Raises:
        NotFoundError: there is no such file.
        UsageError: its suffix names no known layout.
        ConfigurationError: it is not what its suffix says.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path.name} has no layout that is known",
            fix=f"use a file that ends with one of: {', '.join(SUFFIXES)}",
        )
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}", fix="check the path")
    try:
        if suffix in _BIN:
            return _open_bin(path, np.dtype(_BIN[suffix]))
        if suffix in _VECS:
            return _open_vecs(path, np.dtype(_VECS[suffix]))
        if suffix == ".npy":
            return _matrix(np.load(path, mmap_mode="r", allow_pickle=False), path)
        return hdf5_part(path, part) if suffix in _HDF5 else ParquetVectors(path)
    except (OSError, ValueError) as error:
        raise _broken(path, str(error)) from error


def _open_bin(path: Path, dtype: np.dtype[Any]) -> Vectors:
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise _broken(path, f"it has {size} bytes, not even a header")
    count, dimension = (int(n) for n in np.fromfile(path, "<u4", 2))
    wanted = HEADER_BYTES + count * dimension * dtype.itemsize
    if not count or not dimension or size != wanted:
        why = f"{count} vectors of {dimension} numbers take {wanted} bytes; it has {size}"
        raise _broken(path, why)
    return MatrixVectors(np.memmap(path, dtype, "r", HEADER_BYTES, (count, dimension)))


def _open_vecs(path: Path, dtype: np.dtype[Any]) -> Vectors:
    size = path.stat().st_size
    dimension = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0  # noqa: PLR2004 (an int32)
    row_bytes = 4 + dimension * dtype.itemsize
    if dimension < 1 or size % row_bytes:
        raise _broken(path, f"{size} bytes are no whole rows of {dimension} numbers")
    row = np.dtype([("dimension", "<i4"), ("values", dtype, (dimension,))])
    table = np.memmap(path, row, "r")
    if not bool((table["dimension"] == dimension).all()):
        raise _broken(path, "its rows are of different lengths")
    return MatrixVectors(table["values"])


def hdf5_part(path: Path, part: str) -> MatrixVectors:
    """A data set of an HDF5 file in the layout of ann-benchmarks.

    Raises:
        ConfigurationError: h5py is not installed, or the file has no such part.
    """
    file = needed_library("h5py", f"{path.name} is an HDF5 file").File(path, "r")
    if part not in file:
        raise _broken(path, f"it has no data set {part!r}, but {', '.join(file)}")
    return _matrix(file[part], path)


def hdf5_metric(path: Path) -> str:
    """The metric that an ann-benchmarks file names; empty when it names none that we know."""
    file = needed_library("h5py", f"{path.name} is an HDF5 file").File(path, "r")
    known = {"angular": "cosine", "euclidean": "l2", "dot": "ip", "ip": "ip"}
    named = file.attrs.get("distance", "")
    return known.get(named.decode() if isinstance(named, bytes) else str(named), "")


def own_neighbours(path: Path, count: int) -> NDArray[np.int64] | None:
    """The neighbours that an ann-benchmarks file names for its first queries; None for none."""
    file = needed_library("h5py", f"{path.name} is an HDF5 file").File(path, "r")
    if "neighbors" not in file:
        return None
    return np.asarray(file["neighbors"][:count], np.int64)


class ParquetVectors:
    """Vectors in a column of lists; a row group is read at a time, and the last one is kept."""

    def __init__(self, path: Path) -> None:
        module = needed_library("pyarrow.parquet", f"{path.name} is a Parquet file")
        self._file = module.ParquetFile(path)
        names = self._file.schema_arrow.names
        self._column = next((name for name in _EMBEDDING_COLUMNS if name in names), None)
        if self._column is None:
            raise _broken(path, f"none of its columns is one of {', '.join(_EMBEDDING_COLUMNS)}")
        meta = self._file.metadata
        groups = [meta.row_group(index).num_rows for index in range(meta.num_row_groups)]
        self._starts = np.cumsum([0, *groups])
        self._kept: tuple[int, NDArray[np.float32]] | None = None
        self._path = path
        self.count = int(self._starts[-1])
        self.dimension = self._group(0).shape[1] if self.count else 0

    def rows(self, begin: int, end: int) -> NDArray[np.float32]:
        """See `Vectors`."""
        out = np.empty((end - begin, self.dimension), np.float32)
        at = begin
        while at < end:
            group = int(np.searchsorted(self._starts, at, side="right")) - 1
            first, last = int(self._starts[group]), min(int(self._starts[group + 1]), end)
            out[at - begin : last - begin] = self._group(group)[at - first : last - first]
            at = last
        return out

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Vectors`; slow for scattered rows: the groups that hold them are read whole."""
        order = np.argsort(ids, kind="stable")
        out = np.empty((len(ids), self.dimension), np.float32)
        for place in order:
            out[place] = self.rows(int(ids[place]), int(ids[place]) + 1)[0]
        return out

    def _group(self, number: int) -> NDArray[np.float32]:
        if self._kept is None or self._kept[0] != number:
            table = self._file.read_row_group(number, columns=[self._column])
            column = table.column(0).combine_chunks()
            flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
            if not len(column) or column.null_count or len(flat) % len(column):
                raise _broken(self._path, f"row group {number} has vectors of different lengths")
            self._kept = (number, flat.reshape(len(column), -1))
        return self._kept[1]


def needed_library(name: str, why: str) -> Any:  # noqa: ANN401 (a module)
    """A module that an extra of the package brings.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ConfigurationError(
            f"{package} is not installed", why=why, fix=f"pip install {package}"
        ) from error


def _matrix(matrix: Any, path: Path) -> MatrixVectors:  # noqa: ANN401 (array or h5py data set)
    if len(matrix.shape) != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":  # noqa: PLR2004
        raise _broken(path, f"it holds {matrix.dtype} of shape {tuple(matrix.shape)}, no vectors")
    return MatrixVectors(matrix)


def _broken(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a usable file of vectors", why=why, fix="check which file is meant"
    )
