"""Data sets whose files' sizes are known only once they are written, as with compression."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import BenchmarkError, NotFoundError
from mlpstorage.engine import dataset
from mlpstorage.engine.dataset import DatasetSpec, Manifest
from mlpstorage.engine.formats.npy import Npy
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import begin_generation, finish_generation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpstorage.engine.payload import Filler

SPEC = DatasetSpec("tiny", "npy", 5, 0, 1, 9000, 2000.0, seed=10)
CREATED = "2026-01-02T03:04:05+00:00"


class Shrinking(Npy):
    """Files that end a few bytes before their upper bound, by a number that the payload decides."""

    exact_sizes = False

    def pieces(
        self, record_bytes: int, samples: int, payload: Filler, buffer: memoryview
    ) -> Iterator[tuple[int, memoryview]]:
        """The file without its end."""
        ((offset, data),) = super().pieces(record_bytes, samples, payload, buffer)
        yield offset, data[: len(data) - 1 - data[200]]


@pytest.fixture(autouse=True)
def _shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "format_of", lambda *_: Shrinking())


def generate(folder: Path) -> Manifest:
    """Generate the data set with two ranks."""
    assert not begin_generation(SPEC, folder)
    for rank in range(2):
        generate_share(SPEC, folder, rank, 2)
    return finish_generation(SPEC, folder, CREATED)


def sizes(folder: Path) -> list[int]:
    """The sizes on disk."""
    return [(folder / SPEC.relative_path(i)).stat().st_size for i in range(SPEC.num_files)]


def test_the_manifest_holds_the_sizes_on_disk(tmp_path: Path) -> None:
    """Sizes and their sum are what was really written, which is less than the bound."""
    manifest = generate(tmp_path)
    assert manifest.file_bytes.tolist() == sizes(tmp_path)
    assert (manifest.file_bytes < SPEC.file_bytes()).all()
    loaded = Manifest.load(tmp_path)
    assert loaded.file_bytes.tolist() == sizes(tmp_path)
    assert loaded.total_bytes == sum(sizes(tmp_path))
    assert begin_generation(SPEC, tmp_path)


def test_a_file_with_its_name_is_kept(tmp_path: Path) -> None:
    """An interrupted generation goes on with the files that are not there yet."""
    begin_generation(SPEC, tmp_path)
    generate_share(SPEC, tmp_path, 1, 2)
    with pytest.raises(BenchmarkError, match=r"img_0_of_5\.npy is missing"):
        finish_generation(SPEC, tmp_path, CREATED)
    assert not begin_generation(SPEC, tmp_path)
    share = generate_share(SPEC, tmp_path, 0, 1)
    assert (share.files_written, share.files_kept) == (3, 2)
    assert share.bytes_written + share.bytes_kept == sum(sizes(tmp_path))
    finish_generation(SPEC, tmp_path, CREATED)


def test_a_cut_file_of_a_finished_data_set_is_made_again(tmp_path: Path) -> None:
    """Whoever begins again over a damaged data set gets the very sizes it had."""
    manifest = generate(tmp_path)
    os.truncate(tmp_path / SPEC.relative_path(3), 500)
    (tmp_path / SPEC.relative_path(1)).unlink()
    assert not begin_generation(SPEC, tmp_path)
    with pytest.raises(NotFoundError):
        Manifest.load(tmp_path)
    share = generate_share(SPEC, tmp_path, 0, 1)
    assert (share.files_written, share.files_kept) == (2, 3)
    again = finish_generation(SPEC, tmp_path, CREATED)
    assert again.digest == manifest.digest
    assert sizes(tmp_path) == manifest.file_bytes.tolist()


def test_a_directory_is_not_taken_for_a_file(tmp_path: Path) -> None:
    """A directory with a data file's name is no whole file."""
    begin_generation(SPEC, tmp_path)
    (tmp_path / SPEC.relative_path(2)).mkdir()
    with pytest.raises(BenchmarkError, match=r"img_2_of_5\.npy"):
        generate_share(SPEC, tmp_path, 0, 1)
