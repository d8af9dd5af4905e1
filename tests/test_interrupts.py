"""Ctrl-C on the installed command: at any moment, once, twice, and in data generation."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpointing_tiny import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Program

FILES = 96
_RANKS = 4


@dataclass(frozen=True)
class Stopped:
    """A command that was interrupted, and what it left."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def records(self) -> list[dict[str, Any]]:
        """The metadata of its runs; each must be whole."""
        return [json.loads(path.read_bytes()) for path in self.results.rglob("*_metadata.json")]


def run_words(program: Program, results: str) -> list[str]:
    """A run of four ranks that takes a minute."""
    return program.argv(
        "training", "run", *program.workload(), "-g", "h100", "-na", str(_RANKS), "--data-dir",
        "data", "-aip", "--results-dir", results, "--params",
        f"dataset.num_files_train={FILES}", "train.computation_time=0.05", "train.epochs=200",
    )  # fmt: skip


def interrupt(
    program: Program,
    words: list[str],
    results: str,
    wait: Callable[[subprocess.Popen[str]], None],
    number: signal.Signals = signal.SIGINT,
) -> Stopped:
    """Start a command, wait, interrupt it, and wait for its end."""
    process = subprocess.Popen(
        words,
        cwd=program.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return Stopped(process.returncode, out, err, program.home / results)


def ranks_in(home: Path) -> list[int]:
    """The ranks that work in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"mlpstorage.rank" in (entry / "cmdline").read_bytes() and (
                    os.readlink(entry / "cwd") == str(home)  # noqa: PTH115 - of a process
                ):
                    found.append(int(entry.name))
            except OSError:  # it has ended
                continue
    return found


def until_working(results: Path) -> Callable[[subprocess.Popen[str]], None]:
    """Wait until a rank has reported progress."""

    def wait(process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and process.poll() is None:
            if any('"progress"' in log.read_text() for log in results.rglob("events.jsonl")):
                return
            time.sleep(0.05)

    return wait


def test_ten_random_moments(program: Program) -> None:
    """Whenever it comes: exit code 130, no process left, a whole record, INVALID, usable data."""
    assert program.datagen(FILES).code == 0
    seed = random.SystemRandom().randrange(1 << 30)
    moments = random.Random(seed)  # noqa: S311 - not a secret
    waits = [moments.uniform(0.5, 6.0) for _ in range(10)]

    results = [f"results-{number}" for number in range(10)]
    words = [run_words(program, name) for name in results]

    def one(number: int) -> Stopped:
        sends = signal.SIGTERM if number % 3 == 2 else signal.SIGINT
        return interrupt(
            program, words[number], results[number], lambda _: time.sleep(waits[number]), sends
        )

    with ThreadPoolExecutor(5) as pool:
        stopped = list(pool.map(one, range(10)))
    for number, done in enumerate(stopped):
        told = f"seed {seed}, moment {number}: {done.err}"
        assert done.code == 130, told
        assert len(done.records) <= 1, told
        for record in done.records:
            assert (record["status"], record["exit_code"]) == ("interrupted", 130), told
            assert record["verification"]["category"] == "INVALID", told
            rules = [issue["rule"] for issue in record["verification"]["issues"]]
            assert "run.incomplete" in rules, told
    assert ranks_in(program.home) == []
    assert program.run(FILES, "-aip").code == 0


def test_the_first_interrupt_keeps_what_is_complete(program: Program) -> None:
    """The epochs that are complete are reported as a result, and the last block says what to do."""
    assert program.datagen(FILES).code == 0

    def two_epochs(process: subprocess.Popen[str]) -> None:
        until_working(program.home / "r")(process)
        log = next((program.home / "r").rglob("events.jsonl"))
        while '"epoch 3/200"' not in log.read_text():
            time.sleep(0.05)

    done = interrupt(program, run_words(program, "r"), "r", two_epochs)
    assert done.code == 130, done.err
    assert "finishing the step" in done.err
    (record,) = done.records
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    assert len(summary["metric"]["train_au_percentage"]) == summary["epochs_complete"] >= 2
    assert summary["metric"]["train_au_mean_percentage"] > 0
    issues = {issue["rule"]: issue for issue in record["verification"]["issues"]}
    assert issues["run.incomplete"]["expected"] == "200 epochs"
    assert issues["run.incomplete"]["actual"].startswith("epoch ")
    assert "T.2" not in issues  # bytes are all accounted for, of the epochs that count
    assert "INVALID (interrupted)" in done.out
    assert "run it again, to its end: mlpstorage training run" in done.out
    report = (Path(record["result_dir"]) / "training_run.stdout.log").read_text()
    assert "run.incomplete" in report


def test_loops_end_with_the_first_that_is_interrupted(program: Program) -> None:
    """Of three runs in a row, an interrupt in the first leaves the others out."""
    assert program.datagen(FILES).code == 0
    words = [*run_words(program, "r"), "--loops", "3"]
    done = interrupt(program, words, "r", until_working(program.home / "r"))
    assert done.code == 130, done.err
    assert len([r for r in done.records if r["command"] == "run" and r["model"]]) <= 2
    assert {r["status"] for r in done.records} == {"interrupted"}


def test_an_interrupt_that_comes_too_late_for_a_run_still_ends_the_set(program: Program) -> None:
    """In the last step there is nothing left to stop: the run is whole, but no other is made."""
    assert program.datagen(FILES).code == 0
    words = [
        *run_words(program, "r"), "train.epochs=1", "train.computation_time=3",
        f"reader.batch_size={FILES // _RANKS}", "--loops", "2", "--no-warm-up",
    ]  # fmt: skip
    done = interrupt(program, words, "r", until_working(program.home / "r"))
    assert done.code == 130, done.err
    (record,) = done.records
    assert record["status"] == "complete"
    (told,) = (program.home / "r").rglob("*_set.json")
    assert json.loads(told.read_bytes())["status"] == "interrupted"
    assert "mlpstorage resume" in done.out


def test_an_interrupt_in_the_first_epoch_leaves_no_figures(program: Program) -> None:
    """Nothing is measured yet: no figure is shown, nothing but the interrupt is held against it."""
    assert program.datagen(FILES).code == 0
    words = [*run_words(program, "r"), "train.computation_time=1"]
    done = interrupt(program, words, "r", until_working(program.home / "r"))
    assert done.code == 130, done.err
    (record,) = done.records
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    assert (summary["epochs_complete"], "metric" in summary) == (0, False)
    results = [issue["rule"] for issue in record["verification"]["issues"]]
    assert "run.incomplete" in results
    assert not {"3.3.2", "T.2"}.intersection(results)
    assert "none: no epoch was complete, only epoch 1/200, step " in done.out
    assert "nan" not in done.out
    for command in ("history list", "reports reportgen"):
        seen = program(*command.split(), "--results-dir", "r")
        assert (seen.code, "Traceback" in seen.err) == (0, False), seen.err


def test_an_interrupted_generation_goes_on(program: Program) -> None:
    """Whole files stay, no manifest is written, and `resume` makes what is missing."""
    files = 4000
    words = program.argv(
        "training", "datagen", *program.workload(), "--data-dir", "data", "-np", "2",
        "--results-dir", "r", "--params", f"dataset.num_files_train={files}",
    )  # fmt: skip

    def some_files(process: subprocess.Popen[str]) -> None:
        folder = program.home / "data/tiny/train"
        while process.poll() is None and len([*folder.glob("*.npz")]) < 100:
            time.sleep(0.01)

    done = interrupt(program, words, "r", some_files)
    assert done.code == 130, done.err
    assert "finishing the files that are being written" in done.err
    folder = program.home / "data/tiny"
    assert not (folder / "mlpstorage-manifest.json").exists()
    whole = len([*(folder / "train").glob("*.npz")])
    assert 0 < whole < files
    (record,) = done.records
    assert record["status"] == "interrupted"
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    assert summary["files_whole"] == whole
    assert "mlpstorage resume" in done.out
    resumed = program("resume", "--results-dir", "r")
    assert resumed.code == 0, resumed.err
    assert (folder / "mlpstorage-manifest.json").exists()
    assert len([*(folder / "train").glob("*.npz")]) == files


def test_checkpoints_that_are_complete_are_kept(program: Program) -> None:
    """An interrupt between checkpoints ends the run after the one that is being written."""
    words = program.argv(
        *Words(program.home)(
            "--results-dir", "r", "-aip", "--params",
            "checkpoint.time_between_checkpoints=3", "checkpoint.num_checkpoints_write=10",
        )
    )  # fmt: skip
    done = interrupt(program, words, "r", until_working(program.home / "r"))
    assert done.code == 130, done.err
    assert "finishing the checkpoint" in done.err
    (record,) = done.records
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    assert 1 <= len(summary["checkpoints"]) < 10
    issues = {issue["rule"]: issue for issue in record["verification"]["issues"]}
    assert issues["run.incomplete"]["expected"] == "10 writes, 2 reads"


def test_an_interrupt_in_the_making_of_a_class_leaves_the_exit_code_alone() -> None:
    """Python would end itself by SIGINT after an interrupt out of an exec; the command does not."""
    code = (
        "import sys\n"
        "try:\n    exec('raise KeyboardInterrupt')\n"
        "except KeyboardInterrupt:\n    pass\n"
        "sys.argv = ['mlpstorage', '--version']\n"
        "from mlpstorage.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
