"""One host of a lab, as a test handles it: run commands in it, and let it fail."""

from __future__ import annotations

import os
import pwd
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lab.cgroups import Cgroup
from lab.needs import LabError
from lab.network import PREFIX_LENGTH, in_network, ip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.inventory import Inventory
    from lab.network import Place

_HERE = Path(__file__).parent
# The user's agent and session must not help the lab's ssh; the hosts have their own folders.
_NOT_PASSED = ("SSH_AUTH_SOCK", "SSH_CONNECTION", "SSH_CLIENT", "XDG_RUNTIME_DIR", "TMPDIR")
_FAKETIME = ("/usr/lib/*/faketime", "/usr/lib64/faketime", "/usr/lib/faketime")


def faketime() -> Path | None:
    """The library that gives programs another clock, if it is installed."""
    found = [p for place in _FAKETIME for p in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1")]
    return found[0] if found else None


def _command_in(pid_namespace: int, process: Path) -> str | None:
    """The command line of a folder of /proc, if it is of a living process in the namespace."""
    try:
        if (process / "ns/pid").stat().st_ino != pid_namespace:
            return None
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:  # it ended while we looked
        return None
    return b" ".join(words).decode(errors="replace") or None  # one that has ended has no words


class Host:
    """A host that runs, or did.

    Args:
        place: Its name and address.
        inventory: The lab that it belongs to.
    """

    def __init__(self, place: Place, inventory: Inventory) -> None:
        self.name = place.name
        self.address = place.address
        self._place = place
        self._switch = inventory.switch
        self._init = inventory.inits[place.name]
        self._folder = inventory.work / place.name
        self._cgroup = Cgroup.named(inventory.work.name, place.name)
        self._handle = os.pidfd_open(self._init)
        self._environment: dict[str, str] = {}
        self._relay: subprocess.Popen[str] | None = None
        self._mbit: float | None = None
        self._started: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.address})"

    # -- commands

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/tmp",  # noqa: S108 (the host's own)
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command in the host, without ssh; it ends with the host at the latest.

        A signal sent to the process that is returned reaches the command; sent to a process
        group that is shared with it, the command gets it twice (SIGKILL apart). A command that
        is not found ends with 127.

        Args:
            argv: The command.
            env: Added to this process's environment.
            cwd: A folder that the host sees.
            stdin: As in `subprocess.Popen`; so are stdout and stderr.
            stdout: See stdin.
            stderr: See stdin.

        Raises:
            LabError: the host is dead.
        """
        if not self.alive:
            raise LabError(f"host {self.name} is dead", fix="start another lab")
        doors = ":".join(map(str, self._cgroup.doors))
        started = subprocess.Popen(
            [*self._enter(self._init), os.fspath(cwd), doors, *(os.fspath(word) for word in argv)],
            env=self._full_environment(env or {}),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        self._started.append(started)
        return started

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/tmp",  # noqa: S108 (the host's own)
        timeout: float = 60,
        text: str | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host to its end, and take what it prints.

        Args:
            argv: The command.
            env: Added to this process's environment.
            cwd: A folder that the host sees.
            timeout: Seconds, after which it is killed.
            text: Its standard input.
            check: Whether another exit code than 0 is an error.

        Raises:
            LabError: the host is dead.
            subprocess.TimeoutExpired: it took too long.
            subprocess.CalledProcessError: see `check`.
        """
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        process = self.popen(argv, env=env, cwd=cwd, stdin=stdin)
        try:
            out, err = process.communicate(text, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self._started.remove(process)
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    @staticmethod
    def _enter(pid: int) -> list[str]:
        return [sys.executable, "-I", "-S", str(_HERE / "enter.py"), str(pid)]

    def _full_environment(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED}
        return {**inherited, "HOME": pwd.getpwuid(0).pw_dir, **self._environment, **more}

    # -- what it does

    @property
    def alive(self) -> bool:
        """Whether its process 1 lives."""
        return not self._ended_within(0)

    def _ended_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def pids(self) -> dict[int, str]:
        """Its processes, its process 1 and sshd included: command lines by our process id."""
        try:
            home = os.stat(f"/proc/{self._init}/ns/pid").st_ino  # noqa: PTH116 (not a file)
        except FileNotFoundError:
            return {}
        entries = Path("/proc").glob("[0-9]*")
        commands = {int(entry.name): _command_in(home, entry) for entry in entries}
        return {pid: command for pid, command in commands.items() if command is not None}

    def cpu_ns(self) -> int:
        """CPU time that its processes used since it started (ns)."""
        return self._cgroup.cpu_ns()

    def log(self) -> str:
        """What its sshd wrote."""
        path = self._folder / "sshd.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # -- failures

    def unplug(self) -> None:
        """Pull its network cable: silence in both directions; nobody is told."""
        ip(self._switch, f"link set {self._place.port} down\n")

    def replug(self) -> None:
        """Put the cable back: connections go on."""
        ip(self._switch, f"link set {self._place.port} up\n")

    def kill(self) -> None:
        """Kill all its processes: peers hear their connections closed, then nothing answers."""
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self._cgroup.freeze(False)  # version 1 does not kill what is frozen
        if not self._ended_within(10):
            raise LabError(f"host {self.name} survives SIGKILL")

    def power_off(self) -> None:
        """Silence, then the end: no peer hears that a connection was closed."""
        self.unplug()
        self.kill()

    def freeze(self) -> None:
        """Hang: the kernel still takes connections, and no process answers."""
        self._cgroup.freeze(True)

    def thaw(self) -> None:
        """Let a frozen host go on."""
        self._cgroup.freeze(False)

    def kill_sshd(self) -> None:
        """End the listening sshd: sessions go on, new connections are refused."""
        self.run(["sh", "-c", "kill $(cat /run/sshd.pid)"], check=True)
        self._await_sshd(listening=False)

    def start_sshd(self) -> None:
        """Start sshd again; returns when it listens."""
        argv = Path(f"/proc/{self._init}/environ").read_text().split("\0")
        sshd = next(word.partition("=")[2] for word in argv if word.startswith("LAB_SSHD="))
        config, log = self._folder / "sshd_config", self._folder / "sshd.log"
        self.run([sshd, "-f", config, "-E", log], check=True)
        self._await_sshd(listening=True)

    def _await_sshd(self, *, listening: bool) -> None:
        written = Path(f"/proc/{self._init}/root/run/sshd.pid")
        end = time.monotonic() + 10
        while written.exists() != listening:
            if time.monotonic() > end:
                raise LabError(f"sshd of {self.name} does not obey", why=self.log())
            time.sleep(0.005)

    def slow(self, milliseconds: float, *, loss: float = 0.0) -> None:
        """Delay every frame in both directions: a round trip takes twice as long.

        About 10 MB/s pass at most from the first call on. Connections go on.

        Args:
            milliseconds: The delay in each direction.
            loss: The share of frames that are lost, 0 to 1.

        Raises:
            LabError: the kernel makes no TAP device.
        """
        if self._relay is None:
            self._relay = self._start_relay()
        self._tell(self._relay, f"{milliseconds / 1000} {loss}\n")

    def _start_relay(self) -> subprocess.Popen[str]:
        port, card = self._place.port, f"x{self.name}"
        ip(self._switch, f"link del {port}\n")
        relay = subprocess.Popen(
            [*self._enter(self._switch), "/", "", sys.executable, "-I", "-S",
             str(_HERE / "delay.py"), port, card],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started.append(relay)
        self._tell(relay, "0 0\n")  # the devices are there when it answers
        ip(
            self._switch,
            f"link set {port} master br0 up\n"
            f"link set {card} address {self._place.mac}\n"
            f"link set {card} netns {self._init} name eth0\n",
        )
        ip(self._init, f"addr add {self.address}/{PREFIX_LENGTH} dev eth0\nlink set eth0 up\n")
        if self._mbit is not None:
            self.limit(self._mbit)
        return relay

    @staticmethod
    def _tell(relay: subprocess.Popen[str], line: str) -> None:
        if relay.poll() is None and relay.stdin is not None and relay.stdout is not None:
            relay.stdin.write(line)
            relay.stdin.flush()
            if relay.stdout.readline():
                return
        raise LabError("the slow network card does not work", fix="modprobe tun")

    def limit(self, mbit: float | None) -> None:
        """Limit its bandwidth in each direction (Mbit/s); None lifts the limit.

        Raises:
            LabError: the kernel has no token bucket (tc tbf).
        """
        for pid, device in ((self._switch, self._place.port), (self._init, "eth0")):
            if mbit is not None:
                rate = ["tbf", "rate", f"{mbit}mbit", "burst", "32kb", "latency", "50ms"]
                in_network(pid, "tc", "qdisc", "replace", "dev", device, "root", *rate)
            elif self._mbit is not None:
                in_network(pid, "tc", "qdisc", "del", "dev", device, "root")
        self._mbit = mbit

    def clock(self, offset_seconds: float) -> None:
        """Set its wall clock ahead (or back) of ours, for commands and logins from now on.

        It holds for programs that use the C library; their monotonic clock stays right.

        Raises:
            LabError: libfaketime is not installed.
        """
        library = faketime()
        if library is None:
            raise LabError("no libfaketime", fix="apt-get install libfaketime")
        self._environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME": f"{offset_seconds:+f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        config = self._folder / "sshd_config"
        kept = [k for k in config.read_text().splitlines() if not k.startswith("SetEnv")]
        words = " ".join(f"{name}={value}" for name, value in self._environment.items())
        config.write_text("\n".join([*kept, f"SetEnv {words}"]) + "\n")
        if Path(f"/proc/{self._init}/root/run/sshd.pid").exists():
            self.kill_sshd()
            self.start_sshd()

    def close(self) -> None:
        """Forget a host whose lab has ended: its commands have ended too."""
        for process in self._started:
            process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        os.close(self._handle)
