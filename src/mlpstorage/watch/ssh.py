"""How a probe reaches a host: a shell of our own, asyncssh, or the system's ssh.

asyncssh is first: one process holds hundreds of connections. It honours the user's configuration,
agent, jump hosts and known hosts. What it cannot serve (smart cards, Kerberos, a configuration that
it does not understand) the system's ssh may. Neither ever asks a question, and neither accepts a
host key that is unknown or has changed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlpstorage.core.cluster import LOCAL_NAMES, parse_hosts
from mlpstorage.core.errors import UsageError
from mlpstorage.watch.probe import COMMAND, HostLostError
from mlpstorage.watch.untrusted import decoded, printable

if TYPE_CHECKING:
    import asyncssh

    from mlpstorage.watch.probe import Channel

CONNECT_SECONDS = 10
LOGIN_SECONDS = 20
# A dead host is known after their product.
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
_CHUNK_BYTES = 1 << 17
_END_SECONDS = 2.0
_SAID_BYTES = 4096
_CONFIGURATIONS = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))


class Transport(Protocol):
    """A way to start the loop on a host."""

    async def open(self, name: str) -> Channel:
        """Start it; raises HostLostError with the cause when that fails."""


def is_this_host(name: str) -> bool:
    """Whether a name means the machine that this program runs on."""
    own = os.uname().nodename
    return name in LOCAL_NAMES or name in {own, own.partition(".")[0]}


def checked_name(name: str) -> str:
    """The name, if it can be one.

    Raises:
        UsageError: ssh could take it for an option, or a shell for more than a word.
    """
    hosts = () if name.startswith("@") else parse_hosts([name])
    if [host.name for host in hosts] != [name]:
        raise UsageError(f"{name!r} is not a host name", fix="write it without slots and commas")
    return name


class ProcessChannel:
    """A loop that is a child process of ours, or that one leads to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process has no pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._said = bytearray()
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        """Keep the last words on standard error, and its pipe empty."""
        while self._process.stderr and (chunk := await self._process.stderr.read(_SAID_BYTES)):
            self._said += chunk
            del self._said[:-_SAID_BYTES]

    async def write(self, data: bytes) -> None:
        """Send."""
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise HostLostError(await self.ending()) from None

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        return await self._stdout.read(_CHUNK_BYTES)

    async def ending(self) -> str:
        """Its last words, or how it ended."""
        code = await self._wait()
        said = decoded(bytes(self._said).replace(b"\r", b""))
        last = printable(said.strip().rpartition("\n")[2])
        return last or f"the probe ended (code {code})"

    async def close(self) -> None:
        """Close its input, which ends it; kill it if it does not end."""
        self._stdin.close()
        if await self._wait() is None:
            self._process.kill()
            await self._process.wait()
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)

    async def _wait(self) -> int | None:
        try:
            code = await asyncio.wait_for(asyncio.shield(self._process.wait()), _END_SECONDS)
            await asyncio.wait({self._listener}, timeout=_END_SECONDS)
        except asyncio.TimeoutError:
            return None
        return code


async def _start(argv: list[str]) -> ProcessChannel:
    pipe = asyncio.subprocess.PIPE
    # A session of its own: Ctrl-C at the terminal ends the benchmark, and that ends the probe.
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    return ProcessChannel(process)


class LocalTransport:
    """A shell on this machine."""

    async def open(self, name: str) -> Channel:
        """Start it; the name only serves to call it."""
        try:
            return await _start(["/bin/sh", "-c", COMMAND])
        except OSError as error:
            raise HostLostError(f"cannot start a shell on {name}: {error}") from error


class SystemSshTransport:
    """The system's ssh, a process for each host."""

    async def open(self, name: str) -> Channel:
        """Start it; that the host refuses shows when it is asked."""
        try:
            return await _start(ssh_command(name))
        except OSError as error:
            raise HostLostError(f"cannot start ssh: {error}") from error


def ssh_command(name: str) -> list[str]:
    """The command line of the system's ssh: never asks, never shares, never forwards.

    >>> ssh_command("h1")[-3:-1]
    ['--', 'h1']

    Raises:
        UsageError: the name cannot be a host's.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": CONNECT_SECONDS,
        "ServerAliveInterval": KEEPALIVE_SECONDS,
        "ServerAliveCountMax": KEEPALIVE_COUNT,
        "ControlMaster": "no",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "RemoteCommand": "none",
        "LogLevel": "ERROR",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ["ssh", "-T", *words, "--", checked_name(name).strip("[]"), COMMAND]


class AsyncsshChannel:
    """A loop behind an asyncssh connection, which belongs to it alone."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]
    ) -> None:
        self._connection, self._process = connection, process

    async def write(self, data: bytes) -> None:
        """Send."""
        import asyncssh

        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (OSError, asyncssh.Error) as error:
            raise HostLostError(await self.ending()) from error

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        import asyncssh

        try:
            return await self._process.stdout.read(_CHUNK_BYTES)
        except (OSError, asyncssh.Error) as error:
            raise HostLostError(_cause(error)) from error

    async def ending(self) -> str:
        """Whether the loop ended, or the connection."""
        status = self._process.exit_status
        signal = self._process.exit_signal
        if signal:
            return f"the probe was ended by SIG{printable(str(signal[0]))}"
        return "the connection was lost" if status is None else f"the probe ended (code {status})"

    async def close(self) -> None:
        """Close the connection; a silent one is dropped."""
        self._process.close()
        self._connection.close()
        try:
            await asyncio.wait_for(self._connection.wait_closed(), _END_SECONDS)
        except asyncio.TimeoutError:
            self._connection.abort()


@dataclass(frozen=True)
class AsyncsshTransport:
    """asyncssh, with the system's ssh for what it cannot serve.

    A connection that is silent for three times `keepalive_seconds` is given up.
    """

    keepalive_seconds: float = KEEPALIVE_SECONDS

    async def open(self, name: str) -> Channel:
        """Connect, log in, start the loop."""
        checked_name(name)
        import asyncssh

        try:
            return await _open_asyncssh(name, self.keepalive_seconds)
        except (asyncio.TimeoutError, asyncssh.TimeoutError) as error:
            raise _unreachable(name, "no answer to the attempt to log in") from error
        except (asyncssh.ConnectionLost, OSError) as error:
            if getattr(error, "filename", None) is None:
                raise _unreachable(name, _cause(error)) from error
            cause = _cause(error)  # a file that the user's configuration names
        except (asyncssh.Error, ValueError) as error:
            cause = _cause(error)
        return await _second_way(name, cause)


async def _open_asyncssh(name: str, keepalive_seconds: float) -> Channel:
    import asyncssh

    found = [path.expanduser() for path in _CONFIGURATIONS]
    connection = await asyncssh.connect(
        name.strip("[]"),
        config=[str(path) for path in found if path.is_file()],
        connect_timeout=CONNECT_SECONDS,
        login_timeout=LOGIN_SECONDS,
        keepalive_interval=keepalive_seconds,
        keepalive_count_max=KEEPALIVE_COUNT,
        agent_forwarding=False,
        x11_forwarding=False,
    )
    try:
        process = await asyncio.wait_for(
            connection.create_process(
                COMMAND, encoding=None, stderr=asyncssh.DEVNULL, request_pty=False
            ),
            LOGIN_SECONDS,
        )
    except BaseException:
        connection.abort()
        raise
    return AsyncsshChannel(connection, process)


async def _second_way(name: str, cause: str) -> Channel:
    """The system's ssh, asked whether it gets through: its first bytes are the proof."""
    if shutil.which("ssh") is None:
        raise _unreachable(name, cause)
    channel = await SystemSshTransport().open(name)
    try:
        await asyncio.wait_for(_greeted(channel), CONNECT_SECONDS + LOGIN_SECONDS)
    except BaseException as error:
        await channel.close()
        if isinstance(error, (HostLostError, asyncio.TimeoutError)):
            said = error.what if isinstance(error, HostLostError) else "no answer"
            raise _unreachable(name, f"{cause}; ssh says: {said}") from error
        raise
    return channel


async def _greeted(channel: Channel) -> None:
    """Wait until the shell is there: it reads a first text that prints a line and reads another."""
    await channel.write(b'echo; IFS= read -r s && eval "$s"\n')
    if not await channel.read():
        raise HostLostError(await channel.ending())


def _unreachable(name: str, cause: str) -> HostLostError:
    return HostLostError(cause, fix=f"make this work without a question: ssh {name} true")


def _cause(error: BaseException) -> str:
    """The error in a line: asyncssh's own have a reason, the system's a number that explains."""
    if isinstance(error, OSError) and error.errno and error.errno > 0:  # negative: a resolver's
        return os.strerror(error.errno)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return printable(str(reason)) or type(error).__name__


def transport_for(name: str) -> Transport:
    """How to reach a host: a shell for this machine, ssh for any other.

    Raises:
        UsageError: the name cannot be a host's.
    """
    checked_name(name)
    return LocalTransport() if is_this_host(name) else AsyncsshTransport()
