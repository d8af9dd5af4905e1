"""How the controller knows that the hosts of a run live, and how it clears them up afterwards.

Launchers cannot be relied on: most wait for ever for a host that has lost its power, and some leave
ranks behind. So one ssh connection is kept to every host, with a guard at its far end. A host whose
connection is silent for 6 to 8 s, or ends, and cannot be made again within 7 s, is lost.
"""

from __future__ import annotations

import os
import select
import shlex
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.launch import guard
from mlpstorage.launch.lifeline import Lifeline, LostHost, State
from mlpstorage.launch.network import addresses
from mlpstorage.launch.process import make_room_for_fds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.cluster import Host

_ALIVE_SECONDS = 2
_ALIVE_COUNT = 3
_BEAT_SECONDS = 5.0
_MOST_AT_ONCE = 32
_TICK_SECONDS = 0.2
_FDS_EACH = 3
# The user's own settings must not turn a lifeline into something else: a second connection must not
# forward ports again, nor hang on a shared one whose end would blind us for many hosts at once.
_SSH = (
    "BatchMode=yes",
    f"ServerAliveInterval={_ALIVE_SECONDS}",
    f"ServerAliveCountMax={_ALIVE_COUNT}",
    "ControlMaster=no",
    "ControlPath=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)


def is_here(host: Host) -> bool:
    """Whether a name or an address is this machine's own, as far as this machine itself knows."""
    own = os.uname().nodename
    return host.is_local or host.name in {own, own.partition(".")[0], *addresses()}


def guard_command(host: Host, seat: str, mark: str, connect_seconds: int) -> list[str]:
    """The local command line that puts a guard on a host; it says hello as soon as ssh is in.

    No host name reaches a shell: it follows `--` on the command line of ssh.
    """
    options = [word for option in _SSH for word in ("-o", option)]
    words = shlex.join([sys.executable, "-m", guard.MODULE, seat, mark])
    # From a directory that is always there, and in which nobody has put a module of Python.
    remote = f"echo {guard.greeting(mark)} hello; cd / && exec {words}"
    connect = ["-o", f"ConnectTimeout={connect_seconds}"]
    return ["ssh", "-T", *options, *connect, "--", host.name.strip("[]"), remote]


def _here_command(mark: str, _: int) -> list[str]:
    return [sys.executable, "-I", "-S", str(Path(guard.__file__)), "here", mark]


class Lifelines:
    """The lifelines of one run, and one of this host; a thread serves them until `close`.

    Args:
        hosts: Where ranks run.
        mark: What the run's processes carry in their environment as `guard.RUN_MARK`.

    Raises:
        ConfigurationError: so many connections cannot be open.
    """

    def __init__(self, hosts: Sequence[Host], mark: str) -> None:
        make_room_for_fds(_FDS_EACH * (1 + len(hosts)))
        self._lines = [Lifeline("this host", mark, partial(_here_command, mark), is_remote=False)]
        for seat, host in enumerate(hosts):
            if not is_here(host):
                command = partial(guard_command, host, str(seat), mark)
                self._lines.append(Lifeline(host.name, mark, command))
        self._notices: deque[str] = deque()
        self._wake_source, self._wake_sink = os.pipe()
        self._closing = threading.Event()
        self._ranks_run = threading.Event()
        self._stops = threading.Event()
        self._patience_seconds = 0.0
        self._thread = threading.Thread(target=self._serve, name="lifelines", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> list[LostHost]:
        """The hosts that no longer answer."""
        return [LostHost(one.name, one.why) for one in self._lines if one.state is State.LOST]

    def ranks_run(self) -> None:
        """From now on the guards are asked whether they see processes of the run.

        A host that comes back without them has been restarted; one that never showed any has a
        launcher that does not hand the mark on.
        """
        self._ranks_run.set()

    def stop_ranks(self) -> bool:
        """Have the ranks told to stop in order; False where a host cannot be told.

        A host whose connection is being made is told when it is there.
        """
        if any(line.state in (State.BLIND, State.LOST) for line in self._lines):
            return False
        self._stops.set()
        return True

    def notices(self) -> list[str]:
        """What the user should know and has not been told."""
        return [self._notices.popleft() for _ in range(len(self._notices))]

    def close(self, patience_seconds: float) -> None:
        """Have what the run has left killed on every host that can be reached.

        Args:
            patience_seconds: How long to wait for the hosts, above all for the verdict on those
                whose connection was lost just now.
        """
        self._patience_seconds = patience_seconds
        self._closing.set()
        os.close(self._wake_sink)  # wakes the thread
        self._thread.join()
        os.close(self._wake_source)

    def _serve(self) -> None:
        beat_at = 0.0
        told: set[str] = set()
        while not self._closing.is_set():
            self._turn()
            if self._stops.is_set():
                self._tell_once(told, guard.STOP)
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + _BEAT_SECONDS
                for line in self._lines:
                    ask = self._ranks_run.is_set() and not line.had_processes
                    line.tell(guard.ASK if ask else guard.BEAT)
        self._end()

    def _tell_once(self, told: set[str], word: bytes) -> None:
        """Say something to every guard that is there and has not been told."""
        for line in self._lines:
            if line.state is State.UP and line.name not in told:
                told.add(line.name)
                line.tell(word)

    def _turn(self) -> None:
        """Wait until something comes, or a tick; look at the lines that need it."""
        ready = self._ready_fds()
        connecting = sum(line.state is State.CONNECTING for line in self._lines)
        for line in self._lines:
            before = line.state
            if before.is_final or (before is State.UP and line.fd >= 0 and line.fd not in ready):
                continue
            line.step(time.monotonic(), may_connect=connecting < _MOST_AT_ONCE)
            connecting += (line.state is State.CONNECTING) - (before is State.CONNECTING)
            self._note_change(line, before)

    def _note_change(self, line: Lifeline, before: State) -> None:
        if line.state is State.BLIND:
            self._notices.append(f"{line.name} is not watched over: {line.why}")
        elif before is State.UP and line.state in (State.WAITING, State.CONNECTING):
            self._notices.append(
                f"the connection to {line.name} was lost; trying to reach it again"
            )
        elif before is not State.UP and line.state is State.UP and line.was_lost:
            self._notices.append(f"{line.name} answers again")

    def _ready_fds(self) -> set[int]:
        poller = select.poll()
        if not self._closing.is_set():
            poller.register(self._wake_source, select.POLLIN)
        for line in self._lines:
            if line.fd >= 0:
                poller.register(line.fd, select.POLLIN)
        return {fd for fd, _ in poller.poll(1000 * _TICK_SECONDS)}

    def _end(self) -> None:
        deadline = time.monotonic() + self._patience_seconds
        told: set[str] = set()
        while True:
            for line in self._lines:
                line.forget_if_never_up()
            self._tell_once(told, guard.END)
            if time.monotonic() > deadline or all(line.state.is_final for line in self._lines):
                break
            self._turn()
        for line in self._lines:
            line.hang_up()
            if not line.state.is_final:
                self._notices.append(f"{line.name} did not say that nothing of the run is left")
