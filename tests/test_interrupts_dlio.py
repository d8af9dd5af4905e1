"""Ctrl-C on DLIO in the ranks, and what is shown meanwhile: the real DLIO under the real mpirun."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from test_interrupts import interrupt

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Program
    from test_interrupts import Stopped

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dlio_benchmark") is None,
    reason="DLIO is not installed: mlpstorage engine install dlio",
)
FILES, STEPS = 160, 20
_SECONDS = 90.0


@pytest.fixture
def by_dlio(mpirun: list[str]) -> list[str]:
    """The options of a run by DLIO."""
    return [*(word for word in mpirun if word not in {"--exec-type", "mpi"}), "--engine", "dlio"]


def run_words(program: Program, by_dlio: list[str], *more: str, seconds: float = 0.1) -> list[str]:
    """A run of two ranks that takes minutes, in epochs of 20 steps of so many seconds."""
    return program.argv(
        "training", "run", *program.workload(), "-g", "h100", "-na", "2", "--data-dir", "data",
        "-aip", "--results-dir", "r", *by_dlio, "--skip-timeseries", "--params",
        f"dataset.num_files_train={FILES}", f"train.computation_time={seconds}",
        "train.epochs=200", *more,
    )  # fmt: skip


def until(
    results: Path, found: Callable[[list[dict[str, Any]]], bool]
) -> Callable[[subprocess.Popen[str]], None]:
    """Wait until the events of the run are such."""

    def wait(process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            for log in results.rglob("events.jsonl"):
                lines = log.read_text().splitlines(keepends=True)
                if found([json.loads(line) for line in lines if line.endswith("\n")]):
                    return
            time.sleep(0.05)

    return wait


def progress_of(events: list[dict[str, Any]], activity: str, least: int = 0) -> bool:
    """Whether an activity came so far."""
    return any(
        e["type"] == "progress" and e["activity"] == activity and e["done"] >= least for e in events
    )


def processes_in(home: Path) -> list[str]:
    """The command lines of all that works in a directory: ranks, and what loads data for them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(entry / "cwd") == str(home):  # noqa: PTH115 - of a process
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has ended
                continue
    return found


def summary_of(done: Stopped) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Path]:
    """The summary of the only run, its findings by rule, and its directory."""
    (record,) = done.records
    assert (record["status"], record["exit_code"]) == ("interrupted", 130), done.err
    verdict = record["verification"]
    assert verdict["category"] == "INVALID"
    directory = Path(record["result_dir"])
    summary = json.loads((directory / "summary.json").read_bytes())
    return summary, {issue["rule"]: issue for issue in verdict["issues"]}, directory


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_the_first_interrupt_ends_the_epoch_after_a_step(
    program: Program, by_dlio: list[str], start_method: str
) -> None:
    """All ranks end after the same step, told without figures; DLIO and its workers end."""
    assert program.datagen(FILES).code == 0
    words = run_words(program, by_dlio, seconds=1.0)
    words[words.index("--params") : 0] = ["--dlio-start-method", start_method]
    done = interrupt(
        program,
        words,
        "r",
        until(program.home / "r", lambda events: progress_of(events, "epoch 1/200", 2)),
    )
    assert done.code == 130, done.err
    assert "finishing the step" in done.err
    assert processes_in(program.home) == []
    summary, issues, directory = summary_of(done)
    reached = re.fullmatch(rf"epoch 1/200, step (\d+)/{STEPS}", issues["run.incomplete"]["actual"])
    assert reached, issues["run.incomplete"]
    steps = int(reached[1])
    assert 2 <= steps < STEPS
    assert summary["epochs_complete"] == 0
    assert "metric" not in summary
    assert "T.2" not in issues
    for rank in (0, 1):
        own = json.loads((directory / "dlio" / f"{rank}_output.json").read_bytes())
        assert len(own["1"]["proc"]["block1"]) == steps
        assert "2" not in own
    assert (directory / "dlio" / "summary.json").exists()
    assert "INVALID (interrupted)" in done.out
    for words in (["history", "list"], ["reports", "reportgen"]):
        after = program(*words, "--results-dir", "r")
        assert "Traceback" not in after.out + after.err
        assert after.code == 0, after.err


def test_epochs_that_are_complete_are_the_result(program: Program, by_dlio: list[str]) -> None:
    """The figures are of whole epochs; one that was left counts in what DLIO says itself alone."""
    assert program.datagen(FILES).code == 0
    done = interrupt(
        program,
        run_words(program, by_dlio),
        "r",
        until(program.home / "r", lambda events: progress_of(events, "epoch 3/200")),
        signal.SIGTERM,
    )
    assert done.code == 130, done.err
    summary, issues, directory = summary_of(done)
    complete = summary["epochs_complete"]
    assert 2 <= complete < 200
    assert len(summary["metric"]["train_au_percentage"]) == complete
    assert issues["run.incomplete"]["expected"] == "200 epochs"
    for rank in (0, 1):
        epochs = json.loads((directory / f"{rank}_output.json").read_bytes())
        assert [len(epochs[str(n + 1)]["load"]["block1"]) for n in range(complete)] == (
            [STEPS] * complete
        )
        assert str(complete + 1) not in epochs
    reported = summary["dlio_reported"]["metric"]["train_au_percentage"]
    assert complete <= len(reported) <= complete + 1
    assert summary["metric"]["train_au_percentage"] == pytest.approx(reported[:complete], rel=0.01)
    assert any("interrupted" in text for text in summary["dlio_findings"])
    assert processes_in(program.home) == []
    assert program.run(FILES, "-aip").code == 0  # the data are as they were


def test_the_second_interrupt_leaves_nobody(program: Program, by_dlio: list[str]) -> None:
    """In a step that takes long, the next Ctrl-C ends the ranks and their workers."""
    assert program.datagen(FILES).code == 0

    def pressed(process: subprocess.Popen[str]) -> None:
        results = program.home / "r"
        until(results, lambda events: progress_of(events, "epoch 1/200"))(process)
        process.send_signal(signal.SIGINT)
        until(results, lambda events: any(e["type"] == "interruption" for e in events))(process)

    done = interrupt(program, run_words(program, by_dlio, seconds=300.0), "r", pressed)
    assert done.code == 130, done.err
    assert "stopping now" in done.err
    assert processes_in(program.home) == []
    (record,) = done.records
    assert record["status"] == "interrupted"


def test_figures_so_far(program: Program, by_dlio: list[str]) -> None:
    """A run shows its AU, what it needs, and the wait for data; at last as the result has it."""
    assert program.datagen(FILES).code == 0
    done = program.run(
        FILES, "train.computation_time=0.1", *by_dlio, "-aip", "--progress", "lines", ranks=2
    )
    assert done.code == 0, done.err
    log = Path(done.json["result_dir"]) / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    figures = [e for e in events if e["type"] == "figure"]
    rates = [e for e in figures if e["name"] == "AU"]
    waits = [e for e in figures if e["name"] == "waits for data"]
    assert len(rates) == len(waits) >= 4  # about once a second, and at the end of both epochs
    assert {(e["needed"], e["unit"], e["better"]) for e in rates} == {(50.0, "%", "higher")}
    assert all(e["compares_hosts"] and 0 <= e["value"] <= 100 for e in waits)
    # One of the ranks of this host speaks, and the last barrier is yet to come.
    measured = done.json["summary"]["metric"]["train_au_percentage"]
    assert rates[-1]["value"] == pytest.approx(measured[-1], abs=10)
    assert re.search(r"epoch 1/2: 100 % \(40/40 steps\).*AU \d+\.\d %", done.err), done.err


def test_an_interrupted_generation_is_begun_anew(program: Program, by_dlio: list[str]) -> None:
    """Whole files stay without a manifest; DLIO cannot go on, so the same command begins anew."""
    files = 6000
    words = ["training", "datagen", *program.workload(), "--data-dir", "data", "-np", "2"]
    more = ["--results-dir", "r", "--params", f"dataset.num_files_train={files}"]
    folder = program.home / "data/tiny"

    def some_files(process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if len([*folder.glob("train/*.npz")]) >= 100:
                return
            time.sleep(0.01)

    done = interrupt(program, program.argv(*words, *by_dlio, *more), "r", some_files)
    assert done.code == 130, done.err
    assert "finishing the files that are being written" in done.err
    assert "begins anew" in done.out
    assert not (folder / "mlpstorage-manifest.json").exists()
    whole = {path: path.stat() for path in folder.glob("train/*.npz")}
    assert 0 < len(whole) < files
    (record,) = done.records
    assert record["status"] == "interrupted"
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    assert summary["files_whole"] == len(whole)
    assert len({stat.st_size for stat in whole.values()}) == 1  # each one was finished
    # Whoever else comes is told that these are not his.
    refused = program(*words, *more)
    assert refused.code == 5
    assert "no manifest describes" in refused.err
    resumed = program("resume", record["run_id"], "--results-dir", "r")
    assert resumed.code == 0, resumed.err
    assert (folder / "mlpstorage-manifest.json").exists()
    assert not (folder / "mlpstorage-datagen-dlio.json").exists()
    assert len([*folder.glob("train/*.npz")]) == files
    assert all(path.stat().st_mtime_ns > before.st_mtime_ns for path, before in whole.items())
    again = program(*words, *by_dlio, *more)
    assert again.code == 0, again.err
    assert "of an earlier generation" in again.out  # nothing was left to do
    assert program.run(files, "-aip").code == 0
