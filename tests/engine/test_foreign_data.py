from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.access import ReadSettings, access_of
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import MANIFEST_NAME, DatasetSpec, Manifest
from mlpstorage.engine.epoch import file_order, plan_epoch
from mlpstorage.engine.generation import begin_foreign, begin_generation, finish_foreign

if TYPE_CHECKING:
    from pathlib import Path

SPEC = DatasetSpec("m", "npz", 3, 0, 4, 1000, 0.0, seed=10)


def _foreign(folder: Path, spec: DatasetSpec = SPEC) -> Manifest:
    """A data set as another program would leave it: other sizes than ours, and odd ones."""
    begin_foreign(spec, folder, "dlio 2.0.0")
    for index in range(spec.num_files):
        (folder / spec.relative_path(index)).write_bytes(bytes([index]) * (5001 + 7 * index))
    return finish_foreign(spec, folder, "2026-01-01T00:00:00+00:00", "dlio 2.0.0")


def test_the_manifest_holds_what_is_there(tmp_path: Path) -> None:
    """Sizes are those of the files, and the producer is named, also after loading."""
    _foreign(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded.producer == "dlio 2.0.0"
    assert loaded.file_bytes.tolist() == [5001, 5008, 5015]
    assert loaded.spec == SPEC


def test_our_own_manifests_name_no_producer(tmp_path: Path) -> None:
    """What the native engine writes is unchanged on disk."""
    (tmp_path / "train").mkdir()
    Manifest.of(SPEC, "now").save(tmp_path)
    assert "producer" not in (tmp_path / MANIFEST_NAME).read_text()
    assert Manifest.load(tmp_path).producer == "native"


def test_a_missing_file_leaves_no_manifest(tmp_path: Path) -> None:
    """A generator that forgot a file has not finished."""
    begin_foreign(SPEC, tmp_path, "dlio 2.0.0")
    with pytest.raises(BenchmarkError, match="missing after generation"):
        finish_foreign(SPEC, tmp_path, "now", "dlio 2.0.0")
    assert not (tmp_path / MANIFEST_NAME).exists()


def test_producers_do_not_mix(tmp_path: Path) -> None:
    """Neither engine generates into the other's data set unless forced."""
    _foreign(tmp_path)
    with pytest.raises(ConfigurationError, match=r"dlio 2\.0\.0 wrote"):
        begin_generation(SPEC, tmp_path)
    assert not begin_generation(SPEC, tmp_path, force=True)
    other = tmp_path / "native"
    (other / "train").mkdir(parents=True)
    Manifest.of(SPEC, "now").save(other)
    with pytest.raises(ConfigurationError, match="native wrote"):
        begin_foreign(SPEC, other, "dlio 2.0.0")


def test_a_whole_data_set_is_kept_and_a_torn_one_made_again(tmp_path: Path) -> None:
    """Nothing is done twice; a file of another size makes the data set incomplete."""
    _foreign(tmp_path)
    assert begin_foreign(SPEC, tmp_path, "dlio 2.0.0")
    (tmp_path / SPEC.relative_path(1)).write_bytes(b"short")
    assert not begin_foreign(SPEC, tmp_path, "dlio 2.0.0")
    assert not (tmp_path / MANIFEST_NAME).exists()


def test_leftovers_of_an_interrupted_generator_are_refused(tmp_path: Path) -> None:
    """Files without a manifest are nobody's, for both engines."""
    begin_foreign(SPEC, tmp_path, "dlio 2.0.0")
    (tmp_path / SPEC.relative_path(0)).write_bytes(b"x")
    for begin in (
        lambda: begin_foreign(SPEC, tmp_path, "dlio 2.0.0"),
        lambda: begin_generation(SPEC, tmp_path),
    ):
        with pytest.raises(ConfigurationError, match="no manifest describes"):
            begin()
    assert not begin_foreign(SPEC, tmp_path, "dlio 2.0.0", force=True)
    assert not (tmp_path / SPEC.relative_path(0)).exists()


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_byte_of_foreign_files_is_read(tmp_path: Path, samples: int, ranks: int) -> None:
    """Whatever their structure, the ranks together read each byte once and count each sample."""
    spec = replace(SPEC, num_files=6, samples_per_file=samples)
    manifest = _foreign(tmp_path, spec)
    total = done = 0
    for rank in range(ranks):
        order = file_order(6, shuffle="seed", seed=1, epoch=0)
        plan = plan_epoch(order, samples_per_file=samples, batch=1, rank=rank, ranks=ranks)
        access = access_of(manifest, tmp_path, ReadSettings([aligned_buffer(1 << 16)]))
        epoch = access.epoch(plan)
        with epoch.pool as pool:
            for step in range(plan.steps):
                pool.batches.wait(step)
        total += sum(pool.bytes_read)
        done += plan.steps * plan.batch
    assert total == int(np.sum(manifest.file_bytes))
    assert done == 6 * samples
