from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import AccessError, BenchmarkError
from mlpstorage.engine.checkpoint.lanes import Buffers, Shard
from mlpstorage.engine.checkpoint.reading import read_shards
from mlpstorage.engine.checkpoint.stamps import file_ident
from mlpstorage.engine.checkpoint.writing import write_shards
from mlpstorage.engine.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
SEED = 5
SHARDS = [
    Shard("model.pt", 3 * MIB + 4096, file_ident(1, 0, 0)),
    Shard("optim.pt", 4096, file_ident(1, 0, 1)),
    Shard("other.pt", 2 * MIB, file_ident(1, 0, 2)),
]


@pytest.fixture
def buffers() -> Buffers:
    """Filled buffers for two writes of 1 MiB at a time."""
    made = Buffers(2, MIB)
    for index, buffer in enumerate(made.all):
        buffer.fill(Payload(SEED, index), SEED)
    return made


@pytest.mark.parametrize("direct", [False, True])
def test_files_have_every_byte_and_only_their_names(
    tmp_path: Path, buffers: Buffers, *, direct: bool
) -> None:
    """The folder holds the files in full length, verified in every byte, and nothing else."""
    folder = tmp_path / "a" / "b"
    written = write_shards(folder, SHARDS, buffers, depth=2, direct=direct)
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        shard.name: shard.bytes for shard in SHARDS
    }
    assert (written.bytes, written.files) == (5 * MIB + 8192, 3)
    back = read_shards(folder, SHARDS, buffers, depth=2, direct=direct, seed=SEED, check="full")
    assert back.mismatches == 0
    assert back.sectors_verified == back.payloads_verified == written.bytes // 4096


def test_times_add_up(tmp_path: Path, buffers: Buffers) -> None:
    """Each part of the time is counted, and the whole holds them."""
    written = write_shards(tmp_path / "c", SHARDS, buffers, depth=2, direct=False)
    parts = (
        written.open_seconds,
        written.write_seconds,
        written.fsync_seconds,
        written.name_seconds,
    )
    assert all(part > 0 for part in parts)
    assert written.seconds >= max(written.open_seconds, written.name_seconds)


def _traced(folder: Path, fsync: str) -> list[str]:
    """The system calls of a write in a process of its own."""
    program = folder / "write.py"
    program.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from mlpstorage.engine.checkpoint.lanes import Buffers, Shard
        from mlpstorage.engine.checkpoint.writing import write_shards
        shards = [Shard("m.pt", 1 << 20, 1), Shard("o.pt", 1 << 20, 2)]
        write_shards(Path({str(folder / "ck")!r}), shards, Buffers(2, 1 << 18), depth=2,
                     direct=False, fsync={fsync})
        """)
    )
    log = folder / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64"
    words = ["strace", "-f", "-y", "-o", str(log), "-e", calls, sys.executable, str(program)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [
        line.partition(" ")[2].strip() for line in log.read_text().splitlines() if "/ck" in line
    ]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_names_come_after_fsync_of_all_files(tmp_path: Path) -> None:
    """Every file is fsynced, then all are renamed, then the folder is fsynced: seen by strace."""
    order = [line.partition("(")[0] for line in _traced(tmp_path, "True")]
    kinds = [call for call in order if call != "pwrite64"]
    assert kinds == ["fsync", "fsync", "rename", "rename", "fsync"]
    last_write = max(index for index, call in enumerate(order) if call == "pwrite64")
    assert last_write < order.index("rename")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_without_fsync_there_is_none(tmp_path: Path) -> None:
    """fsync=False makes no call of it."""
    calls = [line.partition("(")[0] for line in _traced(tmp_path, "False")]
    assert "rename" in calls
    assert not [call for call in calls if "sync" in call]


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_filesystem_is_named_and_left_as_it_was(tmp_path: Path, buffers: Buffers) -> None:
    """ENOSPC names the file and the room that is left; no file of the checkpoint remains."""
    small = tmp_path / "small"
    with _mounted(small, "size=4m"):
        with pytest.raises(BenchmarkError, match=r"model\.pt|other\.pt") as caught:
            write_shards(small / "ck", SHARDS, buffers, depth=2, direct=False)
        assert "No space left" in caught.value.what
        assert "full" in caught.value.why
        assert list((small / "ck").iterdir()) == []


def test_a_read_only_filesystem_is_named(tmp_path: Path, buffers: Buffers) -> None:
    """EROFS is an error of access that names the folder."""
    small = tmp_path / "small"
    with _mounted(small, "size=1m,ro"):
        with pytest.raises(AccessError) as caught:
            write_shards(small / "ck", SHARDS, buffers, depth=2, direct=False)
        assert "Read-only file system" in caught.value.what
        assert str(small / "ck") in caught.value.what


def test_a_name_that_is_taken_by_a_folder(tmp_path: Path, buffers: Buffers) -> None:
    """When a file cannot get its name, the failure names it and no temporary file is left."""
    (tmp_path / "ck" / "other.pt").mkdir(parents=True)
    with pytest.raises(BenchmarkError, match=r"other\.pt"):
        write_shards(tmp_path / "ck", SHARDS, buffers, depth=2, direct=False)
    assert not list((tmp_path / "ck").glob(".*"))


def test_memory_is_bounded_by_the_buffers(tmp_path: Path) -> None:
    """A process that writes and reads 400 MiB through 6 MiB grows by less than 40 MiB."""
    program = f"""
    import resource
    from pathlib import Path
    from mlpstorage.engine.checkpoint.lanes import Buffers, Shard
    from mlpstorage.engine.checkpoint.reading import read_shards
    from mlpstorage.engine.checkpoint.writing import write_shards
    from mlpstorage.engine.payload import Payload
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    Payload(1, 1).fill(memoryview(bytearray(4096)))
    before, folder = peak(), Path({str(tmp_path / "ck")!r})
    shards, buffers = [Shard("m.pt", 400 << 20, 1)], Buffers(4, 1 << 20)
    for index, buffer in enumerate(buffers.all):
        buffer.fill(Payload(1, index), 1)
    write_shards(folder, shards, buffers, depth=4, direct=False, fsync=False)
    back = read_shards(folder, shards, buffers, depth=4, direct=False, seed=1)
    print(peak() - before, back.mismatches)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    grown, mismatches = map(int, done.stdout.split())
    assert mismatches == 0
    assert grown < 40 * MIB
