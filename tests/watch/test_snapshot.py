from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.watch.inventory import collect_local
from mlpstorage.watch.probe import COMMAND, HostLostError
from mlpstorage.watch.snapshot import snapshot
from mlpstorage.watch.ssh import LocalTransport, ProcessChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.watch.probe import Channel
    from mlpstorage.watch.ssh import Transport


@dataclass(frozen=True)
class ShellTransport:
    """A real shell with another environment: programs of our own stand in for the host's."""

    path: str
    command: str = COMMAND

    async def open(self, name: str) -> Channel:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        env = {**os.environ, "PATH": self.path, "HOST": name}
        return ProcessChannel(
            await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", self.command, stdin=pipe, stdout=pipe, stderr=pipe, env=env
            )
        )


@dataclass(frozen=True)
class Unreachable:
    """A host that nobody can reach."""

    async def open(self, name: str) -> Channel:
        """Fail."""
        raise HostLostError(f"no route to {name}", fix="plug it in")


def routes(**known: Transport) -> Callable[[str], Transport]:
    """These transports by name, the local one for the rest."""
    return lambda name: known.get(name, LocalTransport())


def fake_grep(folder: Path, replace: str) -> str:
    """A PATH on which grep passes its output through an awk program."""
    grep = folder / "grep"
    grep.write_text(f"#!/bin/sh\n/bin/grep \"$@\" | awk '{replace} {{print}}'\n")
    grep.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_this_host() -> None:
    """Without hosts, this one is recorded, without ssh, as reading the files directly does."""
    found = snapshot()
    (host,) = found.cluster.hosts
    (direct,) = collect_local().hosts
    assert found.cluster.collection_method == "local"
    assert host.hostname == direct.hostname == os.uname().nodename
    assert (host.cpu, host.memory.total) == (direct.cpu, direct.memory.total)
    same_in_both = (
        "mounts filesystems limits block_devices numa_nodes page_bytes network_links boot_id"
        " clock_ticks_per_second chassis_model"
    )
    for same in same_in_both.split():
        assert getattr(host, same) == getattr(direct, same)
    assert set(host.vmstat) == set(direct.vmstat)
    assert host.clock is not None
    assert abs(host.clock.offset_ns) <= host.clock.error_ns + 1_000_000
    assert host.errors == {}
    assert found.warnings == ()
    assert found.texts["localhost"]["proc/version"] == Path("/proc/version").read_text()
    json.dumps(found.cluster.as_dict())


def test_one_lost_host_does_not_lose_the_others() -> None:
    """A host that cannot be reached is named with its cause, and the others are recorded."""
    hosts = [Host("h1"), Host("gone"), Host("h3")]
    found = snapshot(hosts, transport=routes(gone=Unreachable()))
    assert [host.address for host in found.cluster.hosts] == ["h1", "h3"]
    assert found.cluster.collection_method == "ssh"
    (failed,) = found.cluster.failed_hosts
    assert (failed.host, failed.cause, failed.fix) == ("gone", "no route to gone", "plug it in")
    assert found.warnings == ("host gone was not recorded: no route to gone",)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("exit 3", "the probe ended (code 3)"),
        ("echo 'Permission denied \033[31m(publickey).' >&2; exit 255",
         "Permission denied \\x1b[31m(publickey)."),
        ("exec cat", "not done after 3.0 s"),
        ("echo welcome; exec sleep 60", "not done after 3.0 s"),
    ],
)  # fmt: skip
def test_hosts_that_cannot_run_the_loop(command: str, cause: str) -> None:
    """Whatever answers instead of a shell, the host is named with what was seen, as text."""
    odd = ShellTransport(os.environ["PATH"], command)
    found = snapshot([Host("h1"), Host("h2")], transport=routes(h1=odd), seconds=3.0)
    assert [host.address for host in found.cluster.hosts] == ["h2"]
    (failed,) = found.cluster.failed_hosts
    assert cause in failed.cause
    assert failed.cause.isprintable()


def test_hostile_text(tmp_path: Path) -> None:
    """Escapes, line feeds in a mount point and a line of a megabyte neither break nor pass."""
    path = fake_grep(
        tmp_path,
        'BEGIN { for (i = 0; i < 20; i++) big = big "0123456789abcdef0123456789abcdef"; '
        "for (i = 0; i < 11; i++) big = big big } "
        '/^.etc.os-release:PRETTY_NAME/ { $0 = "/etc/os-release:PRETTY_NAME=\\033[2J\\007evil" } '
        '/^.etc.os-release:NAME/ { $0 = "/etc/os-release:NAME=" big } '
        '/^.proc.mounts:/ && !done++ { print "/proc/mounts:x /mnt/a\\\\012b\\033c fuse rw 0 0" } '
        '/^.proc.loadavg:/ { $0 = "/proc/loadavg:\\033]0;x\\007" }',
    )
    found = snapshot([Host("h1")], transport=routes(h1=ShellTransport(path)))
    assert found.cluster.failed_hosts == ()
    (host,) = found.cluster.hosts
    assert host.system.os_release["PRETTY_NAME"].replace("\\", "") == "x1b[2Jx07evil"
    assert len(host.system.os_release["NAME"]) <= 1 << 16
    assert "/mnt/a\nb\\x1bc" in [mount.mount_point for mount in host.mounts]
    assert list(host.errors) == ["/proc/loadavg"]
    assert all(error.isprintable() for error in host.errors.values())
    text = json.dumps(found.cluster.as_dict())
    assert "\x1b" not in text
    assert "\\u001b" not in text


def test_a_clock_that_is_wrong(tmp_path: Path) -> None:
    """A host whose clock is ahead is measured, and warned of."""
    date = tmp_path / "date"
    date.write_text("#!/bin/sh\nexec /bin/date -d '+90 seconds' \"$@\"\n")
    date.chmod(0o755)
    ahead = ShellTransport(f"{tmp_path}:{os.environ['PATH']}")
    found = snapshot([Host("h1")], transport=routes(h1=ahead))
    (host,) = found.cluster.hosts
    assert host.clock is not None
    if Path("/bin/sh").resolve().name == "dash":  # others have clocks of their own
        assert abs(host.clock.offset_ns - 90 * 10**9) <= host.clock.error_ns + 10_000_000
        assert found.warnings == ("the clock of h1 is 1 min 30 s ahead of the launcher's",)


def test_limits_of_groups(tmp_path: Path) -> None:
    """The files of the host's control groups are fetched after its groups are known."""
    path = fake_grep(
        tmp_path,
        '/^.proc.self.cgroup:/ { $0 = "/proc/self/cgroup:0::/job" } '
        '/^.proc.self.mountinfo:/ { $0 = "/proc/self/mountinfo:30 23 0:26 / '
        + str(tmp_path)
        + ' rw - cgroup2 cgroup2 rw" }',
    )
    (tmp_path / "job").mkdir()
    (tmp_path / "job/memory.max").write_text("1048576\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    found = snapshot([Host("h1")], transport=routes(h1=ShellTransport(path)))
    limits = found.cluster.hosts[0].limits
    assert (limits.memory_bytes, limits.cpus) == (1 << 20, 1.5)
    assert limits.memory_set_by == f"{tmp_path}/job/memory.max"
    assert limits.cpus_set_by == f"{tmp_path}/cpu.max"
