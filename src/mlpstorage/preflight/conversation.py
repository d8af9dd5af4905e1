"""Many conversations at once: the probe is sent to a host, its clock asked, its lines read.

One event loop serves all hosts, so that every child is ended, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.preflight import probe
from mlpstorage.preflight.facts import Clock, Talk
from mlpstorage.preflight.remote import MOST_AT_ONCE, command_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpstorage.core.cluster import Host

_CLOCK_ROUNDS = 3
_EXIT_SECONDS = 0.5
_SOURCE = Path(probe.__file__).read_bytes()
_LONGEST_LINE = 1 << 20
_NANO = 1_000_000_000
# No newline, quote or exclamation mark: csh and fish must read these words as sh does.
_BOOT = (
    "import json, sys; "
    "print(sys.argv[1], json.dumps(dict(interpreter=dict("
    "version=sys.version.split()[0], executable=sys.executable))), flush=True); "
    "sys.path[:1] = []; "
    "source = sys.stdin.buffer.read(int(sys.stdin.buffer.readline())); "
    "scope = dict(__name__=sys.argv[1]); "
    'exec(compile(source, "preflight-probe", "exec"), scope); scope["main"](sys.argv[1])'
)
_SHELL = (
    'echo "$1 {}"; '
    'for p in "$2" python3; do '
    'if command -v "$p" >/dev/null 2>&1; then exec "$p" -c "$3" "$1"; fi; '
    "done"
)


def talk_to_all(
    hosts: Sequence[Host], request: Mapping[str, Any], *, most_seconds: float
) -> list[Talk]:
    """The conversations with all hosts, in their order; no host holds up another.

    Args:
        hosts: Whom to ask; this host is asked without ssh.
        request: What the probe is asked; see `probe.main`. Its `python` is tried first.
        most_seconds: For each host, from connecting to the end.

    Raises:
        FileNotFoundError: there is no ssh program here, and a host is remote.
    """
    return asyncio.run(_all(hosts, request, most_seconds))


async def _all(
    hosts: Sequence[Host], request: Mapping[str, Any], most_seconds: float
) -> list[Talk]:
    seats = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(host: Host) -> Talk:
        async with seats:
            return await _talk(host, request, most_seconds)

    return list(await asyncio.gather(*map(one, hosts)))


async def _talk(host: Host, request: Mapping[str, Any], most_seconds: float) -> Talk:
    mark = f"mlpstorage-{secrets.token_hex(8)}"
    command = command_on(host, ["/bin/sh", "-c", _SHELL, "sh", mark, request["python"], _BOOT])
    began = time.monotonic()
    with tempfile.TemporaryFile() as err:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        dialogue = _Dialogue(process, mark)
        in_time = True
        try:
            await asyncio.wait_for(dialogue.hold(request), most_seconds)
        except asyncio.TimeoutError:
            in_time = False
        finally:
            code = await _end(process, patient=in_time)
        err.seek(0)
        said = err.read().decode("utf-8", "replace")
    seconds = time.monotonic() - began
    records = tuple(dialogue.records)
    return Talk(records, code if in_time else None, said, seconds, dialogue.clock)


async def _end(process: asyncio.subprocess.Process, *, patient: bool) -> int:
    """Wait a moment for the process, then kill it and what it has started."""
    if patient:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _EXIT_SECONDS)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return await process.wait()


class _Dialogue:
    """Both sides of the talk with one host; `records` grows as lines come."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self._process = process
        self._mark = mark.encode()
        self.records: list[dict[str, Any]] = []
        self.clock: Clock | None = None

    async def hold(self, request: Mapping[str, Any]) -> None:
        """Send probe and request, then listen until the host has said everything."""
        await self._say(b"%d\n%s%s\n" % (len(_SOURCE), _SOURCE, json.dumps(request).encode()))
        while (record := await self._next()) is not None:
            if record.get("ready"):
                await self._compare_clocks()
            self.records.append(record)
            if record.get("end"):
                return

    async def _say(self, words: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 (it was asked for as a pipe)
        # A host that has gone shows in what ssh says of it, not in what we could not send.
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(words)
            await self._process.stdin.drain()

    async def _next(self) -> dict[str, Any] | None:
        """The next marked line; anything may stand before a mark, such as a shell's greeting."""
        assert self._process.stdout is not None  # noqa: S101 (as above)
        while line := await self._line():
            _, found, text = line.partition(self._mark + b" ")
            if found:
                with contextlib.suppress(ValueError):
                    record = json.loads(text)
                    if isinstance(record, dict):
                        return record
        return None

    async def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 (as above)
        try:
            return await self._process.stdout.readline()
        except ValueError:  # longer than any line of ours: no probe speaks there
            return b""

    async def _compare_clocks(self) -> None:
        """Ask the host's clock some times; the quickest answer is the most exact one."""
        best: tuple[int, int] | None = None
        for _ in range(_CLOCK_ROUNDS):
            sent = time.time_ns()
            await self._say(b"clock\n")
            record = await self._next()
            got = time.time_ns()
            if record is None or not isinstance(record.get("clock_ns"), int):
                return
            trip = got - sent
            if best is None or trip < best[0]:
                best = (trip, record["clock_ns"] - (sent + got) // 2)
        await self._say(b"go\n")
        if best is not None:
            self.clock = Clock(best[1] / _NANO, best[0] / 2 / _NANO)
