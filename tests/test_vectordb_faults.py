"""What `mlpstorage vectordb` does when something is wrong, or breaks on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vectordb_program import made, run, runs, small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Program


@pytest.mark.parametrize(
    ("words", "changes", "code", "told"),
    [
        ((), {"dimension": 17}, 5, "dimension 16 instead of 17"),
        ((), {"vectors": 2999}, 5, "vectors 3000 instead of 2999"),
        ((), {"params": ("index.nonsense=1",)}, 2, "no parameter index.nonsense"),
        ((), {"params": ("query.list_size=3",)}, 2, "no parameter query.list_size"),
        (("--vdb-engine", "milwus"), {}, 2, "unknown backend"),
        (("--index-type", "HNSW"), {}, 2, "no index type"),
        (("--cache-state", "tepid"), {}, 2, "tepid"),
        (("--collection", "../x"), {}, 2, "is no name"),
        (("--num-query-processes", "0"), {}, 2, "num-query-processes"),
        (("--memory-cap", "1MiB"), {}, 2, "memory-cap"),
        (("--closed",), {}, 5, "can never be CLOSED"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(
    shared: Program, words: tuple[str, ...], changes: dict[str, Any], code: int, told: str
) -> None:
    """Another dimension, unknown parameters and impossible wishes end before a run begins."""
    before = len(runs(shared))
    done = run(shared, *words, **changes)
    assert done.code == code, done.err
    assert told in done.err
    assert len(runs(shared)) == before


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program whose directory has a data set, for tests that leave it alone."""
    from conftest import Program

    program = Program(tmp_path_factory.mktemp("shared"))
    made(program)
    return program


def test_no_data_names_the_command_that_makes_them(program: Program) -> None:
    """Without a data set the fix is a datagen with the same options."""
    done = run(program)
    assert done.code == 3
    assert "mlpstorage vectordb datagen" in done.err
    assert "--num-vectors 3000" in done.err


def test_a_stale_truth_ends_the_run_before_it_begins(program: Program) -> None:
    """Neighbours of another data set are named as stale; datagen mends them."""
    made(program)
    made(program, "--data-dir", "other", "--seed", "7")
    for name in ("truth.bin", "truth.json"):
        shutil.copy(program.home / "other/tiny" / name, program.home / "vectors/tiny" / name)
    done = run(program)
    assert done.code == 5
    assert "stale" in done.err
    assert not runs(program)
    made(program)
    assert run(program, clients="1").code == 0


def test_a_collection_of_other_vectors_is_not_searched(program: Program) -> None:
    """New data under an old collection are an error; --rebuild makes it anew."""
    made(program)
    assert run(program, clients="1").code == 0
    made(program, "--force", "--seed", "7")
    done = run(program, "--seed", "7", clients="1")
    assert done.code == 5
    assert "dataset_hash" in done.err
    assert run(program, "--seed", "7", "--rebuild", clients="1").code == 0


def test_other_parameters_of_the_index_are_not_passed_over(program: Program) -> None:
    """A collection that was built otherwise is an error, not a result under false parameters."""
    made(program)
    assert run(program, params=("index.nlist=30",), clients="1").code == 0
    done = run(program, params=("index.nlist=31",), clients="1")
    assert done.code == 5
    assert "nlist" in done.err


def test_a_damaged_base_is_noticed_while_loading(program: Program) -> None:
    """One flipped bit of the vectors ends the run, and nothing is reported as valid."""
    made(program)
    base = program.home / "vectors/tiny/base.fbin"
    data = bytearray(base.read_bytes())
    data[5000] ^= 4
    base.write_bytes(data)
    done = run(program)
    assert done.code == 6
    assert "checksum" in done.err
    (entry,) = runs(program)
    assert (entry["status"], entry["verdict"]) == ("failed", None)


def test_a_lost_rank_is_a_failure(program: Program) -> None:
    """SIGKILL of one client ends the run, named, without orphans and without a verdict."""
    made(program)
    controller = start(program, "--num-query-processes", "3", "--runtime", "30")
    ranks = wait_for(controller, lambda: children(controller.pid, "mlpstorage.rank"), 3)
    time.sleep(3)
    os.kill(ranks[1], signal.SIGKILL)
    _, err = controller.communicate(timeout=30)
    assert controller.returncode == 6
    assert "SIGKILL" in err
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    (entry,) = runs(program)
    assert (entry["status"], entry["verdict"]) == ("failed", None)


def test_an_interrupted_load_is_resumed(program: Program) -> None:
    """A killed load goes on after the vectors that are in, and the collection is whole."""
    made(program)
    staged = program.home / "vectors/tiny/collections/ivf-probe-ivf_flat/staged.f32"
    controller = start(program, "--load-batch-size", "1", "--num-query-processes", "1")
    wait_for(controller, lambda: [1] * (staged.stat().st_size // 64 if staged.exists() else 0), 50)
    controller.kill()
    controller.communicate(timeout=30)
    gone_by = time.monotonic() + 10
    while time.monotonic() < gone_by and processes_with("mlpstorage.rank", program.home):
        time.sleep(0.05)
    done = run(program, clients="1")
    assert done.code == 0, done.err
    load = done.json["summary"]["load"]
    assert 0 < load["resumed_from"] < 3000
    assert done.json["summary"]["recall"] >= 0.95


def test_a_full_disk_ends_the_build(program: Program, small_disk: Path) -> None:
    """Without room for the index the run fails, says so, and can be repeated elsewhere."""
    size = {"vectors": 20_000, "dimension": 64}
    made(program, **size)
    done = run(program, "--storage-root", str(small_disk), clients="1", **size)
    assert done.code == 6, done.err
    assert "full" in done.err or "No space" in done.err
    (entry,) = runs(program)
    assert (entry["status"], entry["verdict"]) == ("failed", None)
    assert run(program, clients="1", **size).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 6 MiB, which is left without room by an index of 10 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no filesystem can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def start(program: Program, *more: str) -> subprocess.Popen[str]:
    """A run of the probe, left running."""
    return program.start("vectordb", "run", "--vdb-engine", "ivf-probe", *more, *small())


def children(parent: int, word: str) -> list[int]:
    """The processes below one whose command line has a word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                line = (folder / "cmdline").read_text()
            except OSError:
                continue
            if above == parent and word in line:
                found.append(int(folder.name))
    return sorted(found)


def processes_with(word: str, home: Path) -> list[int]:
    """The processes in a directory whose command line has a word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if word in (folder / "cmdline").read_text() and (folder / "cwd").readlink() == home:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def wait_for(controller: subprocess.Popen[str], look: Any, count: int) -> list[int]:  # noqa: ANN401 (a function)
    """What `look` finds, when it is at least so many."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found: list[int] = look()
        if len(found) >= count:
            return found
        assert controller.poll() is None, controller.communicate()
        time.sleep(0.02)
    raise AssertionError(f"{count} were not seen in time")
