"""What goes wrong with checkpoints: each fault is detected and named, and nothing is a result."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from checkpointing_tiny import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Program


@pytest.fixture
def words(program: Program) -> Words:
    """The words of runs of the tiny model in the program's directory."""
    return Words(program.home)


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def _one(program: Program) -> Path:
    folder = program.home / "ck/tiny/global_epoch1_step2"
    return folder / "zero_pp_rank_1_mp_rank_0_optim_states.pt"


@pytest.mark.parametrize(("at", "verify"), [(40_960 + 8, "stamps"), (40_960 + 2000, "full")])
def test_a_flipped_bit_is_named_and_reading_has_no_figures(
    program: Program, words: Words, at: int, verify: str
) -> None:
    """A bit flipped between writing and reading: INVALID, file and offset named, never exit 0."""
    assert program(*words("-ncr", "0", "-aip")).code == 0
    _flip(_one(program), at)
    done = program(*words("-ncw", "0", "-aip", "--verify", verify))
    assert done.code == 1
    (issue,) = [issue for issue in done.json["verdict"]["issues"] if issue["rule"] == "C.2"]
    assert issue["category"] == "INVALID"
    assert f"{_one(program)} at offset 40960" in issue["what"]
    summary = done.json["summary"]
    assert summary["load"] is None
    assert not [name for name in summary["metric"] if name.startswith("load")]
    assert summary["verification"]["mismatches"] == 1


def test_a_truncated_file_is_named_before_the_run(program: Program, words: Words) -> None:
    """A file that lost its end is found before any rank starts; nothing is printed as a result."""
    assert program(*words("-ncr", "0", "-aip")).code == 0
    with _one(program).open("r+b") as file:
        file.truncate(8192)
    done = program(*words("-ncw", "0", "-aip"))
    assert done.code == 6
    assert f"{_one(program)} is truncated: it has 8192 of" in done.err
    assert done.out == ""


def _wait_for(found: Callable[[], Any], process: subprocess.Popen[str]) -> Any:  # noqa: ANN401 (what is found)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.002)
    process.kill()
    pytest.fail(f"it did not come to that: {process.communicate()}")


def _rank_pids(controller: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text()
    return [int(word) for word in children.split() if _is_rank(word)]


def _is_rank(pid: str) -> bool:
    try:
        return b"mlpstorage.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


SLOW = ["--params", "checkpoint.block_size=4096", "checkpoint.write_threads=1"]


def test_a_rank_killed_while_writing_leaves_no_file_with_its_name(
    program: Program, words: Words
) -> None:
    """SIGKILL of a rank fails the run; none of its files has its name, nothing is complete."""
    folder = program.home / "ck/tiny/global_epoch1_step1"
    controller = program.start(*words("-aip", *SLOW, "model.transformer.vocab_size=40000"))
    _wait_for(lambda: len(list(folder.glob(".*.part"))) == 4, controller)
    pids = _rank_pids(controller)
    assert len(pids) == 2
    os.kill(max(pids), signal.SIGKILL)
    out, err = controller.communicate(timeout=30)
    assert controller.returncode == 6
    assert "SIGKILL" in err
    assert out == ""
    assert not list(folder.glob("*.pt"))
    record = json.loads((folder.parent / "mlpstorage-checkpoints.json").read_text())
    assert record["complete"] == 0
    (entry,) = program("history", "list", "--json").json["runs"]
    assert entry["status"] == "failed"
    again = program(*words("-ncw", "0", "-aip", "--params", "model.transformer.vocab_size=40000"))
    assert again.code == 3
    assert "no checkpoint in" in again.err
    assert program(*words("-aip")).code == 0
    assert not list(folder.glob(".*.part"))


@pytest.fixture
def mounted(program: Program) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system in memory at `ck`; unmounted at the end."""
    place = program.home / "ck"
    place.mkdir()

    def mount(options: str) -> Path:
        line = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(line, check=False).returncode:
            pytest.skip("mounting is not permitted here")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_too_small_a_filesystem_is_refused_before_the_run(
    program: Program, words: Words, mounted: Callable[[str], Path]
) -> None:
    """Less room than all checkpoints need is found first, with what is short."""
    mounted("size=40m")
    done = program(*words("-aip"))
    assert done.code == 5
    assert "are needed" in done.err
    assert words.files() == {}


def test_a_filesystem_that_fills_up_fails_the_run(
    program: Program, words: Words, mounted: Callable[[str], Path]
) -> None:
    """With the checks skipped, ENOSPC of a rank names the file; no result, none under its name."""
    mounted("size=40m")
    done = program(*words("-aip", "--skip-validation"))
    assert done.code == 6
    assert "No space left on device" in done.err
    assert "_states.pt" in done.err
    assert done.out == ""
    # A rank that is ended beside the one that failed leaves what it was writing, as a part.
    assert not [name for name in words.files() if "step2" in name and name.endswith(".pt")]
    (entry,) = program("history", "list", "--json").json["runs"]
    assert entry["status"] == "failed"


@contextmanager
def _read_only(place: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def test_a_read_only_folder_is_refused(
    program: Program, words: Words, mounted: Callable[[str], Path]
) -> None:
    """A filesystem that is mounted read-only ends the run before it began, named."""
    place = mounted("size=100m")
    with _read_only(place):
        done = program(*words("-aip"))
    assert done.code == 4
    assert str(place) in done.err
    assert "ead-only file system" in done.err


def test_a_folder_that_becomes_read_only_fails_the_run(
    program: Program, words: Words, mounted: Callable[[str], Path]
) -> None:
    """A folder that turns read-only between two checkpoints fails the run and is named."""
    place = mounted("size=100m")
    first = place / "tiny/global_epoch1_step1"
    pause = ["--params", "checkpoint.time_between_checkpoints=3"]
    controller = program.start(*words("-aip", *pause))
    _wait_for(lambda: len(list(first.glob("*.pt"))) == 4, controller)
    time.sleep(0.3)
    with _read_only(place):
        out, err = controller.communicate(timeout=30)
    assert controller.returncode == 4, err
    assert "Read-only file system" in err
    assert "global_epoch1_step2" in err
    assert out == ""
