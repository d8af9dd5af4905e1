from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, NotFoundError
from mlpstorage.engine.comm import SoloComm
from mlpstorage.engine.stopping import Stopping
from mlpstorage.engine.vectors.making import Making, begin, finish, source_of
from mlpstorage.engine.vectors.manifest import MANIFEST_NAME, VectorManifest, VectorSpec
from mlpstorage.engine.vectors.truth import TRUTH_NAME

if TYPE_CHECKING:
    from pathlib import Path

SPEC = VectorSpec(
    vectors=40_000,
    dimension=16,
    metric="cosine",
    distribution="clustered",
    seed=42,
    queries=500,
    truth_queries=50,
    neighbours=20,
)


@dataclass
class Seen:
    """What a making reported."""

    calls: list[tuple[str, int, int, int]] = field(default_factory=list)

    def __call__(self, activity: str, done: int, total: int, _unit: str, moved: int) -> None:
        """Take a report."""
        self.calls.append((activity, done, total, moved))


def make(folder: Path, spec: VectorSpec = SPEC) -> tuple[VectorManifest, dict[str, Any]]:
    """A finished data set, and what its one rank counted."""
    making = Making(spec, folder, SoloComm(), Seen())
    made = making.vectors()
    assert made.whole
    found = making.truth()
    assert found.structure is not None
    counted = {**asdict(made), "confirmed": -1 if found.confirmed is None else found.confirmed}
    return finish(spec, folder, "2026-01-01", found.structure), counted


def test_a_folder_is_made_whole(tmp_path: Path) -> None:
    """Vectors, queries, truth and manifest are there, and nothing else is left."""
    assert begin(SPEC, tmp_path) is False
    manifest, counted = make(tmp_path)
    assert counted["blocks_written"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.fbin", MANIFEST_NAME, "queries.fbin", "truth.bin", "truth.json",
    ]  # fmt: skip
    base = SPEC.base(tmp_path).all_checked(manifest.base_checksums)
    assert (base == SPEC.recipe.rows("base", 0, 40_000)).all()
    assert manifest.structure.contrast is not None
    assert manifest.truth(tmp_path).ids.shape == (50, 20)
    assert VectorManifest.load(tmp_path) == manifest
    assert begin(SPEC, tmp_path) is True


def test_a_killed_making_is_resumed_by_its_checksums(tmp_path: Path) -> None:
    """Blocks that are whole stay, a torn one and one that was never written are made."""
    begin(SPEC, tmp_path)
    whole, _ = make(tmp_path)
    base = SPEC.base(tmp_path)
    (tmp_path / MANIFEST_NAME).unlink()
    begin_file = tmp_path / "mlpstorage-vectors-begun.json"
    begin_file.write_bytes(msgspec.json.encode(SPEC))
    lines = [f"{block} {crc}\n" for block, crc in enumerate(whole.base_checksums)]
    (tmp_path / ".base.fbin-0.blocks").write_text("".join(lines[:2]) + "2 12")
    with base.path.open("r+b") as file:
        file.seek(8 + 16 * 4 * 20_000)
        file.write(b"torn")
    assert begin(SPEC, tmp_path) is False
    again, counted = make(tmp_path)
    assert counted["base_blocks_written"] == 2
    assert counted["blocks_kept"] == 1
    assert again.dataset_hash == whole.dataset_hash


def test_a_finished_folder_that_was_damaged_is_mended(tmp_path: Path) -> None:
    """A lost truth is found again, and only what does not match its checksum is written."""
    begin(SPEC, tmp_path)
    whole, _ = make(tmp_path)
    (tmp_path / TRUTH_NAME).write_bytes(b"stale")
    assert begin(SPEC, tmp_path) is False
    again, counted = make(tmp_path)
    assert counted["blocks_written"] == 0
    assert again.dataset_hash == whole.dataset_hash


def test_another_data_set_is_in_the_way(tmp_path: Path) -> None:
    """A folder is not mixed: the difference is told, and --force replaces it."""
    begin(SPEC, tmp_path)
    other = msgspec.structs.replace(SPEC, dimension=8)
    with pytest.raises(ConfigurationError, match="another") as refused:
        begin(other, tmp_path)
    assert "dimension is 16, not 8" in refused.value.why
    assert begin(other, tmp_path, force=True) is False
    assert (tmp_path / "base.fbin").stat().st_size == 8 + 40_000 * 8 * 4


def test_too_little_room_is_told_before_any_work(tmp_path: Path) -> None:
    """A data set larger than the disk is refused with both sizes."""
    huge = msgspec.structs.replace(SPEC, vectors=10**12)
    with pytest.raises(ConfigurationError, match="are free"):
        begin(huge, tmp_path)
    assert not (tmp_path / "base.fbin").exists()


def test_a_rank_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    """Without the launcher's mark a rank writes nothing."""
    with pytest.raises(NotFoundError, match="not prepared"):
        Making(SPEC, tmp_path, SoloComm(), Seen()).vectors()


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    """Hashes that do not follow from the listed blocks are damage."""
    begin(SPEC, tmp_path)
    make(tmp_path)
    path = tmp_path / MANIFEST_NAME
    path.write_text(path.read_text().replace('"vectors": 40000', '"vectors": 39999'))
    with pytest.raises(ConfigurationError, match="hashes"):
        VectorManifest.load(tmp_path)


class Presses:
    """A rank's reports, at one of which the user wants to stop."""

    def __init__(self, activity: str, done: int) -> None:
        self.comm = SoloComm()
        self.pressed = False
        self.comm.stopping = Stopping(self.comm, lambda: self.pressed)
        self._at = (activity, done)

    def __call__(self, activity: str, done: int, _total: int, _unit: str, _moved: int) -> None:
        """Take a report."""
        self.pressed = self.pressed or (activity, done) == self._at


@pytest.mark.parametrize(
    ("activity", "done", "written", "compared"),
    [("vectors", 1, 1, 0), ("ground truth", 2, 4, 2), ("exact distances", 0, 4, 3)],
)
def test_a_making_that_is_stopped_goes_on(
    tmp_path: Path, activity: str, done: int, written: int, compared: int
) -> None:
    """After a wish no further block is begun, and the next making does the others alone."""
    begin(SPEC, tmp_path)
    presses = Presses(activity, done)
    making = Making(SPEC, tmp_path, presses.comm, presses)
    made = making.vectors()
    assert (made.blocks_written, made.whole) == (written, written == 4)
    if made.whole:
        found = making.truth()
        assert (found.blocks, found.structure) == (compared, None)
    assert presses.comm.stopping.stopped
    assert begin(SPEC, tmp_path) is False
    again = Making(SPEC, tmp_path, SoloComm(), Seen())
    more = again.vectors()
    assert (more.blocks_kept, more.blocks_written) == (written, 4 - written)
    assert again.truth().kept == compared


def test_finishing_needs_every_block(tmp_path: Path) -> None:
    """A share that is missing is an error that counts the blocks."""
    begin(SPEC, tmp_path)
    making = Making(SPEC, tmp_path, SoloComm(), Seen())
    making.vectors()
    for journal in tmp_path.glob(".base.fbin-*.blocks"):
        journal.write_text("0 1\n")
    with pytest.raises(BenchmarkError, match="2 of 3 blocks"):
        making.truth()


def test_real_vectors_are_taken_with_queries_held_out(tmp_path: Path) -> None:
    """Of a file without queries the last vectors become queries, and are not in the base."""
    values = np.random.default_rng(2).normal(0, 1, (3000, 12)).astype(np.float32)
    np.save(tmp_path / "real.npy", values)
    spec = VectorSpec(
        vectors=2900, dimension=12, metric="l2", distribution="", seed=0, queries=100,
        truth_queries=100, neighbours=10, source=str(tmp_path / "real.npy"),
    )  # fmt: skip
    folder = tmp_path / "data"
    begin(spec, folder)
    manifest, _ = make(folder, spec)
    pool = spec.pool(folder).all_checked(manifest.query_checksums)
    assert (pool == values[2900:]).all()
    far = ((values[2900][None] - values[:2900]) ** 2).sum(axis=1)
    assert manifest.truth(folder).ids[0].tolist() == np.argsort(far)[:10].tolist()


def ann_benchmarks_file(folder: Path, *, right: bool) -> VectorSpec:
    """A file in the official layout, whose own neighbours are right or not, and its spec."""
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(2).normal(0, 1, (600, 8)).astype(np.float32)
    base, queries = values[:500], values[500:]
    far = np.sqrt(((queries[:, None] - base[None]) ** 2).sum(axis=2))
    order = np.argsort(far, axis=1)[:, :20].astype(np.int32)
    with h5py.File(folder / "some.hdf5", "w") as file:
        file["train"], file["test"] = base, queries
        file["neighbors"] = order if right else order[::-1]
        file["distances"] = np.take_along_axis(far, order, axis=1)
        file.attrs["distance"] = "euclidean"
    return VectorSpec(
        vectors=500, dimension=8, metric="l2", distribution="", seed=0, queries=100,
        truth_queries=100, neighbours=20, source=str(folder / "some.hdf5"),
    )  # fmt: skip


def test_an_ann_benchmarks_file_is_taken_and_its_neighbours_are_confirmed(tmp_path: Path) -> None:
    """`train` and `test` become base and queries, and `neighbors` are what is found here."""
    spec = ann_benchmarks_file(tmp_path, right=True)
    folder = tmp_path / "data"
    begin(spec, folder)
    manifest, counted = make(folder, spec)
    assert counted["confirmed"] == 1.0
    base, queries = source_of(spec)
    assert (spec.base(folder).all_checked(manifest.base_checksums) == base.rows(0, 500)).all()
    assert (spec.pool(folder).all_checked(manifest.query_checksums) == queries.rows(0, 100)).all()


def test_neighbours_of_other_vectors_are_refused(tmp_path: Path) -> None:
    """A file whose own neighbours are false is not taken for a data set."""
    spec = ann_benchmarks_file(tmp_path, right=False)
    folder = tmp_path / "data"
    begin(spec, folder)
    with pytest.raises(ConfigurationError, match=r"neighbours that some\.hdf5 names"):
        make(folder, spec)
