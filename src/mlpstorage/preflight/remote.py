"""One command on many hosts at once, through the system's ssh: the same path that mpirun takes."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.cluster import Host

CONNECT_SECONDS = 4
MOST_AT_ONCE = 64
# ssh's own exit code when it could not connect, log in, or keep the connection.
SSH_FAILED = 255
_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={CONNECT_SECONDS}",
    "ServerAliveInterval=2",
    "ServerAliveCountMax=2",
    # A master that stays behind would hold our pipes open; one that is there already is used.
    "ControlMaster=no",
    # The cause of a failure must be said, and nothing else.
    "LogLevel=ERROR",
)


@dataclass(frozen=True)
class RemoteResult:
    """What became of a command on one host.

    `code` is the command's exit code, 255 when ssh itself failed, None when time ran out.
    """

    host: str
    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether the command ran, whatever it returned."""
        return self.code is not None and self.code != SSH_FAILED


def ssh_command(host: Host, argv: Sequence[str]) -> list[str]:
    """The local command line that runs `argv` on a host without ever asking anything.

    The host follows `--`, and its name has been checked: it can never be read as an option.
    """
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return ["ssh", *options, "--", host.name.strip("[]"), shlex.join(argv)]


def is_here(host: Host) -> bool:
    """Whether a name is this machine's own: launchers start ranks there without ssh.

    Only names are compared: a name server that hangs must not hold up the check of the hosts.
    """
    own = socket.gethostname()
    return host.is_local or host.name in {own, own.partition(".")[0]}


def command_on(host: Host, argv: Sequence[str]) -> list[str]:
    """The local command line that runs `argv` on a host: through ssh, or here."""
    return list(argv) if is_here(host) else ssh_command(host, argv)


def run_on_hosts(
    hosts: Sequence[Host],
    argv: Sequence[str],
    *,
    stdin: str = "",
    time_limit_seconds: float = 8.0,
) -> list[RemoteResult]:
    """Run a command on every host in parallel; local hosts run it without ssh.

    Args:
        hosts: Where to run; the results keep their order.
        argv: The command, as words.
        stdin: What the command reads.
        time_limit_seconds: For each host, from connecting to the end.

    Raises:
        FileNotFoundError: there is no ssh program here, and a host is remote.
    """
    if not hosts:
        return []
    with ThreadPoolExecutor(min(len(hosts), MOST_AT_ONCE)) as pool:
        return list(pool.map(lambda host: _run(host, argv, stdin, time_limit_seconds), hosts))


def _run(host: Host, argv: Sequence[str], stdin: str, limit: float) -> RemoteResult:
    began = time.monotonic()
    try:
        done = subprocess.run(
            command_on(host, argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        # What was read before the time ran out is bytes, although text was asked for.
        said: bytes = error.stderr or b""
        text = said.decode("utf-8", "replace")
        return RemoteResult(host.name, None, "", text, time.monotonic() - began)
    seconds = time.monotonic() - began
    return RemoteResult(host.name, done.returncode, done.stdout, done.stderr, seconds)
