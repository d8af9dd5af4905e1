"""One lifeline: the connection to the guard of one host, made again when it is lost.

WAITING ──► CONNECTING ──► UP ──► ENDED         the guard has cleared its host up
   ▲            │           │
   └────────────┴───────────┘──► LOST           nobody answers: the run cannot go on
                            └──► BLIND          somebody does, but no guard can be put there
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.launch import guard, process
from mlpstorage.launch.pump import LineStream

if TYPE_CHECKING:
    from collections.abc import Callable

# How long the first connection may take, while the launcher starts; one attempt, and all of them.
FIRST_CONNECT_SECONDS = 10
_FIRST_SECONDS = 30.0
# How long a lost connection is tried again. The guard waits a second longer for its successor.
AGAIN_CONNECT_SECONDS = 5
_AGAIN_SECONDS = 7.0
_PAUSE_SECONDS = 0.5
_SAID_CHARS = 200
# What ssh says where a host is there, but does not let us in.
_SPEAKS = re.compile(r"refused|denied|verification failed|authentication|not found", re.IGNORECASE)


class State(enum.Enum):
    """How far a lifeline is; the last three are final."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    UP = "up"
    ENDED = "ended"
    LOST = "lost"
    BLIND = "blind"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come."""
        return self in (State.ENDED, State.LOST, State.BLIND)


@dataclass(frozen=True)
class LostHost:
    """A host that no longer answers; `why` is what was tried, and what ssh said."""

    name: str
    why: str


class Lifeline:
    """The lifeline of one host; all methods are called by one thread.

    Args:
        name: The host, as the user calls it.
        mark: The run's mark.
        command: The command line that puts a guard there, given the seconds to connect in.
        is_remote: Whether the host can be lost; this one cannot.
    """

    def __init__(
        self, name: str, mark: str, command: Callable[[int], list[str]], *, is_remote: bool = True
    ) -> None:
        self.name = name
        self.state = State.WAITING
        self.why = ""
        self._greeting = guard.greeting(mark)
        self._command = command
        self._is_remote = is_remote
        self._child: process.Child | None = None
        self._stream: LineStream | None = None
        self._sink = -1
        self._said = ""
        self.was_lost = False  # whether it was up, and then no longer
        self._attempts = 0
        self._next = 0.0
        self._began: float | None = None
        self._give_up_on_attempt = 0.0
        self.had_processes = False

    @property
    def fd(self) -> int:
        """The descriptor that shows when something has come; -1 without a connection."""
        return self._stream.fd if self._stream is not None and self._stream.is_open else -1

    def step(self, now: float, *, may_connect: bool = True) -> None:
        """Look at the connection, and make it if it is time.

        Args:
            now: The monotonic clock.
            may_connect: Whether there is room for one more attempt.
        """
        if self._child is not None and self._stream is not None:
            self._stream.drain()
            late = self.state is State.CONNECTING and now > self._give_up_on_attempt
            if late or self._child.poll() is not None:
                self._stream.drain()
                self._closed(now)
        if self.state is State.WAITING and may_connect and now >= self._next:
            self._connect(now)

    def _connect(self, now: float) -> None:
        if self._began is None:
            self._began = now
        limit = AGAIN_CONNECT_SECONDS if self.was_lost else FIRST_CONNECT_SECONDS
        self._give_up_on_attempt = now + limit + 1
        if self.was_lost:
            self._give_up_on_attempt = min(self._give_up_on_attempt, self._began + _AGAIN_SECONDS)
        self._attempts += 1
        self.state = State.CONNECTING
        source, self._sink = os.pipe()
        os.set_blocking(self._sink, False)
        try:
            self._child = process.start(
                self._command(limit), stdin=source, stderr=subprocess.STDOUT, env=os.environ
            )
            self._stream = LineStream(self._child.output, self._hear)
        except OSError as error:
            os.close(self._sink)
            self._said = str(error)
            self._closed(now)
        finally:
            os.close(source)

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        _, greeted, words = text.partition(self._greeting)
        if not greeted:
            self._said = text[:_SAID_CHARS] or self._said
            return
        what, _, count = words.strip().partition(" ")
        if what == "ended":
            self.state = State.ENDED
            return
        self.state = State.UP if not self.state.is_final else self.state
        if what == "has" and count == "0" and self.had_processes and self.was_lost:
            self._lose("it answers again, but nothing of the run is left there: it was restarted")
        self.had_processes = self.had_processes or (what == "has" and count != "0")

    def _closed(self, now: float) -> None:
        """The connection has ended, or an attempt has taken too long."""
        self.hang_up()
        if self.state is State.UP:
            self.was_lost, self._began, self._attempts, self._said = True, now, 0, ""
            self.state, self._next = State.WAITING, now
        elif not self.state.is_final:
            self.state, self._next = State.WAITING, now + _PAUSE_SECONDS
            self._give_up_if_late(now)

    def _give_up_if_late(self, now: float) -> None:
        limit = _AGAIN_SECONDS if self.was_lost else _FIRST_SECONDS
        if self._began is None or now + _PAUSE_SECONDS < self._began + limit:
            return
        said = f": {self._said}" if self._said else ""
        tries = f"{self._attempts} attempt{'s' * (self._attempts != 1)}"
        if not self._is_remote or (not self.was_lost and _SPEAKS.search(self._said)):
            self.state, self.why = State.BLIND, f"{tries} failed{said}"
        elif self.was_lost:
            self._lose(f"its connection was lost, and {tries} to make it again failed{said}")
        else:
            self._lose(f"{tries} in {limit:.0f} s to connect to it failed{said}")

    def _lose(self, why: str) -> None:
        self.state, self.why = State.LOST, why

    def tell(self, word: bytes) -> None:
        """Say something to the guard, if there is a connection."""
        # A full or broken pipe is a connection that is about to be given up.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            if self._child is not None:
                os.write(self._sink, word)

    def forget_if_never_up(self) -> None:
        """The run is over: no more attempts are made where none has succeeded."""
        if not self.was_lost and self.state is State.WAITING:
            self.state = State.ENDED

    def hang_up(self) -> None:
        """End the connection on this side."""
        if self._child is not None:
            os.close(self._sink)
            process.end_all([self._child], grace_seconds=0.0)
            self._child.close()
        self._child = self._stream = None
