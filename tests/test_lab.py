from __future__ import annotations

import doctest
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import cgroups, fixture, host, inventory, needs, network, warden
from lab.bed import Lab
from lab.needs import LabError, missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from lab.fixture import LabMaker

TESTS = Path(__file__).parent
# What a peer sees of the sshd of h1: the first letters of its banner and the seconds until they
# came, or the failure.
LOOK = """
import socket, sys, time
try:
    began = time.monotonic()
    with socket.create_connection(("10.77.0.1", 22), timeout=float(sys.argv[1])) as s:
        print(s.recv(3).decode(), time.monotonic() - began)
except OSError as error:
    print(type(error).__name__)
"""
OWNER = """
import sys, time
from lab.bed import Lab
with Lab(2) as lab:
    print(lab.warden, *lab.host("h1").pids(), *lab.host("h2").pids(), flush=True)
    lab.run(["sleep", "1000"], timeout=1000)
"""


def look(lab: Lab, patience: float = 0.5) -> str:
    """What the controller sees when it connects to the sshd of h1: "SSH" or an error's name."""
    return timed_look(lab, patience)[0]


def timed_look(lab: Lab, patience: float) -> list[str]:
    """As `look`, and the seconds until the banner came."""
    return lab.run([sys.executable, "-I", "-S", "-c", LOOK, str(patience)]).stdout.split()


def left_behind() -> list[str]:
    """Folders and cgroups of labs, of any owner, on this machine."""
    folders = [Path(tempfile.gettempdir()), *cgroups.homes().values()]
    return [str(path) for folder in folders for path in folder.glob("mlpstorage-lab-*")]


def eventually(what: str, seconds: float, holds: object) -> None:
    """Wait until a function returns true."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def pair(start_lab: LabMaker) -> Iterator[Lab]:
    """A lab of two hosts for the tests that leave it as it was."""
    with start_lab(2) as running:
        yield running


@pytest.mark.parametrize("hosts", [1, 2, 8])
def test_every_host_starts_and_is_reached_by_ssh(start_lab: LabMaker, hosts: int) -> None:
    """Plain ssh from the controller reaches each host by name, and its name is its own."""
    with start_lab(hosts) as lab:
        script = f'for h in {" ".join(lab.names)}; do ssh "$h" uname -n; done'
        done = lab.run(["sh", "-c", script], check=True)
        assert done.stdout.split() == lab.names == [f"h{n}" for n in range(1, hosts + 1)]


def test_hosts_reach_each_other(pair: Lab) -> None:
    """Ssh works from host to host, as launchers with a tree of daemons need it."""
    done = pair.host("h1").run(["ssh", "10.77.0.2", "ssh h1 uname -n"], check=True)
    assert done.stdout == "h1\n"


def test_the_owner_stays_where_it_is(pair: Lab) -> None:
    """The process that holds a lab keeps its own name, namespaces and folder."""
    assert socket.gethostname() != "ctl"
    kinds = ("net", "mnt", "uts", "pid")
    ours = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds}
    theirs = pair.run(["sh", "-c", "for k in net mnt uts pid; do readlink /proc/self/ns/$k; done"])
    assert len(set(theirs.stdout.split())) == len(kinds)
    assert not ours & set(theirs.stdout.split())


def test_folders_are_private_unless_shared(start_lab: LabMaker, tmp_path: Path) -> None:
    """A host's /tmp, /run and home are its own; a shared folder is one folder for all and us."""
    with start_lab(2, share=[tmp_path]) as lab:
        for place in warden.PRIVATE:
            written = Path(place) / f"of-{work_of(lab)}"
            lab.host("h1").run(["sh", "-c", f"echo 1 > {written}"], check=True)
            assert lab.host("h1").run(["ls", written]).returncode == 0
            assert lab.host("h2").run(["ls", written]).returncode == 2
            assert not written.exists()
        (tmp_path / "asked").write_text("ours")
        copy = ["sh", "-c", "cat asked > answered"]
        lab.host("h1").run(copy, cwd=tmp_path, check=True)
        assert lab.run(["cat", "answered"], cwd=tmp_path).stdout == "ours"
    assert (tmp_path / "answered").read_text() == "ours"


def test_python_and_the_program_are_on_every_host(pair: Lab) -> None:
    """This interpreter and the package under test are found at their paths, through ssh."""
    code = "import mlpstorage, numpy; print(mlpstorage.__file__)"
    done = pair.run(["ssh", "h2", f"{sys.executable} -c '{code}'"], check=True)
    assert Path(done.stdout.strip()).is_file()


def test_nothing_leads_out_of_the_lab(pair: Lab) -> None:
    """A host has one route, to the lab's own addresses."""
    for name in ("ctl", "h1"):
        routes = pair.host(name).run(["ip", "route"], check=True).stdout.strip().splitlines()
        assert [line.split()[0] for line in routes] == ["10.77.0.0/24"]


def test_processes_of_a_host_are_its_own(pair: Lab) -> None:
    """A command is counted on its host only, and its CPU time too."""
    before = pair.host("h1").cpu_ns()
    spinning = pair.run(["ssh", "h1", "timeout 0.3 sh -c 'while :; do :; done'"])
    assert spinning.returncode == 124
    assert pair.host("h1").cpu_ns() - before > 20_000_000
    sleeper = pair.host("h1").popen(["sleep", "4321"])
    eventually("seen on h1", 5, lambda: "sleep 4321" in pair.host("h1").pids().values())
    assert "sleep 4321" not in pair.host("h2").pids().values()
    assert "4321" not in pair.host("h2").run(["ps", "ax"]).stdout
    sleeper.kill()
    eventually("gone", 5, lambda: "sleep 4321" not in pair.host("h1").pids().values())


def test_commands_get_signals_and_end_as_they_end(pair: Lab) -> None:
    """An exit code, a signal that was caught and one that was not come back from a host."""
    assert pair.run(["sh", "-c", "exit 7"]).returncode == 7
    assert pair.run(["no-such-program"]).returncode == 127
    assert pair.run(["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL
    script = "trap 'echo caught; exit 3' INT; echo on; while :; do sleep 0.02; done"
    catcher = pair.popen(["sh", "-c", script])
    assert catcher.stdout is not None
    assert catcher.stdout.readline() == "on\n"
    catcher.send_signal(signal.SIGINT)
    assert catcher.communicate(timeout=10)[0] == "caught\n"
    assert catcher.returncode == 3
    sleeper = pair.popen(["sh", "-c", "echo on; exec sleep 1000"])
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "on\n"
    sleeper.terminate()
    assert sleeper.wait(10) == -signal.SIGTERM


def test_a_command_has_a_time_limit(pair: Lab) -> None:
    """After its time a command is killed in its host, too."""
    with pytest.raises(subprocess.TimeoutExpired):
        pair.host("h2").run(["sleep", "4567"], timeout=0.3)
    eventually("gone", 5, lambda: "sleep 4567" not in pair.host("h2").pids().values())


def test_ssh_is_strict(pair: Lab) -> None:
    """A host whose key is not known is refused: nothing of ssh is turned off."""
    forget = "ssh -o UserKnownHostsFile=/dev/null -o LogLevel=INFO h1 true"
    done = pair.run(["sh", "-c", forget])
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_one_host_can_be_made_different(lab: Lab) -> None:
    """What a test changes in a host's own files holds there, for logins too, and only there."""
    lab.host("h1").run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    lab.host("h1").run(["touch", "/mnt/of-h1"], check=True)
    assert lab.run(["ssh", "h1", "ls /mnt"], check=True).stdout == "of-h1\n"
    assert lab.run(["ssh", "h2", "ls /mnt/of-h1"]).returncode == 2
    assert not Path("/mnt/of-h1").exists()
    home = Path("~root").expanduser()
    lab.host("h1").run(["rm", home / ".ssh/authorized_keys"], check=True)
    assert "Permission denied" in lab.run(["ssh", "-o", "LogLevel=INFO", "h1", "true"]).stderr
    assert lab.run(["ssh", "h2", "true"]).returncode == 0
    lab.run(["ssh-keygen", "-R", "h2"], check=True)
    assert "verification failed" in lab.run(["ssh", "-o", "LogLevel=INFO", "h2", "true"]).stderr


def test_a_killed_host_says_goodbye(lab: Lab) -> None:
    """Peers of a killed host see their connections end at once."""
    session = lab.popen(["ssh", "h1", "echo on; sleep 1000"])
    assert session.stdout is not None
    assert session.stdout.readline() == "on\n"
    lab.host("h1").kill()
    assert session.wait(10) == 255
    assert not lab.host("h1").alive
    assert not lab.host("h1").pids()
    assert look(lab) != "SSH"
    with pytest.raises(LabError, match="h1 is dead"):
        lab.host("h1").run(["true"])


def test_a_host_without_power_is_silent(lab: Lab) -> None:
    """Peers of a host that lost power hear nothing: sessions hang and connections time out."""
    session = lab.popen(["ssh", "h1", "echo on; sleep 1000"])
    assert session.stdout is not None
    assert session.stdout.readline() == "on\n"
    lab.host("h1").power_off()
    assert look(lab) == "TimeoutError"
    assert session.poll() is None
    assert not lab.host("h1").alive
    assert lab.run(["ssh", "h2", "uname -n"]).stdout == "h2\n"


def test_an_unplugged_host_comes_back(lab: Lab) -> None:
    """A session survives a cable that is pulled and put back."""
    session = lab.popen(["ssh", "h1", "echo on; cat"], stdin=subprocess.PIPE)
    assert session.stdout is not None
    assert session.stdin is not None
    assert session.stdout.readline() == "on\n"
    lab.host("h1").unplug()
    assert look(lab) == "TimeoutError"
    lab.host("h1").replug()
    session.stdin.write("still here\n")
    session.stdin.close()
    assert session.stdout.readline() == "still here\n"
    assert session.wait(10) == 0


def test_a_frozen_host_takes_connections_and_says_nothing(lab: Lab) -> None:
    """A frozen host's kernel accepts a connection whose banner never comes, until it thaws."""
    lab.host("h1").freeze()
    done = lab.run(["ssh", "-o", "ConnectTimeout=1", "-o", "LogLevel=INFO", "h1", "true"])
    assert done.returncode == 255
    assert "banner" in done.stderr
    assert lab.host("h1").alive
    lab.host("h1").thaw()
    assert look(lab, 10) == "SSH"


@pytest.mark.parametrize("version", ["v2", "freezer"])
def test_both_versions_of_cgroups_freeze(lab: Lab, version: str) -> None:
    """With one version alone a host freezes, thaws, and is killed while it is frozen."""
    frozen = lab.host("h1")
    if version not in frozen._cgroup.folders:
        pytest.skip(f"no {version} cgroups here")
    frozen._cgroup = cgroups.Cgroup({version: frozen._cgroup.folders[version]})
    frozen.freeze()
    assert look(lab) == "TimeoutError"
    frozen.thaw()
    assert look(lab, 10) == "SSH"
    frozen.freeze()
    frozen.power_off()
    assert not frozen.alive


def test_both_versions_of_cgroups_count(pair: Lab) -> None:
    """Each version that is there sees the CPU time of a busy host."""
    folders = pair.host("h1")._cgroup.folders
    counters = [cgroups.Cgroup({n: folders[n]}) for n in ("v2", "cpuacct") if n in folders]
    before = [counter.cpu_ns() for counter in counters]
    pair.host("h1").run(["timeout", "0.3", "sh", "-c", "while :; do :; done"])
    for counter, then in zip(counters, before, strict=True):
        assert 20_000_000 < counter.cpu_ns() - then < 10_000_000_000


def test_a_host_without_sshd_refuses(lab: Lab) -> None:
    """New logins are refused while sessions go on, until sshd is started again."""
    session = lab.popen(["ssh", "h1", "echo on; cat"], stdin=subprocess.PIPE)
    assert session.stdout is not None
    assert session.stdout.readline() == "on\n"
    lab.host("h1").kill_sshd()
    assert look(lab) == "ConnectionRefusedError"
    assert session.communicate("on\n", timeout=10)[0] == "on\n"
    lab.host("h1").start_sshd()
    assert look(lab) == "SSH"


def test_a_slow_host_takes_its_time(lab: Lab) -> None:
    """A round trip to a slow host takes at least twice its delay; sessions go on; it can change."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no TAP devices: modprobe tun")
    session = lab.popen(["ssh", "h1", "echo on; cat"], stdin=subprocess.PIPE)
    assert session.stdout is not None
    assert session.stdout.readline() == "on\n"
    lab.host("h1").slow(60)
    banner, seconds = timed_look(lab, 20)
    assert banner == "SSH"
    assert float(seconds) > 4 * 0.06  # there and back to connect, there to accept, banner back
    assert session.communicate("on\n", timeout=20)[0] == "on\n"
    lab.host("h1").slow(0, loss=1.0)
    assert look(lab) == "TimeoutError"


def test_a_host_has_its_bandwidth(lab: Lab) -> None:
    """Half a mebibyte needs at least its time at 8 Mbit/s, less what the bucket lets through."""
    try:
        lab.host("h1").limit(8)
    except LabError as error:
        pytest.skip(str(error))
    for limited, device in (("ctl", "eth0"), ("h2", "eth0")):
        assert "tbf" not in qdiscs(lab, limited, device)
    assert "rate 8Mbit" in qdiscs(lab, "h1", "eth0")
    began = time.monotonic()
    script = "head -c 524288 /dev/zero | ssh h1 wc -c"
    assert lab.run(["sh", "-c", script], check=True).stdout.strip() == "524288"
    assert time.monotonic() - began > 0.4
    lab.host("h1").limit(None)
    assert "tbf" not in qdiscs(lab, "h1", "eth0")


def qdiscs(lab: Lab, name: str, device: str) -> str:
    """What shapes the traffic of a host's network card."""
    return lab.host(name).run(["tc", "qdisc", "show", "dev", device], check=True).stdout


def test_a_host_has_its_own_clock(lab: Lab) -> None:
    """Commands and logins on the host see its clock; other hosts see ours; durations are right."""
    if host.faketime() is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have libfaketime")
        pytest.skip("no libfaketime: apt-get install libfaketime")
    code = "import time; print(time.time(), time.monotonic())"
    read = [sys.executable, "-I", "-S", "-c", code]
    through_ssh = [*read[:-1], f"'{code}'"]
    for offset in (90.5, -3600.0):
        lab.host("h1").clock(offset)
        for done, skew in (
            (lab.host("h1").run(read), offset),
            (lab.run(["ssh", "h1", *through_ssh]), offset),
            (lab.run(["ssh", "h2", *through_ssh]), 0.0),
        ):
            wall, monotonic = map(float, done.stdout.split())
            assert wall - time.time() == pytest.approx(skew, abs=10)
            assert monotonic == pytest.approx(time.monotonic(), abs=10)


def test_two_labs_do_not_meet(start_lab: LabMaker, pair: Lab) -> None:
    """Two labs have the same addresses at the same time, and each sees its own hosts."""
    with start_lab(1) as other:
        other.host("h1").run(["sh", "-c", "echo other > /tmp/whose"], check=True)
        pair.host("h1").run(["sh", "-c", "echo ours > /tmp/whose"], check=True)
        assert other.run(["ssh", "h1", "cat /tmp/whose"]).stdout == "other\n"
        assert pair.run(["ssh", "h1", "cat /tmp/whose"]).stdout == "ours\n"
        other.host("h1").kill()
    assert pair.run(["ssh", "h1", "cat /tmp/whose"]).stdout == "ours\n"


def test_a_closed_lab_leaves_nothing(start_lab: LabMaker) -> None:
    """After a lab that was hurt in every way, no process, mount, cgroup or folder is left."""
    mounts = Path("/proc/self/mountinfo").read_text()
    with start_lab(2) as lab:
        lab.host("h1").freeze()
        lab.popen(["ssh", "h2", "setsid sleep 1000 & sleep 1000"])
        detached = ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]
        assert lab.host("h2").run(detached, check=True).stdout
        pids = [pid for name in ("ctl", "h1", "h2") for pid in lab.host(name).pids()]
        pids.append(lab.warden)
        mine = [path for path in left_behind() if work_of(lab) in path]
        assert len(mine) == 1 + len(cgroups.homes())
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not [path for path in mine if Path(path).exists()]
    assert Path("/proc/self/mountinfo").read_text() == mounts


def work_of(lab: Lab) -> str:
    """The name of a lab's folder."""
    return Path(lab.controller._folder).parent.name


@dataclass(frozen=True)
class Owner:
    """A process that owns a lab."""

    process: subprocess.Popen[str]
    warden: int
    pids: list[int]
    """All processes of its hosts."""
    lab: str
    """The name of the lab's folder."""

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owner(start_lab: LabMaker) -> Iterator[Owner]:
    """A running owner, ended after the test."""
    assert start_lab is Lab
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    told, *pids = map(int, process.stdout.readline().split())
    (lab,) = folders_locked_by(told)
    running = Owner(process, told, pids, lab)
    yield running
    running.kill()
    process.stdout.close()


def folders_locked_by(pid: int) -> list[str]:
    """The lab folders that a warden holds."""
    held = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return [path.split("/")[-2] for path in held if "/mlpstorage-lab-" in path]


def test_a_killed_owner_leaves_nothing(owner: Owner) -> None:
    """SIGKILL of the owner ends every process of its lab and removes its cgroups and folder."""
    assert len(owner.pids) >= 4  # process 1 and sshd of two hosts
    assert all(alive(pid) for pid in owner.pids)
    owner.kill()
    eventually("all gone", 15, lambda: not any(map(alive, [*owner.pids, owner.warden])))
    assert not [path for path in left_behind() if owner.lab in path]


def test_a_killed_warden_takes_its_lab_along(owner: Owner, start_lab: LabMaker) -> None:
    """SIGKILL of the warden ends every process, and the next lab removes the empty folders."""
    assert all(alive(pid) for pid in owner.pids)
    os.kill(owner.warden, signal.SIGKILL)
    eventually("all gone", 15, lambda: not any(map(alive, owner.pids)))
    owner.kill()
    with start_lab(1):
        assert not [path for path in left_behind() if owner.lab in path]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_failed_start_says_why(
    start_lab: LabMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When a host cannot start, the error has the host's own words, and nothing is left."""
    places = tmp_path / "labs", tmp_path / "vanishes"
    for place in places:
        place.mkdir()
    monkeypatch.setenv("TMPDIR", str(places[0]))
    broken = start_lab(1, share=[places[1]])
    places[1].rmdir()
    with pytest.raises(LabError, match="host ctl did not start") as caught:
        broken.__enter__()
    assert "vanishes does not exist" in caught.value.why
    assert not list(places[0].iterdir())


def test_wrong_use_is_refused(pair: Lab) -> None:
    """A number of hosts that a lab cannot have, and a host that it has not, are errors."""
    with pytest.raises(LabError, match="1 to 200"):
        Lab(0)
    with pytest.raises(LabError, match="no host h3") as caught:
        pair.host("h3")
    assert caught.value.fix == "use one of: h1, h2"


def test_without_the_means_tests_skip_but_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture skips with the reason, and where CI is set it fails with it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        fixture.lab_or_skip()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs root"):
        fixture.lab_or_skip()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the programs, the reason lists them and the command that installs their packages."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(needs, "tool", lambda name: None if name in ("ip", "sshd") else name)
    assert missing() == ("a lab of hosts needs ip, sshd: apt-get install iproute2 openssh-server")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing() == "a lab of hosts needs root"
    with pytest.raises(LabError, match="needs root"):
        Lab(1).__enter__()


@pytest.mark.usefixtures("start_lab")
def test_by_hand(tmp_path: Path) -> None:
    """The command runs its words on the controller and ends with their exit code."""
    script = f"echo $LAB_HOSTS; ssh h3 cat {tmp_path}/note; exit 5"
    (tmp_path / "note").write_text("seen\n")
    argv = ["-m", "lab", "-n", "3", "--share", str(tmp_path), "--", "bash", "-c", script]
    done = subprocess.run(
        [sys.executable, *argv], cwd=TESTS, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (5, "h1,h2,h3\nseen\n"), done.stderr


@pytest.mark.parametrize("module", [cgroups, inventory, network])
def test_examples_of_the_lab(module: ModuleType) -> None:
    """The examples in the lab's docstrings are true."""
    done = doctest.testmod(module)
    assert done.attempted
    assert not done.failed


def test_places_of_cgroups() -> None:
    """Hybrid, version 2 alone, and a process below a container's root are told apart."""
    v1 = (
        "40 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "41 30 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
        "42 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.parse_homes(v1, "3:freezer:/\n1:cpu,cpuacct:/\n0::/none\n") == {
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "freezer": Path("/sys/fs/cgroup/freezer"),
        "v2": Path("/sys/fs/cgroup/unified"),
    }


def test_kept_folders(tmp_path: Path) -> None:
    """Only what a private place hides is kept, a folder once and not what lies inside it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    found = warden.kept_folders([inner, tmp_path, Path("/usr/bin")])
    assert tmp_path in found
    assert inner not in found
    assert Path("/usr/bin") not in found
