from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import ConfigurationError, NotFoundError
from mlpstorage.engine.dataset import MANIFEST_NAME, SIZES_NAME, DatasetSpec, Manifest

if TYPE_CHECKING:
    from pathlib import Path

UNET3D = DatasetSpec("unet3d", "npz", 168, 0, 1, 146_600_628, 68_341_808.0, seed=10)
EQUAL = DatasetSpec("resnet50", "tfrecord", 1024, 0, 1251, 114_660, 0.0, seed=10)
CREATED = "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("mean", "deviation"), [(146_600_628, 68_341_808.0), (2_828_486, 71_311.0), (153_600, 51_200.0)]
)
def test_sizes_have_the_wanted_mean_and_deviation(mean: int, deviation: float) -> None:
    """Over many files mean and deviation are within five standard errors of the wanted ones."""
    count = 200_000
    spec = DatasetSpec("m", "npz", count, 0, 1, mean, deviation, seed=3)
    sizes = spec.sample_bytes()
    assert sizes.shape == (count,)
    assert abs(sizes.mean() - mean) < 5 * deviation / math.sqrt(count)
    # The error of a deviation, with a kurtosis of at most 6 here, is at most 1.2 s / sqrt(n).
    assert abs(sizes.std() - deviation) < 5 * 1.2 * deviation / math.sqrt(count)


def test_without_deviation_all_sizes_are_the_mean() -> None:
    """A deviation of 0 gives every file the record's size."""
    assert set(EQUAL.sample_bytes().tolist()) == {114_660}


@given(
    mean=st.integers(1, 1 << 34),
    part=st.floats(0, 1.41421),
    count=st.integers(1, 50),
    more=st.integers(0, 50),
    seed=st.integers(0, 1 << 64),
)
def test_a_longer_data_set_begins_the_same(
    mean: int, part: float, count: int, more: int, seed: int
) -> None:
    """Sizes are positive, repeatable, and the first of a longer data set are the same."""
    spec = DatasetSpec("m", "npz", count, 0, 1, mean, mean * part, seed)
    sizes = spec.sample_bytes()
    assert (sizes >= 1).all()
    longer = dataclasses.replace(spec, num_files=count + more).sample_bytes()
    assert longer[:count].tolist() == sizes.tolist()


def test_another_seed_gives_other_sizes() -> None:
    """The seed decides the sizes."""
    other = dataclasses.replace(UNET3D, seed=11)
    assert (UNET3D.sample_bytes() != other.sample_bytes()).all()


@pytest.mark.parametrize(
    "change",
    [
        {"record_stdev_bytes": 146_600_628 * 1.4143},
        {"record_stdev_bytes": -1.0},
        {"record_stdev_bytes": math.nan},
        {"num_files": 0},
        {"samples_per_file": 0},
        {"record_bytes": 0},
        {"num_subfolders": -1},
        {"seed": -1},
        {"format": "zarr"},
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    """A specification out of range is refused, with a remedy."""
    with pytest.raises(ConfigurationError) as caught:
        dataclasses.replace(UNET3D, **change)
    assert caught.value.fix


def test_files_are_named_as_dlio_names_them() -> None:
    """Names are zero-padded to the count's digits, subfolders are dealt in turn."""
    spec = dataclasses.replace(EQUAL, num_files=1000)
    assert spec.relative_path(7) == "train/img_0007_of_1000.tfrecord"
    assert dataclasses.replace(spec, num_subfolders=1).relative_path(7) == spec.relative_path(7)
    spread = dataclasses.replace(spec, num_subfolders=12)
    assert spread.relative_path(15) == "train/03/img_0015_of_1000.tfrecord"
    assert len(spread.subfolders()) == 12
    assert {spread.relative_path(i).rpartition("/")[0] for i in range(24)} == set(
        spread.subfolders()
    )


@pytest.mark.parametrize("spec", [UNET3D, EQUAL], ids=["sizes differ", "sizes equal"])
def test_a_manifest_comes_back(tmp_path: Path, spec: DatasetSpec) -> None:
    """What was saved is loaded, to the byte, and only differing sizes need a second file."""
    saved = Manifest.of(spec, CREATED)
    saved.save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded.spec == spec
    assert loaded.file_bytes.tolist() == spec.file_bytes().tolist()
    assert loaded.total_bytes == int(spec.file_bytes().sum())
    assert (loaded.digest, loaded.created) == (saved.digest, CREATED)
    names = {MANIFEST_NAME, SIZES_NAME} if spec is UNET3D else {MANIFEST_NAME}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert isinstance(loaded.file_bytes, np.memmap) == (spec is UNET3D)


def test_the_digest_tells_data_sets_apart() -> None:
    """Any change of the specification changes the digest; the time does not."""
    digest = Manifest.of(UNET3D, CREATED).digest
    assert Manifest.of(UNET3D, "later").digest == digest
    for change in ({"seed": 11}, {"num_files": 169}, {"model": "u"}, {"num_subfolders": 2}):
        assert Manifest.of(dataclasses.replace(UNET3D, **change), CREATED).digest != digest
    whole = dataclasses.replace(UNET3D, record_stdev_bytes=68_341_808)
    assert Manifest.of(whole, CREATED).digest == digest


def test_a_folder_without_a_manifest_names_the_command(tmp_path: Path) -> None:
    """A missing manifest is said with the folder and the command that makes one."""
    with pytest.raises(NotFoundError, match=str(tmp_path)) as caught:
        Manifest.load(tmp_path)
    assert "training datagen" in caught.value.fix


def _edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"generator_version": 999},
        {"total_bytes": 5},
        {"digest": "0" * 64},
        {"file_bytes": 77},
        {"surprise": 1},
        {"spec": {}},
        {"created": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_changed_manifest_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A manifest with another version, a wrong figure or an unknown field is refused."""
    Manifest.of(EQUAL, CREATED).save(tmp_path)
    _edit(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=MANIFEST_NAME) as caught:
        Manifest.load(tmp_path)
    assert caught.value.fix


def test_a_cut_manifest_is_refused(tmp_path: Path) -> None:
    """A manifest that is no whole JSON is refused."""
    Manifest.of(EQUAL, CREATED).save(tmp_path)
    path = tmp_path / MANIFEST_NAME
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigurationError, match=MANIFEST_NAME):
        Manifest.load(tmp_path)


def test_changed_sizes_are_refused(tmp_path: Path) -> None:
    """Sizes that are missing, cut, or swapped between two files are refused."""
    Manifest.of(UNET3D, CREATED).save(tmp_path)
    path = tmp_path / SIZES_NAME
    whole = path.read_bytes()
    sizes = np.load(path)
    sizes[[0, 1]] = sizes[[1, 0]]
    np.save(path, sizes)
    with pytest.raises(ConfigurationError, match=MANIFEST_NAME):
        Manifest.load(tmp_path)
    path.write_bytes(whole[:-8])
    with pytest.raises(ConfigurationError):
        Manifest.load(tmp_path)
    path.unlink()
    with pytest.raises(ConfigurationError) as caught:
        Manifest.load(tmp_path)
    assert "missing" in caught.value.why
