"""What stands on a real terminal, in every canned state.

`python -m pytest tests/display/test_screens.py --snapshot-update` writes the snapshots anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from display.screen_reader import Screen, control_characters

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

ROOT = Path(__file__).parents[2]
SHOW_OFF = [sys.executable, str(ROOT / "show_off.py")]
LIVE = [
    "live-preflight", "live-generating", "live-training", "live-slow-host", "live-checkpointing",
    "live-searching", "live-interrupted", "live-interrupted-twice", "live-failed", "live-ended",
    "end-closed", "end-invalid", "end-interrupted", "errors",
]  # fmt: skip
LOGS = ["lines", "lines-verbose", "json", "quiet"]


@pytest.mark.parametrize("columns", [80, 200])
def test_screens_are_as_they_were(columns: int, snapshot: SnapshotAssertion) -> None:
    """Every state of the live face and of the end of a run, on a terminal of 80 and 200 columns."""
    screen = Screen([*SHOW_OFF, *LIVE], columns, 400, ROOT)
    assert screen.end() == 0
    assert screen.text == snapshot


def test_faces_of_a_log_are_as_they_were(snapshot: SnapshotAssertion) -> None:
    """Lines, the event stream and the quiet face, which steer no terminal."""
    done = subprocess.run([*SHOW_OFF, *LOGS], capture_output=True, check=True, timeout=60)
    assert control_characters(done.stderr) == set()
    text = done.stderr.decode()
    assert re.sub(r'"program": "mlpstorage [^"]*"', '"program": "mlpstorage"', text) == snapshot


def test_no_colour_where_none_is_wanted() -> None:
    """NO_COLOR leaves the text and takes the colours; without it there are some."""
    plain = Screen([*SHOW_OFF, "live-slow-host"], 80, 30, ROOT, {"NO_COLOR": "1"})
    assert plain.end() == 0
    assert plain.colours() == set()
    colourful = Screen([*SHOW_OFF, "live-slow-host"], 80, 30, ROOT)
    assert colourful.end() == 0
    assert {"green", "cyan", "brown"} <= colourful.colours()
    assert plain.text == colourful.text


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_shows_whole_words_of_what_matters(columns: int) -> None:
    """On 20 and 40 columns the figures stand below each other, and no line is wrapped."""
    screen = Screen([*SHOW_OFF, "live-slow-host"], columns, 40, ROOT)
    assert screen.end() == 0
    assert "epoch 1/5" in screen.text
    assert any(line.startswith("AU 71.4 % so far") for line in screen.lines)
    assert any(line.startswith("slowest host") for line in screen.lines)
