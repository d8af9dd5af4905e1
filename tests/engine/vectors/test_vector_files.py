from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.engine.vectors.files import hdf5_metric, open_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def written(folder: Path, suffix: str) -> tuple[Path, NDArray[np.float32]]:
    """A file of 50 vectors of 6 numbers in the layout of a suffix, and what is in it."""
    values = np.random.default_rng(1).integers(0, 100, (50, 6))
    path = folder / f"some{suffix}"
    kinds = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}
    rows = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
    if suffix in kinds:
        head = np.array(values.shape, "<u4").tobytes()
        path.write_bytes(head + values.astype(kinds[suffix]).tobytes())
    elif suffix in rows:
        one = [np.int32(6).tobytes() + row.astype(rows[suffix]).tobytes() for row in values]
        path.write_bytes(b"".join(one))
    elif suffix == ".npy":
        np.save(path, values.astype(np.float64))
    elif suffix == ".hdf5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["train"] = values.astype(np.float32)
            file.attrs["distance"] = "euclidean"
    else:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        lists = pa.array([row.tolist() for row in values], pa.list_(pa.float32()))
        table = pa.table({"id": list(range(50)), "emb": lists})
        parquet.write_table(table, path, row_group_size=16)
    return path, values.astype(np.float32)


@pytest.mark.parametrize(
    "suffix",
    [
        ".fbin", ".u8bin", ".i8bin", ".ibin", ".fvecs", ".bvecs", ".ivecs", ".npy", ".hdf5",
        ".parquet",
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_vectors(tmp_path: Path, suffix: str) -> None:
    """Ranges and scattered rows of each layout are the numbers that were written."""
    path, values = written(tmp_path, suffix)
    found = open_vectors(path)
    assert (found.count, found.dimension) == (50, 6)
    assert found.rows(0, 50).dtype == np.float32
    assert (found.rows(0, 50) == values).all()
    assert (found.rows(14, 33) == values[14:33]).all()
    ids = np.array([49, 3, 3, 17])
    assert (found.take(ids) == values[ids]).all()


@pytest.mark.parametrize("suffix", [".fbin", ".fvecs", ".npy", ".hdf5", ".parquet"])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    """A file that lost its end is named, not read as if it were smaller."""
    path, _ = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConfigurationError, match="some"):
        open_vectors(path)


def test_unknown_and_missing_files(tmp_path: Path) -> None:
    """A suffix that says nothing is refused, and so is a file that is not there."""
    with pytest.raises(UsageError, match="layout"):
        open_vectors(tmp_path / "a.csv")
    with pytest.raises(NotFoundError):
        open_vectors(tmp_path / "a.fbin")


def test_an_hdf5_file_names_its_metric(tmp_path: Path) -> None:
    """The attribute of ann-benchmarks becomes one of our metrics."""
    path, _ = written(tmp_path, ".hdf5")
    assert hdf5_metric(path) == "l2"
    with pytest.raises(ConfigurationError, match="test"):
        open_vectors(path, part="test")
