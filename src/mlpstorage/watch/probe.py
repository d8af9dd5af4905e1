"""The loop that runs on a host, and the conversation with it.

Nothing is installed there: the command that starts the loop reads its own text as the first line of
standard input, and from then on answers one line with one frame. It needs a POSIX shell, tail, grep
and date; no Python. It ends when its input ends, that is when the connection closes.

A request is `<kind> <token> [words]`; the answer lies between the lines `<token` and `>token`. The
token is random and new for each request, so nothing that a host prints can be taken for the frame.

    s   the files of a sample, each under tail's heading
    f   the named files, each line behind its file's name (grep): no line can pose as another file's
    g   as f, with patterns that the host's shell expands
    i   what commands tell of the machine, and the loop's own process id
    x   end the loop with this process id: one that a dead connection has left behind
    c   the wall clock
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.watch import sources
from mlpstorage.watch.untrusted import decoded

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the user's login shell sees, whichever it is: one line, one pair of single quotes.
COMMAND = "exec sh -c 'IFS= read -r s && eval \"$s\"'"
OWN_PID = "own pid"
_MOST_FRAME_BYTES = 64 << 20
_HEADING = re.compile(r"(?:\A|\n)==> /(\S+) <==\n")
# A shell whose `read` knows time limits ends by itself even where a dead connection is not noticed.
_LEAST_PATIENCE_SECONDS = 120


class HostLostError(ConfigurationError):
    """A host cannot be reached, or does not answer any more."""


class Channel(Protocol):
    """The input and output of a running loop."""

    async def write(self, data: bytes) -> None:
        """Send; raises HostLostError when the connection is gone."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end; raises HostLostError when the connection broke."""

    async def ending(self) -> str:
        """Why the output ended, in a few words."""

    async def close(self) -> None:
        """End the loop and free what belongs to it; closing twice is harmless."""


def script(interval_seconds: float = 0.0) -> str:
    """The loop's text, on one line."""
    patience = max(_LEAST_PATIENCE_SECONDS, round(3 * interval_seconds))
    asked = (sources.MACHINE, sources.CLOCK_TICKS, sources.PAGE_SIZE)
    commands = "; ".join(f'echo "{command}:$({command})"' for command in asked)
    files = " ".join(f"/{name}" for name in sources.SAMPLE_FILES)
    return (
        "LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/bin:/bin; IFS=' '; w=; cd /;"
        f" if echo | {{ read -t 1 x; }} 2>/dev/null; then w='-t {patience}'; fi;"
        " while read $w -r k t a; do"
        ' echo "<$t";'
        " case $k in"
        f" s) tail -n +1 {files};;"
        ' f) set -f; grep -as "" /dev/null $a; set +f;;'
        ' g) grep -as "" /dev/null $a;;'
        f' i) {commands}; echo "{OWN_PID}:$$";;'
        " x) if grep -aq 'IFS= read -r s' /proc/$a/cmdline; then kill $a; fi;;"
        ' c) if [ "$EPOCHREALTIME" ]; then echo $EPOCHREALTIME; else date +%s%N; fi;;'
        " esac </dev/null 2>/dev/null;"
        ' echo; echo ">$t";'
        " done"
    )


@dataclass(frozen=True)
class Answer:
    """What a host printed for a request, and our clocks (nanoseconds) around it."""

    text: str
    sent_mono_ns: int
    received_mono_ns: int
    sent_wall_ns: int

    @property
    def round_trip_ns(self) -> int:
        """From the request to the whole answer."""
        return self.received_mono_ns - self.sent_mono_ns


class FrameReader:
    """Finds one frame in what arrives; what precedes it (a login shell's greeting) is skipped."""

    def __init__(self, token: str, most_bytes: int = _MOST_FRAME_BYTES) -> None:
        self._begin, self._end = f"<{token}\n".encode(), f"\n>{token}\n".encode()
        self._most = most_bytes
        self._buffer = bytearray()
        self._looked = 0

    def feed(self, chunk: bytes) -> bytes | None:
        """The frame's content once it is whole, else None.

        Raises:
            HostLostError: the frame is longer than any answer.
        """
        self._buffer += chunk
        end = self._buffer.find(self._end, self._looked)
        if end >= 0:
            start = self._buffer.find(self._begin) + len(self._begin)
            return bytes(self._buffer[start:end])
        self._looked = max(0, len(self._buffer) - len(self._end))
        if len(self._buffer) > self._most:
            raise HostLostError(f"an answer is longer than {format_bytes(self._most)}")
        return None


class Probe:
    """A running loop on one host; ask one thing at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def start(self, interval_seconds: float = 0.0) -> None:
        """Give the loop its text; `interval_seconds` is the longest silence that is normal."""
        await self._channel.write(script(interval_seconds).encode() + b"\n")

    async def ask(self, kind: str, words: Iterable[str] = (), *, seconds: float) -> Answer:
        """One request and its answer.

        Raises:
            HostLostError: the loop or the connection ended, or the time is over. The conversation
                is at an end then.
        """
        token = secrets.token_hex(8)
        line = " ".join([kind, token, *words]).encode("utf-8", "replace") + b"\n"
        wall, sent = time.time_ns(), time.monotonic_ns()
        try:
            body = await asyncio.wait_for(self._exchange(line, token), seconds)
        except asyncio.TimeoutError:
            raise HostLostError(f"no answer for {format_seconds(seconds)}") from None
        return Answer(decoded(body), sent, time.monotonic_ns(), wall)

    async def _exchange(self, line: bytes, token: str) -> bytes:
        await self._channel.write(line)
        frames = FrameReader(token)
        while chunk := await self._channel.read():
            if (body := frames.feed(chunk)) is not None:
                return body
        raise HostLostError(await self._channel.ending())

    async def close(self) -> None:
        """End the loop."""
        await self._channel.close()


def files_of(answer: str) -> dict[str, str]:
    r"""The files in the answer to f, g or i, by their names without the leading slash.

    >>> files_of("/proc/uptime:1.0 2.0\n/etc/x:a\n/etc/x:/proc/uptime:9\n")
    {'proc/uptime': '1.0 2.0\n', 'etc/x': 'a\n/proc/uptime:9\n'}
    """
    lines: dict[str, list[str]] = {}
    for line in answer.split("\n"):
        name, colon, content = line.partition(":")
        if colon:
            lines.setdefault(name.lstrip("/"), []).append(content)
    return {name: "\n".join(content) + "\n" for name, content in lines.items()}


def sections_of(answer: str) -> dict[str, str]:
    r"""The files in the answer to s; a heading counts only for a sample's file, and only once.

    >>> sections_of("==> /proc/uptime <==\n1.0 2.0\n\n==> /proc/loadavg <==\n0.1 0 0 1/2 3\n")
    {'proc/uptime': '1.0 2.0\n', 'proc/loadavg': '0.1 0 0 1/2 3\n'}
    """
    parts = _HEADING.split(answer + "\n")
    found: dict[str, str] = {}
    for name, content in zip(parts[1::2], parts[2::2], strict=True):
        if name in sources.SAMPLE_FILES:
            found.setdefault(name, content)
    if found:  # what precedes the end of the frame is a line's end of its own
        last = next(reversed(found))
        found[last] = found[last].removesuffix("\n")
    return found
