from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.run import Status
from mlpstorage.store.codec import Metadata, write_metadata
from mlpstorage.store.history import find, scan
from mlpstorage.store.launcher import Launcher, is_alive, this_launcher

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "results-v1.0"

# A run that says it has started and then waits to be killed.
RUN = """
import sys; from datetime import datetime, timezone; from pathlib import Path
from mlpstorage.core.run import Status
from mlpstorage.store.codec import Metadata, utc_text, write_metadata
from mlpstorage.store.launcher import this_launcher
from mlpstorage.store.layout import RunDirectory
me = this_launcher()
run = RunDirectory.create(Path(sys.argv[1]), ("training", "unet3d", "run"), datetime.now(),
                          command="run")
write_metadata(run.metadata, Metadata(
    benchmark_type="training", model="unet3d", command="run", run_id="live",
    status=Status.STARTED, start_time=utc_text(datetime.now(timezone.utc)), launcher_pid=me.pid,
    launcher_host=me.host, launcher_boot_id=me.boot_id, launcher_start_ticks=me.start_ticks))
print("started", flush=True)
sys.stdin.read()
"""


def add(results: Path, place: str, *, name: str = "", **facts: Any) -> Path:  # noqa: ANN401 - any field
    """Write the metadata of a run at that place of the tree."""
    directory = results / place
    directory.mkdir(parents=True, exist_ok=True)
    kind = place.split("/", maxsplit=1)[0]
    path = directory / (name or f"{kind}_{directory.name}_metadata.json")
    write_metadata(path, Metadata(benchmark_type=kind, **facts))
    return path


def started_by(launcher: Launcher) -> dict[str, Any]:
    """The fields of a run that this launcher began."""
    return {
        "status": Status.STARTED,
        **{f"launcher_{key}": value for key, value in asdict(launcher).items()},
    }


def dead_launcher() -> Launcher:
    """A launcher of this host and boot that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return Launcher(process.pid, this_launcher().host, this_launcher().boot_id, 1)


def test_mixed_tree(tmp_path: Path) -> None:
    """A tree of complete, failed, killed, broken and foreign runs is listed in order of start."""
    add(
        tmp_path,
        "kv_cache/run/20260103_100000",
        run_id="kv",
        status=Status.FAILED,
        start_time="2026-01-03T10:00:00Z",
        command="run",
    )
    add(
        tmp_path,
        "training/unet3d/run/20260101_100000",
        run_id="first",
        status=Status.COMPLETE,
        start_time="2026-01-01T10:00:00Z",
        runtime=60.5,
        model="unet3d",
        command="run",
        accelerator="h100",
        verification={"category": "CLOSED"},
        executed_command="mlpstorage training run --model unet3d",
    )
    add(
        tmp_path,
        "checkpointing/llama3-8b/20260102_100000",
        run_id="crash",
        start_time="2026-01-02T10:00:00Z",
        **started_by(dead_launcher()),
    )
    broken = tmp_path / "vector_database/run/20260104_100000"
    broken.mkdir(parents=True)
    (broken / "vector_database_20260104_100000_metadata.json").write_text('{"model":\n', "utf-8")
    foreign = tmp_path / "training/resnet50/run/20260105_100000"
    foreign.mkdir(parents=True)
    record = {
        "benchmark_type": "training",
        "model": "resnet50",
        "command": "run",
        "run_datetime": "20260105_100000",
        "runtime": None,
        "accelerator": "h100",
    }
    (foreign / "training_20260105_100000_metadata.json").write_text(json.dumps(record), "utf-8")

    entries = scan(tmp_path)
    assert [(e.number, e.run_id, e.status) for e in entries] == [
        (1, "first", "complete"),
        (2, "crash", "killed"),
        (3, "kv", "failed"),
        (4, "vector_database_20260104_100000", "broken"),
        (5, "training_run_resnet50_20260105_100000", "unknown"),
    ]
    first = entries[0]
    assert first.start == datetime(2026, 1, 1, 10, tzinfo=timezone.utc)
    assert first.runtime_seconds == 60.5
    assert first.verdict == "CLOSED"
    assert (first.kind, first.model, first.accelerator) == ("training", "unet3d", "h100")
    assert first.executed_command == "mlpstorage training run --model unet3d"
    assert first.directory == tmp_path / "training/unet3d/run/20260101_100000"
    assert "metadata.json:2: " in entries[3].reason
    assert entries[3].kind == "vector_database"
    local = datetime(2026, 1, 5, 10).astimezone()
    assert entries[4].start == local


def test_a_run_that_is_killed(tmp_path: Path) -> None:
    """A run is started while its process lives, and killed from the moment of SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == "started\n"
        assert [entry.status for entry in scan(tmp_path)] == ["started"]
        process.kill()
        # Nobody has waited for it yet, so it passes through a zombie of the same pid.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert [entry.status for entry in scan(tmp_path)] == ["killed"]
        process.wait(timeout=10)
    assert [entry.status for entry in scan(tmp_path)] == ["killed"]


def test_who_is_alive() -> None:
    """A launcher lives if host, boot, pid and start time agree; of other hosts nobody knows."""
    me = this_launcher()
    assert me.start_ticks > 0
    assert is_alive(me) is True
    assert is_alive(Launcher(me.pid, me.host, me.boot_id, me.start_ticks + 1)) is False
    assert is_alive(Launcher(me.pid, me.host, "an earlier boot", me.start_ticks)) is False
    assert is_alive(Launcher(0, me.host, me.boot_id, 0)) is False
    assert is_alive(Launcher(1 << 60, me.host, me.boot_id, 0)) is False
    assert is_alive(Launcher(me.pid, "another-host", "another boot", 1)) is None


def test_a_process_that_proc_hides() -> None:
    """Another user's process counts as hidden, not ended, if only signals can tell of it."""
    code = (
        "import os, sys; from mlpstorage.store.launcher import _is_hidden\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "print(_is_hidden(1), _is_hidden(0), _is_hidden(int(sys.argv[1])))\n"
    )
    gone = str(dead_launcher().pid)
    told = subprocess.run(
        [sys.executable, "-c", code, gone], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["True", "False", "False"]


def test_a_run_of_another_host(tmp_path: Path) -> None:
    """A run that another host started is listed as started: whether it lives is not known here."""
    elsewhere = Launcher(1, "another-host", "another boot", 1)
    add(tmp_path, "training/unet3d/run/20260101_100000", **started_by(elsewhere))
    assert [entry.status for entry in scan(tmp_path)] == ["started"]


@pytest.mark.parametrize(
    "place",
    [
        "training/unet3d/run",
        "checkpointing/llama3-8b",
        "vector_database/run",
        "closed/acme/results/cluster-a/training/unet3d/run",
        "open/acme/results/cluster-a/checkpointing/llama3-8b",
        "open/acme/results/cluster-a/vector_database/milvus/DISKANN/run",
    ],
)
def test_known_places(tmp_path: Path, place: str) -> None:
    """Runs are found in the layout of every round, submissions included."""
    add(tmp_path, f"{place}/20260101_100000", run_id="here")
    assert [entry.run_id for entry in scan(tmp_path)] == ["here"]


def test_places_that_hold_no_history(tmp_path: Path) -> None:
    """Links, trash, copies inside a run, and directories that are too deep are passed over."""
    real = tmp_path / "elsewhere"
    add(real, "training/unet3d/run/20260101_100000")
    results = tmp_path / "results"
    (results / "training").mkdir(parents=True)
    (results / "training" / "link").symlink_to(real / "training" / "unet3d")
    add(results, ".mlps/trash/training/20260101_100000")
    add(results, "training/a/b/c/d/e/20260101_100000")
    add(results, "training/unet3d/run/20260101_100000/ranks/20260101_100000")
    add(results, "training/unet3d/run/not-a-stamp")
    (results / "training/unet3d/run/20260101_100000/x_metadata.json").symlink_to("/etc/hostname")
    assert scan(results) == []
    (tmp_path / "root-link").symlink_to(real)
    assert len(scan(tmp_path / "root-link")) == 1


def test_no_history(tmp_path: Path) -> None:
    """A missing or empty results directory has an empty history; a file is an error."""
    assert scan(tmp_path) == []
    assert scan(tmp_path / "missing") == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot list the results directory"):
        scan(tmp_path / "file")


def test_a_results_directory_that_may_not_be_listed(tmp_path: Path) -> None:
    """A results directory without read permission is an access error, not an empty history."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from mlpstorage.store.history import scan\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: scan(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    mode = closed.stat().st_mode & 0o777
    told = subprocess.run(
        [sys.executable, "-c", code, str(closed)], capture_output=True, text=True, check=True
    )
    assert mode == 0
    assert told.stdout.startswith(AccessError.__name__), told.stdout


def test_find(tmp_path: Path) -> None:
    """A run is found by its number and by its id."""
    add(tmp_path, "training/unet3d/run/20260101_100000", run_id="training_run_unet3d_a")
    add(tmp_path, "training/unet3d/run/20260102_100000", run_id="training_run_unet3d_b")
    assert find(tmp_path, "2").run_id == "training_run_unet3d_b"
    assert find(tmp_path, " training_run_unet3d_a ").number == 1


def test_find_nothing(tmp_path: Path) -> None:
    """A wrong id gets the nearest in the fix, an empty history says so."""
    with pytest.raises(NotFoundError, match="no runs in"):
        find(tmp_path, "1")
    add(tmp_path, "training/unet3d/run/20260101_100000", run_id="training_run_unet3d_a")
    with pytest.raises(NotFoundError) as caught:
        find(tmp_path, "training_run_unet3_a")
    assert "did you mean training_run_unet3d_a?" in caught.value.fix
    with pytest.raises(NotFoundError, match="1 to 1") as caught:
        find(tmp_path, "0")
    assert "use one of: training_run_unet3d_a" in caught.value.fix


def test_find_a_name_that_several_bear(tmp_path: Path) -> None:
    """An id that two systems' runs share is refused with the numbers to choose from."""
    for system in "ab":
        place = f"open/acme/results/{system}/training/unet3d/run/20260101_100000"
        add(tmp_path, place, run_id="same")
    with pytest.raises(UsageError, match="2 runs are named same") as caught:
        find(tmp_path, "same")
    assert "1, 2" in caught.value.fix


def test_published_results(tmp_path: Path) -> None:
    """A published tree of another tool, without metadata files, adds nothing and harms nothing."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"no published results at {PUBLISHED}")
    assert scan(PUBLISHED) == []
    shutil.copytree(PUBLISHED / "Closed", tmp_path / "training" / "published")
    add(tmp_path, "training/unet3d/run/20260101_100000", run_id="ours")
    assert [entry.run_id for entry in scan(tmp_path)] == ["ours"]
