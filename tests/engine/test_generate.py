from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import (
    AccessError,
    BenchmarkError,
    ConfigurationError,
    NotFoundError,
)
from mlpstorage.engine.dataset import MANIFEST_NAME, DatasetSpec, Manifest
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import BEGUN_NAME, begin_generation, finish_generation

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = DatasetSpec("unet3d", "npz", 7, 0, 1, 200_000, 60_000.0, seed=10)
RECORDS = DatasetSpec("resnet50", "tfrecord", 7, 3, 50, 9_000, 0.0, seed=10)
CREATED = "2026-01-02T03:04:05+00:00"


def generate(spec: DatasetSpec, folder: Path, size: int = 1) -> Manifest:
    """Generate a whole data set with `size` ranks, the last first."""
    assert not begin_generation(spec, folder)
    for rank in reversed(range(size)):
        generate_share(spec, folder, rank, size)
    return finish_generation(spec, folder, CREATED)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below train."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "train").rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("spec", [SPEC, RECORDS], ids=lambda spec: spec.format)
def test_the_number_of_ranks_does_not_show(tmp_path: Path, spec: DatasetSpec) -> None:
    """One rank and three ranks write the same bytes into the same files, and all differ."""
    one = generate(spec, tmp_path / "one")
    three = generate(spec, tmp_path / "three", size=3)
    found = digests(tmp_path / "one")
    assert found == digests(tmp_path / "three")
    assert list(found) == sorted(spec.relative_path(i) for i in range(spec.num_files))
    assert len(set(found.values())) == spec.num_files
    assert one.digest == three.digest
    other = dataclasses.replace(spec, seed=11)
    generate(other, tmp_path / "other")
    assert set(digests(tmp_path / "other").values()).isdisjoint(found.values())


def test_a_finished_folder_holds_the_data_and_its_manifest(tmp_path: Path) -> None:
    """Afterwards there are data files of the announced sizes and a manifest, nothing else."""
    generate(SPEC, tmp_path, size=2)
    manifest = Manifest.load(tmp_path)
    names = [SPEC.relative_path(i) for i in range(SPEC.num_files)]
    sizes = [(tmp_path / name).stat().st_size for name in names]
    assert sizes == manifest.file_bytes.tolist() == SPEC.file_bytes().tolist()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"train", MANIFEST_NAME, "mlpstorage-manifest.sizes.npy"}
    with np.load(tmp_path / names[3]) as file:
        assert abs(file["x"].size - int(SPEC.sample_bytes()[3])) < 1000


@pytest.mark.parametrize("spec", [SPEC, RECORDS], ids=lambda spec: spec.format)
def test_storage_cannot_shrink_the_data(tmp_path: Path, spec: DatasetSpec) -> None:
    """The data set does not compress, and no 4 KiB block appears twice in it."""
    generate(spec, tmp_path)
    whole = [path.read_bytes() for path in (tmp_path / "train").rglob("img_*")]
    together = b"".join(whole)
    assert len(zlib.compress(together, 6)) > 0.99 * len(together)
    blocks = [data[i : i + 4096] for data in whole for i in range(0, len(data), 4096)]
    assert len(set(blocks)) == len(blocks)


def test_progress_grows_and_ends_complete(tmp_path: Path) -> None:
    """Files and bytes never go back, move within a file, and end at the rank's whole share."""
    spec = dataclasses.replace(SPEC, record_bytes=3_000_000)
    begin_generation(spec, tmp_path)
    seen: list[tuple[int, int, int]] = []
    share = generate_share(
        spec, tmp_path, 1, 2, on_progress=lambda *done: seen.append(done), progress_seconds=0
    )
    assert seen == sorted(seen)
    assert {total for _, total, _ in seen} == {3}
    assert seen[-1] == (3, 3, int(spec.file_bytes()[1::2].sum()))
    assert len([1 for files, _, _ in seen if files == 0]) >= 2
    assert (share.files_written, share.bytes_written) == (3, seen[-1][2])
    assert (share.files_kept, share.bytes_kept) == (0, 0)
    assert 0 <= share.stalled_seconds <= share.seconds


def test_a_large_file_needs_little_memory(tmp_path: Path) -> None:
    """A file of 64 MB is made within a few MiB of memory."""
    spec = DatasetSpec("m", "tfrecord", 1, 0, 640, 100_000, 0.0, seed=1)
    begin_generation(spec, tmp_path)
    tracemalloc.start()
    try:
        generate_share(spec, tmp_path, 0, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_whole_files_are_kept_and_broken_ones_made_again(tmp_path: Path) -> None:
    """A finished data set that lost a file and part of another is mended, the rest untouched."""
    generate(SPEC, tmp_path)
    before = digests(tmp_path)
    names = [tmp_path / SPEC.relative_path(i) for i in range(SPEC.num_files)]
    kept = {path: path.stat().st_ino for path in names[2:]}
    names[0].unlink()
    os.truncate(names[1], 1000)
    assert not begin_generation(SPEC, tmp_path)
    with pytest.raises(NotFoundError):
        Manifest.load(tmp_path)
    share = generate_share(SPEC, tmp_path, 0, 1)
    assert (share.files_written, share.files_kept) == (2, 5)
    assert share.bytes_written + share.bytes_kept == int(SPEC.file_bytes().sum())
    finish_generation(SPEC, tmp_path, CREATED)
    assert digests(tmp_path) == before
    assert {path: path.stat().st_ino for path in kept} == kept


def test_a_complete_data_set_is_recognised(tmp_path: Path) -> None:
    """Beginning again says that nothing is left to do, and leaves the manifest alone."""
    generate(SPEC, tmp_path)
    manifest = (tmp_path / MANIFEST_NAME).read_bytes()
    assert begin_generation(SPEC, tmp_path)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == manifest
    assert not (tmp_path / BEGUN_NAME).exists()


CHILD = """
import sys, time
from pathlib import Path
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.dataset import DatasetSpec

def stop(files, total, done):
    if files == 3 and done > 10_000_000:
        print("in the middle", flush=True)
        time.sleep(60)

spec = DatasetSpec({spec})
generate_share(spec, Path(sys.argv[1]), 0, 1, on_progress=stop, progress_seconds=0)
"""


def test_a_killed_generation_resumes(tmp_path: Path) -> None:
    """After kill -9 in the middle of a file, generation resumes to the same bytes."""
    spec = DatasetSpec("m", "npz", 6, 2, 1, 3_000_000, 0.0, seed=4)
    generate(spec, tmp_path / "reference")
    folder = tmp_path / "killed"
    begin_generation(spec, folder)
    code = CHILD.format(spec=", ".join(map(repr, dataclasses.astuple(spec))))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in the middle\n"
        # The first three files are being made durable by other threads of the child.
        while len(list(folder.rglob("img_*"))) < 3:
            time.sleep(0.01)
        child.kill()
    assert [path.name for path in folder.rglob("*.part")] == [".img_3_of_6.npz.part"]
    with pytest.raises(BenchmarkError, match=r"img_3_of_6\.npz is missing"):
        finish_generation(spec, folder, CREATED)
    assert not begin_generation(spec, folder)
    share = generate_share(spec, folder, 0, 1)
    assert (share.files_written, share.files_kept) == (3, 3)
    finish_generation(spec, folder, CREATED)
    assert digests(folder) == digests(tmp_path / "reference")
    assert not list(folder.rglob("*.part"))


def test_another_data_set_is_not_mixed_in(tmp_path: Path) -> None:
    """A folder with a finished or begun data set of another spec is refused until forced."""
    other = dataclasses.replace(SPEC, seed=11)
    begin_generation(SPEC, tmp_path)
    with pytest.raises(ConfigurationError, match="seed 10, not 11") as caught:
        begin_generation(other, tmp_path)
    assert "--force" in caught.value.fix
    with pytest.raises(ConfigurationError, match="seed 10, not 11"):
        generate_share(other, tmp_path, 0, 1)
    generate_share(SPEC, tmp_path, 0, 1)
    finish_generation(SPEC, tmp_path, CREATED)
    with pytest.raises(ConfigurationError, match="seed 10, not 11"):
        begin_generation(other, tmp_path)
    assert len(digests(tmp_path)) == 7


def test_force_replaces_all_data_files(tmp_path: Path) -> None:
    """With force no file of the earlier data set survives, and strangers' files do."""
    generate(RECORDS, tmp_path / "a")
    (tmp_path / "a/train/notes.txt").write_text("mine")
    equal_sizes = dataclasses.replace(RECORDS, seed=11, num_files=5)
    assert not begin_generation(equal_sizes, tmp_path / "a", force=True)
    share = generate_share(equal_sizes, tmp_path / "a", 0, 1)
    assert (share.files_written, share.files_kept) == (5, 0)
    finish_generation(equal_sizes, tmp_path / "a", CREATED)
    generate(equal_sizes, tmp_path / "b")
    assert (tmp_path / "a/train/notes.txt").read_text() == "mine"
    (tmp_path / "a/train/notes.txt").unlink()
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_files_of_unknown_origin_are_not_kept(tmp_path: Path) -> None:
    """Data files without a manifest are refused: their size says nothing of their bytes."""
    generate(SPEC, tmp_path)
    (tmp_path / MANIFEST_NAME).unlink()
    with pytest.raises(ConfigurationError, match="no manifest describes"):
        begin_generation(SPEC, tmp_path)
    assert not begin_generation(SPEC, tmp_path, force=True)


def test_a_host_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    """A rank whose folder was never begun refuses, before it writes anything."""
    with pytest.raises(NotFoundError, match="was not prepared") as caught:
        generate_share(SPEC, tmp_path, 0, 1)
    assert "every host" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_finishing_names_a_file_of_the_wrong_size(tmp_path: Path) -> None:
    """A file that was cut behind our back is named, and there is no manifest."""
    begin_generation(SPEC, tmp_path)
    generate_share(SPEC, tmp_path, 0, 1)
    os.truncate(tmp_path / SPEC.relative_path(5), 17)
    with pytest.raises(BenchmarkError, match=r"img_5_of_7\.npz has 17 bytes"):
        finish_generation(SPEC, tmp_path, CREATED)
    assert not (tmp_path / MANIFEST_NAME).exists()


def test_a_failure_of_the_flusher_is_not_lost(tmp_path: Path) -> None:
    """When a file cannot get its final name, the rank fails, names it and leaves no rest."""
    begin_generation(SPEC, tmp_path)
    (tmp_path / SPEC.relative_path(6)).mkdir()
    before = open_files()
    with pytest.raises(BenchmarkError, match=r"img_6_of_7\.npz"):
        generate_share(SPEC, tmp_path, 0, 1)
    assert open_files() == before
    assert not list(tmp_path.rglob("*.part"))


def test_an_interrupt_leaves_no_rest(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a file removes the unfinished file and closes everything."""
    begin_generation(SPEC, tmp_path)

    def interrupt(files: int, _total: int, _bytes: int) -> None:
        if files == 2:
            raise KeyboardInterrupt

    before = open_files()
    with pytest.raises(KeyboardInterrupt):
        generate_share(SPEC, tmp_path, 0, 1, on_progress=interrupt, progress_seconds=0)
    assert open_files() == before
    assert not list(tmp_path.rglob("*.part"))


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own at `folder`."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_too_little_space_is_refused_at_once(tmp_path: Path) -> None:
    """What does not fit is refused before the first byte, with the figures."""
    with mounted(tmp_path / "small", "size=1m"):
        with pytest.raises(ConfigurationError, match=r"1\.4. MiB needed") as caught:
            begin_generation(SPEC, tmp_path / "small/data")
        assert "1.00 MiB available" in caught.value.what
        assert "short" in caught.value.what
        assert not list((tmp_path / "small").rglob("img*"))


def test_too_few_inodes_are_refused_at_once(tmp_path: Path) -> None:
    """More files than the file system can name are refused before the first byte."""
    with (
        mounted(tmp_path / "small", "size=8m,nr_inodes=8"),
        pytest.raises(ConfigurationError, match="inodes: 7 needed, 5 available, 2 short"),
    ):
        begin_generation(SPEC, tmp_path / "small/data")


def test_a_disk_that_fills_up_is_named_and_resumed(tmp_path: Path) -> None:
    """When others fill the disk, the rank fails cleanly, and resumes after space is freed."""
    generate(SPEC, tmp_path / "reference")
    with mounted(tmp_path / "small", "size=2m"):
        folder = tmp_path / "small/data"
        begin_generation(SPEC, folder)
        (tmp_path / "small/other").write_bytes(bytes(1_200_000))
        with pytest.raises(BenchmarkError, match="No space left on device") as caught:
            generate_share(SPEC, folder, 0, 1)
        assert "img_" in caught.value.what
        assert str(folder) in caught.value.why
        assert "resumes" in caught.value.fix
        assert not list(folder.rglob("*.part"))
        (tmp_path / "small/other").unlink()
        begin_generation(SPEC, folder)
        share = generate_share(SPEC, folder, 0, 1)
        assert share.files_kept > 0
        finish_generation(SPEC, folder, CREATED)
        assert digests(folder) == digests(tmp_path / "reference")


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    """A file system that became read-only is an access error that names the directory."""
    with mounted(tmp_path / "small", "size=4m"):
        folder = tmp_path / "small/data"
        begin_generation(SPEC, folder)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "small"], check=True)
        with pytest.raises(AccessError, match="Read-only file system") as caught:
            generate_share(SPEC, folder, 0, 1)
        assert str(folder) in caught.value.fix
        with pytest.raises(AccessError, match="Read-only file system"):
            begin_generation(dataclasses.replace(SPEC, num_subfolders=2), folder, force=True)
