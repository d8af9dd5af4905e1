"""Starting a child process in a session of its own, and ending it with all that it started."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from typing import IO, TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# A process in uninterruptible sleep, for instance on a dead NFS server, survives SIGKILL until its
# I/O returns. Nobody can wait for that.
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.02
_SPARE_FDS = 64


class Child:
    """A running program; when it ends, whatever is left of its process group is killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is also its session and process group."""
        return self._process.pid

    @property
    def output(self) -> int:
        """The file descriptor from which its standard output is read."""
        if self._process.stdout is None:
            raise ValueError("the child was started without a pipe for its output")
        return self._process.stdout.fileno()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._process.returncode is None:
            # The pid is free for reuse once the child is reaped, so its group is killed before.
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.pid, flags) is None:
                return None
            self.send_group(signal.SIGKILL)
            self._process.wait()
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Signal the child alone, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def send_group(self, number: signal.Signals) -> None:
        """Signal the child and what it started; only valid while it has not been reaped."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nothing is left of it, or only what runs as another user

    def close(self) -> None:
        """Close the pipe of its output."""
        if self._process.stdout is not None:
            self._process.stdout.close()


def start(
    argv: Sequence[str],
    *,
    stdin: IO[bytes] | int,
    stderr: IO[bytes] | int,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a program in its own session, its standard output a pipe to us.

    Raises:
        OSError: the system cannot start it.
    """
    return Child(
        subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(env),
            pass_fds=pass_fds,
            start_new_session=True,
        )
    )


def end_all(children: Iterable[Child], *, grace_seconds: float) -> list[int]:
    """Terminate every child, after the grace kill what is left; the pids that survive even that."""
    left = list(children)
    for child in left:
        child.send(signal.SIGTERM)
    left = _wait(left, grace_seconds)
    for child in left:
        child.send_group(signal.SIGKILL)
    return [child.pid for child in _wait(left, _KILL_SECONDS)]


def _wait(children: list[Child], seconds: float) -> list[Child]:
    """The children that still run after the time, or earlier when none is left."""
    deadline = time.monotonic() + seconds
    left = [child for child in children if child.poll() is None]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [child for child in left if child.poll() is None]
    return left


def make_room_for_fds(count: int) -> None:
    """Raise the soft limit of open files for so many more, if allowed; children inherit it.

    Raises:
        ConfigurationError: it is not allowed.
    """
    count += _SPARE_FDS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise ConfigurationError(
            f"this process may open {hard} files, but the run needs {count}",
            fix="raise the limit (ulimit -n), or start fewer ranks per host",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def last_lines(path: Path, count: int = 10, *, most_bytes: int = 8192) -> list[str]:
    """The last lines of a log that are not blank; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - most_bytes))
        text = log.read(most_bytes).decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
