"""One command on many hosts at once, through the system's ssh: the same path that mpirun takes."""

from __future__ import annotations

import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.cluster import Host

CONNECT_SECONDS = 5
_MOST_AT_ONCE = 64
# ssh's own exit code when it could not connect, log in, or keep the connection.
SSH_FAILED = 255


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
    options = [
        "-o", "BatchMode=yes",
        "-o", f"ConnectTimeout={CONNECT_SECONDS}",
        "-o", "ServerAliveInterval=2",
        "-o", "ServerAliveCountMax=2",
    ]  # fmt: skip
    return ["ssh", *options, "--", host.name, shlex.join(argv)]


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
    with ThreadPoolExecutor(min(len(hosts), _MOST_AT_ONCE)) as pool:
        return list(pool.map(lambda host: _run(host, argv, stdin, time_limit_seconds), hosts))


def _run(host: Host, argv: Sequence[str], stdin: str, limit: float) -> RemoteResult:
    command = list(argv) if host.is_local else ssh_command(host, argv)
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
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
