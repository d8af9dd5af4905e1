from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.watch.series import read_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab import Host, Lab
    from lab.fixture import LabMaker

FOLDER = Path(__file__).parent
DRIVER, PARENT = FOLDER / "ssh_driver.py", FOLDER / "sampled_parent.py"


@pytest.fixture(scope="module")
def four(
    start_lab: LabMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Path]]:
    """A lab whose four hosts are left as they were found, and a folder that all see."""
    shared = tmp_path_factory.mktemp("shared")
    with start_lab(4, share=[shared]) as lab:
        yield lab, shared


def snapshot(lab: Lab, *hosts: str, before: str = "") -> dict[str, Any]:
    """A snapshot taken on the controller, after a line of shell."""
    line = f'{before}; exec "$@"' if before else 'exec "$@"'
    argv = ["sh", "-c", line, "sh", sys.executable, str(DRIVER), "snapshot", *hosts]
    done = lab.run(argv)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def probes(host: Host) -> list[int]:
    """The loops of ours that run on a host."""
    return [pid for pid, command in host.pids().items() if "IFS= read -r s" in command]


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:  # noqa: ANN401 (what it gives)
    """Wait for something to be true, and give it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


def records(path: Path, kind: str, host: str) -> list[dict[str, Any]]:
    """The lines of a kind that are about a host."""
    lines = [record for _, record in read_series(path)] if path.exists() else []
    return [r for r in lines if r["kind"] == kind and r.get("host") == host]


def test_hosts_are_recorded_over_ssh(four: tuple[Lab, Path]) -> None:
    """Every host is recorded by its own sshd, with its clock, and nothing stays behind."""
    lab, _ = four
    found = snapshot(lab, *lab.names)
    assert [host["hostname"] for host in found["hosts"]] == lab.names
    assert (found["collection_method"], found["failed_hosts"]) == ("ssh", [])
    assert found["warnings"] == []
    for host in found["hosts"]:
        assert abs(host["clock"]["offset_ns"]) <= host["clock"]["error_ns"] + 5_000_000
        assert {link["interface_name"] for link in host["network_links"]} == {"lo", "eth0"}
        assert host["errors"] == {}
    assert until(lambda: not any(probes(lab.host(name)) for name in lab.names))


def test_a_host_without_python(four: tuple[Lab, Path]) -> None:
    """A host on which Python cannot run is recorded like any other."""
    lab, _ = four
    host = lab.host("h1")
    pythons = {str(Path(sys.executable).resolve()), shutil.which("python3", path="/usr/bin")}
    covered = [python for python in pythons if python]
    for python in covered:
        host.run(["mount", "--bind", "/dev/null", python], check=True)
    try:
        assert host.run([covered[0], "-V"]).returncode != 0
        assert [one["hostname"] for one in snapshot(lab, "h1")["hosts"]] == ["h1"]
    finally:
        for python in covered:
            host.run(["umount", python], check=True)


def test_hosts_that_fail(start_lab: LabMaker) -> None:
    """Dead, unknown, refusing and absent hosts are each named with the cause; the rest is there."""
    with start_lab(4) as lab:
        lab.host("h2").power_off()
        lab.run(["ssh-keygen", "-R", "h3"], check=True)
        lab.host("h4").run(["rm", "/root/.ssh/authorized_keys"], check=True)
        found = snapshot(lab, *lab.names, "h9.invalid")
        assert not probes(lab.host("h3"))
    assert [host["hostname"] for host in found["hosts"]] == ["h1"]
    causes = {failed["host"]: failed["cause"] for failed in found["failed_hosts"]}
    assert "No route to host" in causes["h2"] or "attempt to log in" in causes["h2"]
    assert "Host key" in causes["h3"]
    assert "Permission denied" in causes["h4"]
    assert "not known" in causes["h9.invalid"] or "resolution" in causes["h9.invalid"]
    assert len(found["warnings"]) == 4


def test_a_host_key_that_has_changed(start_lab: LabMaker) -> None:
    """A host that shows another key than the known one is refused, by either way."""
    with start_lab(2) as lab:
        swap = "sed -i 's/^h1/hX/; s/^h2/h1/; s/^hX/h2/' ~/.ssh/known_hosts"
        lab.run(["ssh-keygen", "-R", "10.77.0.1"])
        lab.run(["ssh-keygen", "-R", "10.77.0.2"])
        found = snapshot(lab, "h1", before=swap)
    assert found["hosts"] == []
    assert "Host key" in found["failed_hosts"][0]["cause"]


def test_the_users_way_of_reaching_hosts(start_lab: LabMaker) -> None:
    """Aliases, jump hosts and agents of the user's configuration are honoured."""
    with start_lab(2) as lab:
        alias = "printf 'Host alias\\n HostName h1\\nHost far\\n HostName h2\\n ProxyJump h1\\n'"
        prepend = "&& cat ~/.ssh/config >> /tmp/c && cp /tmp/c ~/.ssh/config"
        found = snapshot(lab, "alias", "far", before=f"{alias} > /tmp/c {prepend}")
        assert [(h["address"], h["hostname"]) for h in found["hosts"]] == [
            ("alias", "h1"),
            ("far", "h2"),
        ], found["failed_hosts"]
        assert "from 10.77.0.1 " in lab.host("h2").log()
        only_agent = (
            "eval $(ssh-agent) > /tmp/agent; ssh-add -q ~/.ssh/id_ed25519; rm ~/.ssh/id_ed25519;"
            " sed -i /IdentityFile/d ~/.ssh/config; sed -i /IdentitiesOnly/d ~/.ssh/config"
        )
        found = snapshot(lab, "h2", before=only_agent)
        assert [host["hostname"] for host in found["hosts"]] == ["h2"], found["failed_hosts"]


def test_what_only_the_systems_ssh_can_serve(start_lab: LabMaker) -> None:
    """A configuration that asyncssh refuses is left to the system's ssh, which never asks."""
    with start_lab(1) as lab:
        keys = r"IdentityFile ~/.ssh/absent\nIdentityFile ~/.ssh/id_ed25519"
        absent = f"sed -i '1i {keys}' ~/.ssh/config"
        found = snapshot(lab, "h1", before=absent)
        assert [host["hostname"] for host in found["hosts"]] == ["h1"], found["failed_hosts"]
        lab.host("h1").run(["rm", "/root/.ssh/authorized_keys"], check=True)
        (failed,) = snapshot(lab, "h1")["failed_hosts"]
    assert "ssh says: " in failed["cause"]
    assert "Permission denied" in failed["cause"]
    assert failed["fix"] == "make this work without a question: ssh h1 true"


def test_hosts_are_lost_and_come_back(start_lab: LabMaker, tmp_path: Path) -> None:
    """A cut link, a stopped sshd, a killed probe and a dead host each show in their own stream."""
    lines = tmp_path / "s.jsonl"
    with start_lab(4, share=[tmp_path]) as lab:
        h1, h2, h3, h4 = (lab.host(name) for name in lab.names)
        argv = [sys.executable, str(DRIVER), "collect", str(lines), "0.5", "1", *lab.names]
        collector = lab.popen(argv, stdin=subprocess.PIPE)
        until(lambda: all(records(lines, "sample", name) for name in lab.names))
        h1.unplug()
        h2.kill_sshd()
        (loop,) = probes(h3)
        os.kill(loop, signal.SIGKILL)
        h4.power_off()
        until(lambda: records(lines, "lost", "h1") and records(lines, "lost", "h4"))
        h1.replug()
        until(lambda: records(lines, "gap", "h1") and records(lines, "gap", "h3"))
        assert collector.stdin
        collector.stdin.close()
        assert collector.wait(20) == 0
        assert until(lambda: not any(probes(host) for host in (h1, h2, h3)))
    for name in ("h1", "h3"):
        numbers = [r["seq"] for r in records(lines, "sample", name)]
        for gap in records(lines, "gap", name):
            missing = range(gap["from_seq"], gap["to_seq"] + 1)
            assert not set(numbers) & set(missing)
            numbers += missing
        assert sorted(numbers) == list(range(len(numbers)))
        assert len(records(lines, "meta", name)) >= 2
    assert records(lines, "gap", "h2") == records(lines, "lost", "h2") == []
    assert records(lines, "lost", "h3")[0]["reason"] == "the probe was ended by SIGKILL"
    dead = records(lines, "gap", "h4")[-1]
    assert dead["from_seq"] > 0
    assert dead["to_seq"] >= max(r["seq"] for r in records(lines, "sample", "h2")) - 2


@pytest.mark.parametrize("victim", ["benchmark", "collector"])
def test_nothing_is_left_on_any_host(four: tuple[Lab, Path], victim: str) -> None:
    """When the benchmark or its collector is killed, every host's probe ends within 15 s."""
    lab, shared = four
    lines = shared / f"{victim}.jsonl"
    argv = [sys.executable, str(PARENT), str(lines), "0.5", *lab.names]
    parent = lab.popen(argv, stdin=subprocess.PIPE)
    hosts = [lab.host(name) for name in lab.names]
    until(lambda: all(records(lines, "sample", name) for name in lab.names))
    assert all(probes(host) for host in hosts)
    pid = next(
        pid
        for pid, command in lab.controller.pids().items()
        if ("sampled_parent" if victim == "benchmark" else "watch.collector") in command
    )
    os.kill(pid, signal.SIGKILL)
    until(lambda: not any(probes(host) for host in hosts), 15.0)
    until(lambda: not [c for c in lab.controller.pids().values() if "watch.collector" in c], 15.0)
    assert parent.stdin
    parent.stdin.close()
    parent.wait(20)


def test_a_clock_of_another_time(start_lab: LabMaker) -> None:
    """A host whose clock is a minute and a half ahead is measured and named."""
    if not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        pytest.skip("no libfaketime here")
    with start_lab(1) as lab:
        lab.host("h1").clock(90)
        found = snapshot(lab, "h1")
    (host,) = found["hosts"]
    assert abs(host["clock"]["offset_ns"] - 90 * 10**9) <= host["clock"]["error_ns"] + 20_000_000
    assert found["warnings"] == ["the clock of h1 is 1 min 30 s ahead of the launcher's"]
