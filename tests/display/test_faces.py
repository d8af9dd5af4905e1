"""What each face of the display shows of the same events."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING

from mlpstorage.core.events import Note, Progress, RankFailed, RankStarted, Stage, event_from_dict
from mlpstorage.display import display_for
from mlpstorage.display.jsonl import JsonDisplay
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.display.quiet import QuietDisplay

if TYPE_CHECKING:
    import pytest

    from mlpstorage.core.events import Event

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


class Log:
    """A lines face with a clock that is set by hand."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self.display = LinesDisplay(
            self._stream,
            verbose=verbose,
            ticks=False,
            stamp=lambda: f"<{self.now:.0f}>",
            clock=lambda: self.now,
        )

    def show(self, *events: Event) -> None:
        """Show events at this moment."""
        for event in events:
            self.display.show(event)

    @property
    def lines(self) -> list[str]:
        """What was written."""
        return self._stream.getvalue().splitlines()


def test_lines_name_stages_and_end_each_activity() -> None:
    """A log has every stage, warning and failure, and one line that says how an activity ended."""
    log = Log()
    with log.display:
        log.show(*EVENTS)
    lines = [line.removeprefix("<0> ") for line in log.lines]
    assert lines[0] == "[3/4] measuring"
    assert lines[1] == "warning: the clock of h2 is 2 s ahead"
    assert lines[2] == "rank 1 on h2 failed: cannot read /data/x"
    assert lines[3].startswith("epoch 1/2: 100 % (200/200 steps), ")
    assert lines[4] == "[4/4] judging (measuring took 0.0 ms)"
    assert lines[5] == "judging took 0.0 ms"


def test_no_gap_in_a_log_is_longer_than_half_a_minute() -> None:
    """With a tick a second and no news at all, there is a line at least every 30 s."""
    log = Log()
    log.show(Stage("preflight", 1, 7))
    moments = [0.0]
    for second in range(1, 200):
        log.now = float(second)
        before = len(log.lines)
        log.display.tick()
        moments += [log.now] * (len(log.lines) - before)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert max(gaps) <= 30
    assert len(gaps) < 8
    assert "still preflight" in log.lines[1]


def test_a_late_word_of_the_last_epoch_changes_nothing() -> None:
    """Ranks report through pipes of their own: an epoch's last report may come after the next's."""
    log = Log()
    log.show(Progress(0, "epoch 1/2", 9, 10, "steps", 9, part=1, parts=2))
    log.show(Progress(0, "epoch 2/2", 1, 10, "steps", 1, part=2, parts=2))
    log.show(Progress(1, "epoch 1/2", 10, 10, "steps", 10, part=1, parts=2))
    log.show(Progress(1, "epoch 2/2", 1, 10, "steps", 1, part=2, parts=2), Stage("judging", 4, 4))
    assert [line.split(":")[0].removeprefix("<0> ") for line in log.lines] == [
        "epoch 1/2",
        "epoch 2/2",
        "[4/4] judging",
    ]


def test_details_are_for_the_verbose() -> None:
    """Where each rank runs, and other details, appear with --verbose only."""
    told = (RankStarted(3, "h2", 42), Note("mpirun -n 4", "detail"))
    lines = ["<0> rank 3 runs on h2, process 42", "<0> mpirun -n 4"]
    for verbose, expected in ((False, []), (True, lines)):
        log = Log(verbose=verbose)
        log.show(*told)
        assert log.lines == expected


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


def test_the_event_stream_gives_every_event_back() -> None:
    """Each line of the JSON face, without its time, is an event again; the first is the version."""
    stream = io.StringIO()
    with JsonDisplay(stream) as display:
        for event in EVENTS:
            display.show(event)
    first, *lines = map(json.loads, stream.getvalue().splitlines())
    assert first["type"] == "stream"
    assert isinstance(first["version"], int)
    for line in lines:
        assert line.pop("time").endswith("Z")
    assert tuple(map(event_from_dict, lines)) == EVENTS


def test_an_older_journal_is_still_read() -> None:
    """Events written before a field was added are read with its default."""
    old = {"type": "progress", "rank": 0, "activity": "a", "done": 1, "total": 2, "unit": "steps"}
    event = event_from_dict({**old, "bytes": 3})
    assert event == Progress(0, "a", 1, 2, "steps", 3)


def test_auto_is_live_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines where standard error is no terminal, or one that cannot move its cursor."""
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(display_for()).__name__ == "LiveDisplay"
    monkeypatch.setenv("TERM", "dumb")
    assert type(display_for()).__name__ == "LinesDisplay"
    assert type(display_for(quiet=True)).__name__ == "QuietDisplay"
    assert type(display_for("json", quiet=True)).__name__ == "JsonDisplay"
