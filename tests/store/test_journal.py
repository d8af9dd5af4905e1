from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.core.events import Note, RankResult, Stage
from mlpstorage.store.journal import Journal, read_journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event

START = datetime(2026, 1, 10, 9, 30, tzinfo=timezone.utc)
EVENTS: list[Event] = [
    Stage("plan", 1, 3),
    Note("two\nlines"),
    RankResult(0, "node01", {"au": 0.93, "times": [1, 2]}),
]


def ticking() -> Callable[[], datetime]:
    """A clock that moves on by a second each time it is asked."""
    seconds = iter(range(10_000))
    return lambda: START + timedelta(seconds=next(seconds))


def write(path: Path, events: list[Event]) -> None:
    """Append the events to the journal at that path."""
    with Journal(path, ticking()) as journal:
        for event in events:
            journal.append(event)


def test_events_read_back(tmp_path: Path) -> None:
    """What was appended reads back in order, each with the moment that the clock told."""
    write(tmp_path / "events.jsonl", EVENTS)
    entries = list(read_journal(tmp_path / "events.jsonl"))
    assert [entry.event for entry in entries] == EVENTS
    assert [entry.time for entry in entries] == [START + timedelta(seconds=n) for n in range(3)]


def test_form_of_a_line(tmp_path: Path) -> None:
    """A line is one JSON object that begins with its time and type."""
    write(tmp_path / "events.jsonl", EVENTS[:2])
    assert (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"time":"2026-01-10T09:30:00.000000Z","type":"stage","name":"plan","number":1,"of":3}',
        '{"time":"2026-01-10T09:30:01.000000Z","type":"note","text":"two\\nlines","level":"info"}',
    ]


def test_lines_are_there_when_append_returns(tmp_path: Path) -> None:
    """A line can be read before the journal is closed, and survives SIGKILL of its writer."""
    path = tmp_path / "events.jsonl"
    code = (
        "import os, signal, sys; from datetime import datetime, timezone\n"
        "from pathlib import Path\n"
        "from mlpstorage.core.events import Note; from mlpstorage.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), lambda: datetime.now(timezone.utc))\n"
        "for n in range(100): journal.append(Note(str(n)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    texts = [entry.event for entry in read_journal(path)]
    assert texts == [Note(str(n)) for n in range(100)]


@given(cut=st.integers(min_value=1, max_value=400))
def test_a_torn_end_is_left_out(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever the file is cut, the whole lines before the cut are read, and writing goes on."""
    path = tmp_path_factory.mktemp("torn") / "events.jsonl"
    write(path, EVENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = EVENTS[: whole[:-cut].count(b"\n")]
    assert [entry.event for entry in read_journal(path)] == kept
    write(path, [Note("resumed")])
    assert [entry.event for entry in read_journal(path)] == [*kept, Note("resumed")]


def test_a_long_torn_line(tmp_path: Path) -> None:
    """A torn line longer than the search's block is cut off whole."""
    path = tmp_path / "events.jsonl"
    write(path, EVENTS)
    with path.open("ab") as file:
        file.write(b"\0" * 200_000)
    write(path, [Note("resumed")])
    assert [entry.event for entry in read_journal(path)] == [*EVENTS, Note("resumed")]


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"junk",
        b"[1]",
        b"3",
        b"\xff",
        b'{"time":"2026-01-10T09:30:00Z","type":"x"}',
        b'{"time":"noon","type":"note","text":"x"}',
        b'{"time":"2026-01-10T09:30:00Z","type":"note","wrong":"x"}',
    ],
)
def test_a_whole_line_of_junk(tmp_path: Path, line: bytes) -> None:
    """A whole line that is no event is an error that names the line."""
    path = tmp_path / "events.jsonl"
    write(path, EVENTS)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ConfigurationError, match=r"events\.jsonl:4: "):
        list(read_journal(path))


def test_figures_that_json_lacks(tmp_path: Path) -> None:
    """NaN is written as null, so that every line stays JSON."""
    write(tmp_path / "events.jsonl", [RankResult(0, "h", {"au": float("nan")})])
    (entry,) = read_journal(tmp_path / "events.jsonl")
    assert entry.event == RankResult(0, "h", {"au": None})


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing directory, a directory in place of the file, and a full device are told apart."""
    with pytest.raises(NotFoundError):
        Journal(tmp_path / "missing" / "events.jsonl", ticking())
    with pytest.raises(NotFoundError):
        list(read_journal(tmp_path / "missing.jsonl"))
    with pytest.raises((ConfigurationError, AccessError)):
        Journal(tmp_path, ticking())


def test_a_full_device() -> None:
    """A line that the device does not take is an error, not a loss."""
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full here")
    journal = Journal.__new__(Journal)
    journal._path = Path("/dev/full")
    journal._clock = ticking()
    journal._descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(ConfigurationError, match="no space left"):
            journal.append(Note("x"))
    finally:
        os.close(journal._descriptor)


def test_closing_twice(tmp_path: Path) -> None:
    """A closed journal may be closed again."""
    journal = Journal(tmp_path / "events.jsonl", ticking())
    journal.close()
    journal.close()
    assert (tmp_path / "events.jsonl").read_bytes() == b""
