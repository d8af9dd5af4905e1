from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import AccessError, ConfigurationError, UsageError
from mlpstorage.store.layout import RunDirectory, stamp_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.core.errors import MlpstorageError

WHEN = datetime(2026, 1, 10, 23, 59, 58)  # noqa: DTZ001 - run directories bear local time


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        (("training", "unet3d", "run"), "training/unet3d/run/20260110_235958"),
        (("checkpointing", "llama3-8b"), "checkpointing/llama3-8b/20260110_235958"),
        (("kv_cache", "run"), "kv_cache/run/20260110_235958"),
    ],
)
def test_place(tmp_path: Path, segments: tuple[str, ...], place: str) -> None:
    """The segments and the time stamp make the path, and the directory is there and empty."""
    run = RunDirectory.create(tmp_path / "new" / "results", segments, WHEN, command="run")
    assert run.path == tmp_path / "new" / "results" / place
    assert list(run.path.iterdir()) == []
    assert run.timestamp == "20260110_235958"


def test_names(tmp_path: Path) -> None:
    """Every file inside has the name that other tools of the field look for."""
    run = RunDirectory.create(tmp_path, ("checkpointing", "llama3-8b"), WHEN, command="run")
    files = [
        run.stdout_log,
        run.stderr_log,
        run.metadata,
        run.timeseries,
        run.summary,
        run.cluster_info,
        run.events,
        run.ranks,
        run.output(3),
        run.per_epoch_stats(0),
    ]
    assert [file.relative_to(run.path).as_posix() for file in files] == [
        "checkpointing_run.stdout.log",
        "checkpointing_run.stderr.log",
        "checkpointing_20260110_235958_metadata.json",
        "checkpointing_20260110_235958_timeseries.json",
        "summary.json",
        "checkpointing_cluster_info.json",
        "events.jsonl",
        "ranks",
        "3_output.json",
        "0_per_epoch_stats.json",
    ]


def test_taken_second(tmp_path: Path) -> None:
    """A second run of the same second gets the next one, across midnight too."""
    made = [
        RunDirectory.create(tmp_path, ("kv_cache", "run"), WHEN, command="run") for _ in range(3)
    ]
    assert [run.timestamp for run in made] == [
        "20260110_235958",
        "20260110_235959",
        "20260111_000000",
    ]
    assert made[2].metadata.name == "kv_cache_20260111_000000_metadata.json"


def test_eight_processes_at_once(tmp_path: Path) -> None:
    """Eight processes that begin in the same second all get directories of their own."""
    code = (
        "import sys; from datetime import datetime; from pathlib import Path\n"
        "from mlpstorage.store.layout import RunDirectory\n"
        "sys.stdin.read()\n"
        "for _ in range(5):\n"
        "    print(RunDirectory.create(Path(sys.argv[1]), ('training', 'unet3d', 'run'),\n"
        "          datetime(2026, 1, 10, 9, 0, 0), command='run').path)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "results")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    paths = []
    for process in processes:
        assert process.stdout is not None
        with process.stdout:
            paths += process.stdout.read().split()
        assert process.wait(timeout=30) == 0
    assert len(set(paths)) == 40
    assert {path.name for path in (tmp_path / "results/training/unet3d/run").iterdir()} == {
        f"20260110_0900{second:02d}" for second in range(40)
    }


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "unet3d\n", "modèle", "\0"])
def test_names_that_cannot_be_components(tmp_path: Path, name: str) -> None:
    """A segment or command outside [A-Za-z0-9._-] is refused before anything is made."""
    with pytest.raises(UsageError, match="cannot name a directory"):
        RunDirectory.create(tmp_path / "r", ("training", name), WHEN, command="run")
    with pytest.raises(UsageError, match="cannot name a directory"):
        RunDirectory.create(tmp_path / "r", ("training",), WHEN, command=name)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("blocker", ["results", "results/training", "results/training/unet3d"])
def test_file_in_the_way(tmp_path: Path, blocker: str) -> None:
    """A file where a directory must be is a configuration error that names the file."""
    file = tmp_path / blocker
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("not a directory", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        RunDirectory.create(tmp_path / "results", ("training", "unet3d"), WHEN, command="run")
    assert f"{file} is not a directory" in caught.value.what
    assert str(file) in caught.value.fix
    assert caught.value.exit_code == 5
    assert file.read_text(encoding="utf-8") == "not a directory"


@contextmanager
def read_only(directory: Path) -> Iterator[Path]:
    """An empty file system that nobody, not even root, can write to."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a read-only tmpfs: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def assert_access_error(error: MlpstorageError, place: Path) -> None:
    """The error names the place and says what to do about it."""
    assert error.exit_code == 4
    assert str(place) in error.what
    assert error.why
    assert "--results-dir" in error.fix


def test_read_only_results(tmp_path: Path) -> None:
    """A read-only file system is an access error that names the place and the reason."""
    with (
        read_only(tmp_path / "ro") as place,
        pytest.raises(AccessError, match="read-only") as caught,
    ):
        RunDirectory.create(place, ("training", "unet3d", "run"), WHEN, command="run")
    assert_access_error(caught.value, place)


def test_place_where_nothing_can_be_made() -> None:
    """A results directory under /proc, where even root creates nothing, is an access error."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    with pytest.raises(AccessError) as caught:
        RunDirectory.create(Path("/proc/results"), ("kv_cache", "run"), WHEN, command="run")
    assert_access_error(caught.value, Path("/proc/results"))


def test_stamps_are_real_dates() -> None:
    """A name counts as a stamp only when its date exists."""
    assert stamp_moment("20240229_120000") == datetime(2024, 2, 29, 12)  # noqa: DTZ001 - local time
    for name in ("20230229_120000", "20260110", "20260110_250000", "x20260110_120000", "run"):
        assert stamp_moment(name) is None
