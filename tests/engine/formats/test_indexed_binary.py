from __future__ import annotations

import dataclasses
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.dataset import MANIFEST_NAME, DatasetSpec, Manifest
from mlpstorage.engine.formats import COMPANION_SUFFIXES, format_of
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import BEGUN_NAME, begin_generation, finish_generation
from mlpstorage.engine.payload import Payload

FORMAT = format_of("indexed_binary")
SPEC = DatasetSpec("tiny", "indexed_binary", 6, 2, 50, 900, 100.0, seed=10)
CREATED = "2026-01-02T03:04:05+00:00"
# The bytes of the two index files of one data file of SPEC.
INDEX_BYTES = 2 * 8 * 50


def generate(spec: DatasetSpec, folder: Path, size: int = 1) -> Manifest:
    """Generate a whole data set with `size` ranks."""
    assert not begin_generation(spec, folder)
    for rank in range(size):
        generate_share(spec, folder, rank, size)
    return finish_generation(spec, folder, CREATED)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below train."""
    files = (path for path in (folder / "train").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def dlio_sample(path: str, sample: int, samples_per_file: int) -> bytes:
    """A sample as DLIO 2.0.0's reader finds it: whole indexes as int64, then seek and read."""
    indexes = []
    for suffix in (".off.idx", ".sz.idx"):
        index = np.empty(samples_per_file, np.int64)
        with open(path + suffix, "rb") as file:  # noqa: PTH123 (as in the reader)
            assert file.readinto(index) == 8 * samples_per_file
            assert not file.read(1)
        indexes.append(index)
    offset, size = indexes[0][sample], indexes[1][sample]
    with open(path, "rb") as file:  # noqa: PTH123 (as in the reader)
        file.seek(offset)
        return file.read(size)


def test_dlio_finds_every_sample(tmp_path: Path) -> None:
    """A reader that follows the index gets each sample, whole and at its place, by DLIO's names."""
    generate(SPEC, tmp_path)
    assert SPEC.relative_path(3) == "train/1/img_3_of_6.indexed_binary"
    for index, record in enumerate(SPEC.sample_bytes().tolist()):
        path = str(tmp_path / SPEC.relative_path(index))
        payload = bytearray(50 * record)
        Payload(SPEC.seed, index).fill(memoryview(payload))
        samples = [dlio_sample(path, sample, 50) for sample in range(50)]
        assert {len(sample) for sample in samples} == {record}
        assert b"".join(samples) == payload
    assert len(contents(tmp_path)) == 3 * 6


@given(
    record_bytes=st.integers(1, 1 << 40),
    samples=st.sampled_from([1, 2, 1000, (1 << 15) - 1, 1 << 15, (1 << 15) + 1]),
    buffer_bytes=st.sampled_from([4096, 1 << 20]),
)
def test_an_index_describes_the_layout(record_bytes: int, samples: int, buffer_bytes: int) -> None:
    """Offsets and sizes are little-endian 64-bit integers, also of files beyond 4 GiB."""
    layout = FORMAT.layout(record_bytes, samples)
    wanted = {
        ".off.idx": range(0, record_bytes * samples, record_bytes),
        ".sz.idx": [record_bytes] * samples,
    }
    for companion in FORMAT.companions:
        out = io.BytesIO()
        buffer = memoryview(bytearray(buffer_bytes))
        for offset, piece in companion.pieces(record_bytes, samples, buffer):
            assert offset == out.tell()
            out.write(piece)
        assert len(out.getvalue()) == companion.file_bytes(samples)
        found = struct.unpack(f"<{samples}Q", out.getvalue())
        assert list(found) == list(wanted[companion.suffix])
    assert (layout.header_bytes, layout.sample_bytes) == (0, record_bytes)
    sizes = FORMAT.file_bytes(np.array([record_bytes]), samples)
    assert sizes.tolist() == [layout.file_bytes] == [record_bytes * samples]


def test_a_reader_knows_which_part_of_an_index_it_needs(tmp_path: Path) -> None:
    """The byte range of some samples in an index holds exactly their entries."""
    generate(SPEC, tmp_path)
    path = str(tmp_path / SPEC.relative_path(2))
    record = int(SPEC.sample_bytes()[2])
    for companion in FORMAT.companions:
        begin, end = companion.extent(first=7, samples=5)
        entries = Path(companion.name_of(path)).read_bytes()[begin:end]
        offsets = [sample * record for sample in range(7, 12)]
        wanted = offsets if companion.suffix == ".off.idx" else [record] * 5
        assert list(struct.unpack("<5Q", entries)) == wanted


def test_indexes_count_in_every_total(tmp_path: Path) -> None:
    """The manifest's total, the progress and what was written hold the indexes; sizes do not."""
    begin_generation(SPEC, tmp_path)
    seen: list[tuple[int, int, int]] = []
    share = generate_share(SPEC, tmp_path, 0, 1, on_progress=lambda *done: seen.append(done))
    manifest = finish_generation(SPEC, tmp_path, CREATED)
    on_disk = sum(len(data) for data in contents(tmp_path).values())
    assert manifest.total_bytes == share.bytes_written == seen[-1][2] == on_disk
    assert SPEC.companion_bytes() == INDEX_BYTES
    assert int(manifest.file_bytes.sum()) == on_disk - 6 * INDEX_BYTES
    assert Manifest.load(tmp_path).total_bytes == on_disk
    assert begin_generation(SPEC, tmp_path)
    begin_generation(SPEC, tmp_path, force=True)
    assert not contents(tmp_path)


def test_the_number_of_ranks_does_not_show(tmp_path: Path) -> None:
    """One rank and three ranks write the same bytes into the same files."""
    generate(SPEC, tmp_path / "one")
    generate(SPEC, tmp_path / "three", size=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


CHILD = """
import sys, time
from pathlib import Path
from mlpstorage.engine import flusher
from mlpstorage.engine.dataset import DatasetSpec
from mlpstorage.engine.generate import generate_share

rename = Path.rename

def stop(path, target):
    if target.name == "{stop_at}":
        print("before the name", flush=True)
        time.sleep(60)
    return rename(path, target)

Path.rename = stop
generate_share(DatasetSpec({spec}), Path(sys.argv[1]), 0, 1, flushers=1)
"""


@pytest.mark.parametrize("suffix", ["", *COMPANION_SUFFIXES])
def test_a_killed_generation_resumes(tmp_path: Path, suffix: str) -> None:
    """Killed between a file and its index, or between indexes, it resumes to the same bytes.

    The data file has its name only after both of its indexes have theirs.
    """
    generate(SPEC, tmp_path / "reference")
    folder = tmp_path / "killed"
    begin_generation(SPEC, folder)
    stop_at = f"img_2_of_6.indexed_binary{suffix}"
    code = CHILD.format(stop_at=stop_at, spec=", ".join(map(repr, vars(SPEC).values())))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"before the name\n"
        child.kill()
    order = [*COMPANION_SUFFIXES, ""]
    named = {path.name.removeprefix("img_2_of_6.indexed_binary") for path in folder.rglob("img_2*")}
    assert named == set(order[: order.index(suffix)])
    with pytest.raises(BenchmarkError, match="img_2_of_6"):
        finish_generation(SPEC, folder, CREATED)
    assert not begin_generation(SPEC, folder)
    assert not list(folder.rglob("*.part"))
    share = generate_share(SPEC, folder, 0, 1)
    assert (share.files_written, share.files_kept) == (4, 2)
    finish_generation(SPEC, folder, CREATED)
    assert contents(folder) == contents(tmp_path / "reference")


@pytest.mark.parametrize("suffix", COMPANION_SUFFIXES)
def test_a_broken_index_is_named_and_mended(tmp_path: Path, suffix: str) -> None:
    """An index that is cut or gone is named at the end, and a later generation writes it again."""
    begin_generation(SPEC, tmp_path)
    generate_share(SPEC, tmp_path, 0, 1)
    before = contents(tmp_path)
    index = Path(str(tmp_path / SPEC.relative_path(4)) + suffix)
    os.truncate(index, 17)
    with pytest.raises(BenchmarkError, match=rf"img_4_of_6\.indexed_binary{suffix} has 17 bytes"):
        finish_generation(SPEC, tmp_path, CREATED)
    assert not (tmp_path / MANIFEST_NAME).exists()
    index.unlink()
    with pytest.raises(BenchmarkError, match=rf"img_4_of_6\.indexed_binary{suffix} is missing"):
        finish_generation(SPEC, tmp_path, CREATED)
    begin_generation(SPEC, tmp_path)
    share = generate_share(SPEC, tmp_path, 0, 1)
    assert (share.files_written, share.files_kept) == (1, 5)
    assert share.bytes_written + share.bytes_kept == sum(map(len, before.values()))
    finish_generation(SPEC, tmp_path, CREATED)
    assert contents(tmp_path) == before
    os.truncate(index, 17)
    assert not begin_generation(SPEC, tmp_path)


def test_an_index_that_cannot_be_named_leaves_no_rest(tmp_path: Path) -> None:
    """When an index cannot get its name, the rank fails, names it, and closes and removes all."""
    begin_generation(SPEC, tmp_path)
    beside = Path(str(tmp_path / SPEC.relative_path(5)) + ".off.idx")
    beside.mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BenchmarkError, match=r"img_5_of_6"):
        generate_share(SPEC, tmp_path, 0, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / SPEC.relative_path(5)).exists()


def test_an_interrupt_leaves_no_rest(tmp_path: Path) -> None:
    """Ctrl-C within a data file removes its unfinished indexes too."""
    begin_generation(SPEC, tmp_path)

    def interrupt(files: int, _total: int, done: int) -> None:
        # Both indexes of the third file are written, and its data begun.
        if files == 2 and done > 2 * INDEX_BYTES + int(SPEC.file_bytes()[:2].sum()) + INDEX_BYTES:
            raise KeyboardInterrupt

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyboardInterrupt):
        generate_share(SPEC, tmp_path, 0, 1, on_progress=interrupt, progress_seconds=0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.rglob("*.part"))
    assert len(contents(tmp_path)) == 6


def test_an_index_of_unknown_origin_is_not_kept(tmp_path: Path) -> None:
    """A lone index without a manifest is refused, and removed by force; other names stay."""
    (tmp_path / "train").mkdir()
    lone = tmp_path / "train/img_0_of_9.indexed_binary.sz.idx"
    stranger = tmp_path / "train/img_0_of_9.indexed_binary.bak"
    stranger.write_bytes(b"mine")
    begin_generation(SPEC, tmp_path)
    (tmp_path / BEGUN_NAME).unlink()
    lone.write_bytes(bytes(400))
    with pytest.raises(ConfigurationError, match=r"sz\.idx"):
        begin_generation(SPEC, tmp_path)
    begin_generation(SPEC, tmp_path, force=True)
    assert contents(tmp_path) == {"train/img_0_of_9.indexed_binary.bak": b"mine"}


def test_free_space_is_asked_for_the_indexes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space and inodes for the indexes are checked beforehand, with the figures."""
    spec = dataclasses.replace(SPEC, record_stdev_bytes=0.0)
    wanted = spec.total_bytes(spec.file_bytes())
    assert wanted == 6 * (50 * 900 + INDEX_BYTES)
    actual = os.statvfs(tmp_path)

    def free(count: int, inodes: int) -> None:
        values = list(actual)
        # f_frsize, f_bavail; f_files, f_favail
        values[1], values[4] = 1, count
        values[5], values[7] = 1000, inodes
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))

    free(wanted - 1, 18)
    with pytest.raises(ConfigurationError, match="too little free space"):
        begin_generation(spec, tmp_path)
    free(wanted, 17)
    with pytest.raises(ConfigurationError, match="inodes: 18 needed, 17 available"):
        begin_generation(spec, tmp_path)
    free(wanted, 18)
    assert not begin_generation(spec, tmp_path)
