"""The process that makes a lab, waits for its owner to leave, and clears it away.

    python -m lab.warden HOSTS FOLDER…

It stays outside of the lab. On standard output it writes one line, an `Inventory` or a failure;
then it waits until its standard input is closed or its parent is gone (a SIGKILL included).

    warden ── unshare ── switch              process 1 of the lab's process namespace
          ├── nsenter ── unshare ── ctl      process 1 of a namespace below the switch's
          └── nsenter ── unshare ── h1 …     the same

The end of the switch's process 1 is the end of every process in the lab, by the kernel's hand,
and with the last process of a namespace go its network and its mounts. The switch dies with the
warden (PDEATHSIG), so even two SIGKILLs leave nothing but empty folders, which the next lab's
`sweep` removes.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lab.cgroups import Cgroup
from lab.inventory import Inventory, failure_line
from lab.keys import write_ssh_files
from lab.needs import LabError, tool
from lab.network import PREFIX_LENGTH, SWITCH, ip, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lab.network import Place

_PREFIX = "mlpstorage-lab-"
_START_LIMIT_SECONDS = 60
_HOME = pwd.getpwuid(0).pw_dir
PRIVATE = ("/tmp", "/var/tmp", "/dev/shm", "/run", _HOME)  # noqa: S108 (they are what is hidden)
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_SWITCH_INIT = "read -r pid _ < /proc/self/stat; echo $pid; while :; do sleep 1000000 & wait; done"


class Warden:
    """One lab, from its making to its end.

    Args:
        hosts: How many hosts besides the controller.
        share: Folders that all hosts see, wherever they lie.
    """

    def __init__(self, hosts: int, share: Iterable[Path]) -> None:
        self.places = places(hosts)
        self.work = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (self.work / "new").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.work / "new").rename(self.work / "lock")  # a lock that can be seen is held
        self._share = [*share, self.work]
        self._switch: subprocess.Popen[str] | None = None
        self._switch_init = 0
        self._spawned: list[subprocess.Popen[str]] = []

    def build(self) -> Inventory:
        """Start everything; returns when every sshd listens.

        Raises:
            LabError: a part did not start.
        """
        kept = "".join(f"{folder}\n" for folder in kept_folders(self._share))
        for place in self.places:
            (self.work / place.name).mkdir()
            (self.work / place.name / "kept").write_text(kept)
            self._cgroup(place).make()
        write_ssh_files(self.work, self.places)
        self._start_switch()
        inits = self._start_hosts()
        return Inventory(self.work, self._switch_init, inits)

    def _cgroup(self, place: Place) -> Cgroup:
        return Cgroup.named(self.work.name, place.name)

    def _start_switch(self) -> None:
        log = self.work / "switch.log"
        with log.open("w") as stderr:
            self._switch = subprocess.Popen(
                ["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _SWITCH_INIT],
                env={"PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (no threads here)
                cwd="/",
            )
        self._switch_init = int(_line_of(self._switch) or 0)
        if not self._switch_init:
            raise LabError("the switch did not start", why=log.read_text().strip())
        ip(self._switch_init, SWITCH)

    def _start_hosts(self) -> dict[str, int]:
        self._spawned = [self._spawn(place) for place in self.places]
        inits = {}
        for place, process in zip(self.places, self._spawned, strict=True):
            inits[place.name] = int(self._expect("up ", process, place))
        ip(self._switch_init, "".join(p.cable(inits[p.name]) for p in self.places))
        for process in self._spawned:
            if process.stdin is not None:
                process.stdin.write("go\n")
                process.stdin.close()
        for place, process in zip(self.places, self._spawned, strict=True):
            self._expect("ready", process, place)
        return inits

    def _spawn(self, place: Place) -> subprocess.Popen[str]:
        folder = self.work / place.name
        doors = self._cgroup(place).doors

        def join() -> None:  # before the cgroup namespace is made: the host then sees itself as /
            for door in doors:
                door.write_text("0")

        with (folder / "init.log").open("w") as log:
            return subprocess.Popen(
                ["nsenter", f"--pid=/proc/{self._switch_init}/ns/pid", "unshare", "--net", "--uts",
                 "--ipc", "--pid", "--cgroup", "--mount", "--propagation", "private", "--fork",
                 "--kill-child", "sh", str(Path(__file__).with_name("host_init.sh"))],
                env={
                    "PATH": _PATH,
                    "LAB_NAME": place.name,
                    "LAB_ADDRESS": f"{place.address}/{PREFIX_LENGTH}",
                    "LAB_WORK": str(self.work),
                    "LAB_DIR": str(folder),
                    "LAB_HOME": _HOME,
                    "LAB_SSHD": str(tool("sshd")),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=join,  # noqa: PLW1509 (no threads here)
                start_new_session=True,
                cwd="/",
            )  # fmt: skip

    def _expect(self, start: str, process: subprocess.Popen[str], place: Place) -> str:
        line = _line_of(process)
        if not line.startswith(start):
            logs = [self.work / place.name / name for name in ("init.log", "sshd.log")]
            told = " ".join(path.read_text().strip() for path in logs if path.exists())
            raise LabError(f"host {place.name} did not start", why=told)
        return line.removeprefix(start).strip()

    def raze(self) -> None:
        """End every process of the lab, then remove its cgroups and its folder.

        Raises:
            OSError: something stayed.
        """
        for place in self.places:
            with suppress(OSError):  # not made, or gone; version 1 does not kill what is frozen
                self._cgroup(place).freeze(False)
        if self._switch_init:
            with suppress(ProcessLookupError):
                os.kill(self._switch_init, signal.SIGKILL)
        for process in [*self._spawned, *([self._switch] if self._switch else [])]:
            process.wait()
        for place in self.places:
            self._cgroup(place).remove()
        shutil.rmtree(self.work)
        self._lock.close()


def kept_folders(shared: Iterable[Path]) -> list[Path]:
    """The folders to hold aside while the private ones are made: shared ones, and Python's own.

    A folder inside another kept one is left out, and so is one that no private folder hides.
    """
    repository = Path(__file__).resolve().parents[2]
    python = [Path(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)]
    every = sorted({path.resolve() for path in [*shared, *python, repository]})
    hidden = [path for path in every if any(path.is_relative_to(place) for place in PRIVATE)]
    return [path for path in hidden if not any(other in hidden for other in path.parents)]


def sweep() -> None:
    """Remove the folders and cgroups of labs whose warden was killed: nobody holds their lock."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/lock"):
        with suppress(OSError), lock.open() as held:  # another sweep was quicker, or it lives
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kept in lock.parent.glob("*/kept"):
                Cgroup.named(lock.parent.name, kept.parent.name).remove(patience=0.2)
            shutil.rmtree(lock.parent)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _line_of(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline() if process.stdout else ""


def _wait_for_departure(owner: int) -> None:
    """Return when standard input is closed or the owner, a pidfd, has ended."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(owner, select.POLLIN)
    poll.poll()


def _on_signal(handler: Callable[[], None], *signals: signal.Signals) -> None:
    for one in signals:
        signal.signal(one, lambda *_: handler())


def _too_slow() -> None:
    raise LabError(f"it was not up in {_START_LIMIT_SECONDS} s")


def main(hosts: str, *share: str) -> int:
    """Make, wait, clear away."""
    owner = os.pidfd_open(os.getppid())
    _on_signal(sys.exit, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    _on_signal(_too_slow, signal.SIGALRM)
    sweep()
    warden = Warden(int(hosts), [Path(folder) for folder in share])
    try:
        signal.alarm(_START_LIMIT_SECONDS)
        inventory = warden.build()
        signal.alarm(0)
        sys.stdout.write(inventory.to_line())
        sys.stdout.close()
        _wait_for_departure(owner)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(failure_line(error))
        return 1
    finally:
        signal.alarm(0)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        warden.raze()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
