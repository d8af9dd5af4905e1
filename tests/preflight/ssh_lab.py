"""Real ssh hosts on one machine: run as a program, which serves commands on its standard input.

    unshare --net --uts --mount --pid --fork --kill-child --mount-proc python ssh_lab.py DIR CAST

Every host is a network, UTS, mount and IPC namespace with an sshd of its own on a bridge that
leads nowhere else. All see this machine's files, but for what their part in the cast changes. The
namespaces die with this process, and this process ends with its standard input.

A request is a line of JSON, {"argv": [...], "env": {...}, "cwd": ...}; so is its answer.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

NET = "10.77.0"
CONTROLLER = 254
# Nobody has this hardware address: what is sent there is lost without a word.
NOBODY = "02:00:00:00:00:99"
SSHD = "/usr/sbin/sshd"
INIT = """
set -e
hostname "$NAME"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd
echo up
read go
ip link set lo up
ip addr add "$ADDRESS/24" dev eth0
ip link set eth0 up
{before}
{sshd} -f "$HOME_DIR/sshd_config" -E "$HOME_DIR/sshd.log"
while ! [ -s /run/sshd.pid ]; do sleep 0.01; done
echo ok
exec sleep 1000000
"""
SSHD_CONFIG = """\
Port 22
ListenAddress {address}
HostKey {home}/host_key
PidFile /run/sshd.pid
AuthorizedKeysFile {accepts}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 300
SetEnv PATH={path}
"""
SSH_CONFIG = """\
Host *
  User root
  IdentityFile {work}/id
  IdentitiesOnly yes
  StrictHostKeyChecking yes
  UserKnownHostsFile {work}/known_hosts
  GlobalKnownHostsFile /dev/null
  KexAlgorithms curve25519-sha256
"""


@dataclass(frozen=True)
class Part:
    """What is special about a host.

    `known` says what known_hosts has of it: its key, none, or another one. `before` is shell code
    that its first process runs before sshd. A `silent` host is an address that drops what it gets.
    """

    name: str
    known: str = "right"
    key: bool = True
    before: str = ""
    silent: bool = False
    closed: bool = False


def sh(*argv: str, text: str = "") -> None:
    """Run a command that must succeed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(argv)}: {done.stderr.strip()}")


class Lab:
    """The hosts of a cast, seen from the controller in which this process is."""

    def __init__(self, work: Path, cast: list[Part]) -> None:
        self.work = work
        self.cast = cast
        self.hosts: list[tuple[Part, subprocess.Popen[str]]] = []

    def address(self, part: Part) -> str:
        """The host's address; a closed one is the controller's, where nothing listens."""
        number = CONTROLLER if part.closed else self.cast.index(part) + 1
        return f"{NET}.{number}"

    def up(self) -> None:
        """Make keys, the controller, then all hosts at once."""
        self._keys()
        self._controller()
        for part in self.cast:
            if not part.silent and not part.closed:
                self.hosts.append((part, self._spawn(part)))
        for part, process in self.hosts:
            self._expect(part, process, "up")
        self._wire()
        for _, process in self.hosts:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for part, process in self.hosts:
            self._expect(part, process, "ok")

    def _keys(self) -> None:
        for name in ("id", "other"):
            self._keygen(self.work / name)
        known = []
        for part in self.cast:
            home = self.work / part.name
            home.mkdir()
            self._keygen(home / "host_key")
            source = home / "host_key" if part.known == "right" else self.work / "other"
            words = source.with_suffix(".pub").read_text().split()
            if part.known != "none":
                known.append(f"{part.name} {words[0]} {words[1]}\n")
            accepts = self.work / ("id.pub" if part.key else "other.pub")
            (home / "sshd_config").write_text(
                SSHD_CONFIG.format(
                    address=self.address(part), home=home, accepts=accepts, path=os.environ["PATH"]
                )
            )
        (self.work / "known_hosts").write_text("".join(known))
        (self.work / "ssh_config").write_text(SSH_CONFIG.format(work=self.work))

    def _keygen(self, path: Path) -> None:
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))

    def _controller(self) -> None:
        hosts = "".join(f"{self.address(part)} {part.name}\n" for part in self.cast)
        (self.work / "hosts").write_text(f"127.0.0.1 localhost\n{NET}.{CONTROLLER} ctl\n{hosts}")
        (self.work / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1\n")
        for name, target in (
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
            ("ssh_config", "/etc/ssh/ssh_config"),
        ):
            sh("mount", "--bind", str(self.work / name), target)
        self._without_start_files()
        sh("hostname", "ctl")
        sh(
            "ip", "-batch", "-",
            text="link set lo up\nlink add br0 type bridge forward_delay 0 stp_state 0\n"
            f"addr add {NET}.{CONTROLLER}/24 dev br0\nlink set br0 up\n",
        )  # fmt: skip

    def _without_start_files(self) -> None:
        """Keep root's own files from counting: sshd's shell would run them for every command."""
        home = Path("~root").expanduser()
        for name in (".bashrc", ".profile", ".bash_profile"):
            if (home / name).exists():
                sh("mount", "--bind", "/dev/null", str(home / name))
        if (home / ".ssh").exists():
            sh("mount", "-t", "tmpfs", "tmpfs", str(home / ".ssh"))

    def _spawn(self, part: Part) -> subprocess.Popen[str]:
        home = self.work / part.name
        script = INIT.format(before=part.before, sshd=SSHD)
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "NAME": part.name,
            "ADDRESS": self.address(part),
            "HOME_DIR": str(home),
        }
        with (home / "init.log").open("w") as log:
            return subprocess.Popen(
                ["unshare", "--net", "--uts", "--ipc", "--mount", "--propagation", "private",
                 "sh", "-c", script],
                env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def _expect(self, part: Part, process: subprocess.Popen[str], word: str) -> None:
        assert process.stdout is not None
        if process.stdout.readline().strip() != word:
            log = (self.work / part.name / "init.log").read_text()
            raise RuntimeError(f"{part.name} does not come up: {log}")

    def _wire(self) -> None:
        lines = "".join(
            f"link add v{index} type veth peer name eth0 netns {process.pid}\n"
            f"link set v{index} master br0 up\n"
            for index, (_, process) in enumerate(self.hosts)
        )
        # After the links: each may change the bridge's own address, which forgets its neighbours.
        silent = [self.address(part) for part in self.cast if part.silent]
        lines += "".join(f"neigh add {address} lladdr {NOBODY} dev br0\n" for address in silent)
        sh("ip", "-batch", "-", text=lines)


def serve() -> None:
    """Run one command after the other, until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        done = subprocess.run(
            request["argv"],
            env=request["env"],
            cwd=request["cwd"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        answer = {
            "code": done.returncode,
            "out": done.stdout,
            "err": done.stderr,
            "seconds": time.monotonic() - began,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Bring the cast up, say so, and serve."""
    lab = Lab(Path(sys.argv[1]), [Part(**part) for part in json.loads(sys.argv[2])])
    lab.up()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve()


if __name__ == "__main__":
    main()
