"""What each face of the display shows of the same events."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mlpstorage.core.events import Note, Progress, RankFailed, RankStarted, Stage
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.display.quiet import QuietDisplay
from mlpstorage.display.tally import Tally

if TYPE_CHECKING:
    import pytest

EVENTS = (
    Stage("measuring", 3, 4),
    Progress(0, "epoch 1/2", 10, 100, "steps", 1 << 30),
    Progress(1, "epoch 1/2", 20, 100, "steps", 1 << 30),
    Note("the clock of h2 is 2 s ahead", "warning"),
    RankFailed(1, "h2", "cannot read /data/x"),
    Progress(0, "epoch 1/2", 100, 100, "steps", 2 << 30),
    Progress(1, "epoch 1/2", 100, 100, "steps", 2 << 30),
    Stage("judging", 4, 4),
)


def test_lines_name_stages_and_end_each_activity() -> None:
    """A log has every stage, warning and failure, and one line that says how an activity ended."""
    stream = io.StringIO()
    with LinesDisplay(stream) as display:
        for event in EVENTS:
            display.show(event)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[3/4] measuring"
    assert lines[1] == "warning: the clock of h2 is 2 s ahead"
    assert lines[2] == "rank 1 on h2 failed: cannot read /data/x"
    assert lines[3].startswith("epoch 1/2: 100 % (200/200 steps), ")
    assert lines[4] == "[4/4] judging"


def test_details_are_for_the_verbose() -> None:
    """Where each rank runs, and other details, appear with --verbose only."""
    told = (RankStarted(3, "h2", 42), Note("mpirun -n 4", "detail"))
    for verbose, expected in ((False, ""), (True, "rank 3 runs on h2, process 42\nmpirun -n 4\n")):
        stream = io.StringIO()
        with LinesDisplay(stream, verbose=verbose) as display:
            for event in told:
                display.show(event)
        assert stream.getvalue() == expected


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet only warnings reach standard error, and nothing standard output."""
    with QuietDisplay() as display:
        for event in EVENTS:
            display.show(event)
    shown = capsys.readouterr()
    assert shown.err == "warning: the clock of h2 is 2 s ahead\n"
    assert shown.out == ""


def test_the_live_face_leaves_the_last_lines_standing(capsys: pytest.CaptureFixture[str]) -> None:
    """After a live display the finished activity and the warnings remain on the screen."""
    from mlpstorage.display.live import LiveDisplay

    with LiveDisplay() as display:
        for event in EVENTS:
            display.show(event)
    shown = capsys.readouterr().err
    assert "epoch 1/2: 100 % (200/200 steps)" in shown
    assert "the clock of h2 is 2 s ahead" in shown


def test_remaining_time_follows_the_share_done() -> None:
    """A quarter done in ten seconds leaves thirty."""
    tally = Tally("epoch 1/5", began=0.0)
    tally.add(Progress(0, "epoch 1/5", 25, 100, "steps", 0))
    assert "30.0 s left" in tally.text(10.0)
