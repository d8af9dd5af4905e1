from __future__ import annotations

import os
import secrets
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.cluster import Host, parse_hosts
from mlpstorage.core.errors import UsageError
from mlpstorage.core.events import RankStarted
from mlpstorage.launch import guard
from mlpstorage.launch.lifeline import Lifeline, LostHost, State
from mlpstorage.launch.lifelines import Lifelines, guard_command, is_here
from mlpstorage.launch.losses import host_error

if TYPE_CHECKING:
    from pathlib import Path

MARK = secrets.token_hex(16)
REFUSED = "ssh: connect to host h9 port 22: Connection refused"
NO_ROUTE = "ssh: connect to host h9 port 22: No route to host"


def failing(text: str, *, is_remote: bool = True) -> Lifeline:
    """A lifeline whose ssh says something and ends with 255."""
    return Lifeline(
        "h9", MARK, lambda _: ["sh", "-c", f"echo '{text}'; exit 255"], is_remote=is_remote
    )


def played(line: Lifeline, until: float, *, start: float = 0.0) -> float:
    """Step through a time that passes quickly; when the lifeline came to its end, or the time's."""
    now = start
    while now < until and not line.state.is_final:
        line.step(now)
        time.sleep(0.01)
        now += 0.25
    line.hang_up()
    return now


def brought_up(line: Lifeline) -> None:
    """Step until the guard has said hello."""
    deadline = time.monotonic() + 10
    while line.state is not State.UP and time.monotonic() < deadline:
        line.step(0.0)
        time.sleep(0.01)
    assert line.state is State.UP


@pytest.mark.parametrize(
    ("text", "state"),
    [(REFUSED, State.BLIND), (NO_ROUTE, State.LOST), ("Permission denied", State.BLIND)],
)
def test_a_host_that_never_answered(text: str, state: State) -> None:
    """After 30 s a silent host is lost; one that refuses is there, and only not watched over."""
    line = failing(text)
    assert 29 < played(line, 60) < 31
    assert line.state is state
    assert text in line.why


def test_a_lost_connection_is_tried_again_for_seven_seconds(tmp_path: Path) -> None:
    """A host whose connection ended, and to which none can be made, is lost after 7 s."""
    once = tmp_path / "once"
    script = f"[ -e {once} ] && {{ echo '{NO_ROUTE}'; exit 255; }}; touch {once}; "
    script += f"echo {guard.greeting(MARK)} hello; read line"
    line = Lifeline("h9", MARK, lambda _: ["sh", "-c", script])
    brought_up(line)
    line.tell(b"\n")  # the script reads a line, and ends
    assert 106 < played(line, 120, start=100.0) < 109
    assert line.state is State.LOST
    assert NO_ROUTE in line.why


def test_a_host_that_was_restarted_is_lost(tmp_path: Path) -> None:
    """A host that answers again, but has no process of the run any more, is lost at once."""
    once = tmp_path / "once"
    script = f"n=0; [ -e {once} ] || n=2; touch {once}; "
    script += f"echo {guard.greeting(MARK)} has $n; read line"
    line = Lifeline("h9", MARK, lambda _: ["sh", "-c", script])
    brought_up(line)
    line.tell(b"\n")
    assert played(line, 105, start=100.0) < 105
    assert line.state is State.LOST
    assert "restarted" in line.why


def test_this_host_is_never_lost() -> None:
    """What fails here is told, and does not end a run."""
    line = failing("no python", is_remote=False)
    played(line, 60)
    assert line.state is State.BLIND


def test_a_program_that_is_not_there() -> None:
    """Without an ssh program the host is not watched over, and the user knows."""
    line = Lifeline("h9", MARK, lambda _: ["/no/such/ssh"])
    played(line, 60)
    assert "No such file" in line.why


def test_the_guard_of_this_host_clears_up() -> None:
    """Closing the lifelines kills what the run has left here."""
    mark = secrets.token_hex(16)
    lines = Lifelines([Host("localhost")], mark)
    ours = subprocess.Popen(["sleep", "100"], env={**os.environ, guard.RUN_MARK: mark})
    lines.close(10)
    assert ours.wait(5) == -9
    assert lines.notices() == []
    assert lines.lost == []


def test_host_names_reach_no_shell() -> None:
    """A name is an argument of ssh after `--`, and no part of what the remote shell reads."""
    command = guard_command(Host("h1"), "0", MARK, 5)
    assert command[-3:-1] == ["--", "h1"]
    assert "h1" not in command[-1]


@pytest.mark.parametrize("name", ["-oProxyCommand=touch /tmp/x", "h1;id", "$(id)", "h 1'", "-x"])
def test_names_that_are_commands_are_refused(name: str) -> None:
    """What could be an option or a command is no host name."""
    with pytest.raises(UsageError, match="is not a host name"):
        parse_hosts([name.replace(" ", "\u00a0")])


def test_own_names_and_addresses_are_here() -> None:
    """This machine's name and its addresses need no ssh; others do."""
    assert is_here(Host(os.uname().nodename))
    assert is_here(Host("127.0.0.1"))
    assert not is_here(Host("240.0.0.1"))
    assert not is_here(Host("another"))


def test_the_error_names_hosts_and_ranks(tmp_path: Path) -> None:
    """Lost hosts are told with their ranks; if all are lost, this host may be the cause."""
    hosts = [Host("h1"), Host("h2.example.org")]
    started = [RankStarted(0, "h1", 1), RankStarted(1, "h2", 1), RankStarted(2, "h2", 2)]
    one = host_error([LostHost("h2.example.org", "x")], hosts, started, tmp_path / "log")
    assert one.what == "host h2.example.org no longer answers"
    assert "ranks 1, 2 ran there" in one.why
    both = host_error([LostHost(h.name, "x") for h in hosts], hosts, started, tmp_path / "log")
    assert both.what == "hosts h1, h2.example.org no longer answer"
    assert "this host's own network" in both.fix
