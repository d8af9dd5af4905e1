"""The command in a terminal of its own, and with its output in a file."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from display.screen_reader import Screen, control_characters

if TYPE_CHECKING:
    from conftest import Program

_STAGES = [
    "preflight", "collecting hosts", "preparing", "measuring", "collecting", "judging", "writing",
]  # fmt: skip


def run_of(program: Program, seconds: int) -> list[str]:
    """A run of two epochs that takes so long, on a small data set that is made for it."""
    files = 4 * seconds
    program.datagen(files)
    return program.argv(
        "training", "run", *program.workload(), "-g", "h100", "-na", "1", "--data-dir", "data",
        "-aip", "--skip-timeseries", "--params", f"dataset.num_files_train={files}",
        "train.computation_time=0.5", "train.epochs=2",
    )  # fmt: skip


def test_a_run_in_two_terminals(program: Program) -> None:
    """The live face names the stage, shows a bar, a rate, the AU and what it needs; then goes."""
    words = run_of(program, 12)
    screens = {columns: Screen(words, columns, 50, program.home) for columns in (80, 200)}
    for columns, screen in screens.items():
        screen.until(lambda screen=screen: "needs 50 %" in screen.text)  # type: ignore[misc]
        shown = screen.text
        assert re.search(r"\[4/7\] measuring  training run: tiny on 1 × h100", shown)
        assert re.search(r"epoch \d/2  ━*─* +\d+ %  \d+/12 steps", shown)
        assert re.search(r"\d [KM]iB/s", shown)
        assert re.search(r"\d s elapsed", shown)
        assert max(map(len, screen.lines)) <= columns
    for screen in screens.values():
        assert screen.end() == 0
        assert "in short" in screen.text
        assert "mlpstorage explain 3.1.2" in screen.text
        assert "━" not in screen.text  # no frame is left behind


def test_a_terminal_that_changes_its_width(program: Program) -> None:
    """A terminal made narrower and wider again keeps one frame, never two."""
    screen = Screen(run_of(program, 20), 120, 40, program.home)  # watched for 5 s
    screen.until(lambda: "epoch 1/2" in screen.text)
    for columns in (60, 100):
        screen.resize(columns)
        until = time.monotonic() + 2.2
        screen.until(lambda until=until: time.monotonic() > until)  # type: ignore[misc]
        assert sum("[4/7] measuring" in line for line in screen.lines) == 1, screen.text
        assert sum("━" in line or "─" in line for line in screen.lines) == 1, screen.text
    assert screen.end() == 0


def test_a_redirected_run_is_plain_text(program: Program) -> None:
    """In a file there is no control character, and every line begins with the time."""
    done = subprocess.run(
        run_of(program, 1), cwd=program.home, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert control_characters(done.stderr) | control_characters(done.stdout) == set()
    lines = done.stderr.decode().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines), lines
    names = [match[1] for line in lines if (match := re.search(r"\[\d/7\] ([a-z ]+)", line))]
    assert [name.strip() for name in names] == _STAGES


@pytest.mark.parametrize("face", ["json", "off"])
def test_faces_that_were_asked_for(program: Program, face: str) -> None:
    """--progress json writes the event stream, off warnings alone; both leave the result alone."""
    program.datagen(8)
    done = program.run(8, "--progress", face)
    assert done.code == 1, done.err
    assert done.json["summary"]["num_files_train"] == 8
    if face == "off":
        assert all(line.startswith("warning: ") for line in done.err.splitlines()), done.err
        return
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events[0]["type"] == "stream"
    assert events[0]["version"] == 2
    types = {event["type"] for event in events}
    assert {"stage", "note", "run_started", "rank_started", "progress", "run_ended"} <= types
    assert events[-1]["type"] == "run_ended"


def test_an_unknown_face_is_refused(program: Program) -> None:
    """A mistyped face is a usage error that names the nearest."""
    program.datagen(8)
    done = program.run(8, "--progress", "lime")
    assert done.code == 2
    assert "did you mean live?" in done.err or "did you mean lines?" in done.err
