from __future__ import annotations

import dataclasses
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.watch.inventory import (
    HostFailure,
    cluster_record,
    collect_local,
    host_record,
    memory_bytes,
    memory_limit_bytes,
    usable_cpus,
)
from mlpstorage.watch.sources import CLOCK_TICKS, FILES, MACHINE, PAGE_SIZE, read_sources

if TYPE_CHECKING:
    from mlpstorage.watch.inventory import HostRecord

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=timezone.utc)
TEXTS = {
    MACHINE: "x86_64\n",
    "proc/sys/kernel/hostname": "node01\n",
    "proc/meminfo": "MemTotal: 1048576 kB\nMemFree: 1000 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: X\n\nprocessor\t: 1\nmodel name\t: X\n\n",
    "proc/version": "Linux version 6.8.0 (x) #1\n",
    "etc/os-release": "ID=ubuntu\nVERSION_ID=24.04\n",
}
GIB = 1 << 30


def host(changes: dict[str, str] | None = None) -> HostRecord:
    """A host's record with some of its files' texts changed."""
    return host_record({**TEXTS, **(changes or {})}, when=NOW)


def test_this_host() -> None:
    """This machine's record has the keys of the cluster information file, and true figures."""
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc here")
    record = json.loads(json.dumps(collect_local().as_dict()))
    assert set(record) == {
        "total_memory_bytes",
        "total_cores",
        "num_hosts",
        "min_memory_bytes",
        "max_memory_bytes",
        "collection_method",
        "collection_timestamp",
        "hosts",
        "host_consistency_issues",
        "failed_hosts",
    }
    (own,) = record["hosts"]
    assert set(own) == {
        "hostname",
        "memory",
        "cpu",
        "disks",
        "network",
        "system",
        "collection_timestamp",
        "vmstat",
        "mounts",
        "filesystems",
        "cgroups",
        "chassis_model",
        "errors",
        "address",
        "boot_id",
        "clock",
        "clock_ticks_per_second",
        "page_bytes",
        "cpu_ticks",
        "counters",
        "pressure",
        "limits",
        "block_devices",
        "numa_nodes",
        "network_links",
        "nfs_mounts",
    }
    assert own["errors"] == {}
    assert own["vmstat"]["pgfault"] > 0
    assert "/" in {mount["mount_point"] for mount in own["mounts"]}
    assert {"fs_type": "proc", "needs_block_device": False} in own["filesystems"]
    memory_keys = "total available used free active inactive buffers cached shared"
    assert list(own["memory"]) == memory_keys.split()
    assert list(own["cpu"]) == [
        "num_cores",
        "num_logical_cores",
        "model",
        "architecture",
        "num_sockets",
    ]
    assert own["hostname"] == own["system"]["hostname"] == os.uname().nodename
    assert own["system"]["kernel_version"] == os.uname().release
    assert own["cpu"]["num_logical_cores"] == os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert own["memory"]["total"] == record["total_memory_bytes"] == pages
    assert record["collection_method"] == "local"
    assert record["collection_timestamp"].endswith("Z")
    names = {path.name for path in Path("/sys/class/net").glob("*")} - {"bonding_masters"}
    assert {interface["interface_name"] for interface in own["network"]} == names


def test_keys_of_the_system() -> None:
    """The system record has the keys of the cluster information file."""
    assert [field.name for field in dataclasses.fields(host().system)] == [
        "hostname",
        "kernel_version",
        "os_release",
        "uptime_seconds",
        "load_average_1min",
        "load_average_5min",
        "load_average_15min",
        "running_processes",
        "total_processes",
    ]


def test_a_container_that_lacks_files() -> None:
    """Files that a container hides leave gaps in the record instead of failing it."""
    record = host()
    assert record.disks == ()
    assert record.system.uptime_seconds is None
    assert record.system.kernel_version == "6.8.0"
    assert record.memory.total == GIB
    assert record.collection_timestamp == "2026-01-10T09:30:00.000000Z"


def test_a_host_without_memory_or_processors() -> None:
    """Without memory or processors there is no record."""
    with pytest.raises(ValueError, match="node01 lacks one of proc/cpuinfo, proc/meminfo"):
        host_record(
            {"proc/sys/kernel/hostname": "node01\n", "proc/meminfo": TEXTS["proc/meminfo"]},
            when=NOW,
        )
    with pytest.raises(ValueError, match="/proc/meminfo: not a line of meminfo"):
        host({"proc/meminfo": "junk\n"})


def test_a_malformed_file() -> None:
    """A file that no kernel writes is named with what is wrong, and costs only its own figures."""
    record = host({"proc/loadavg": "junk\n", "etc/os-release": "NAME='x\n"})
    assert record.errors["/proc/loadavg"] == "not a loadavg: 'junk\\n'"
    assert set(record.errors) == {"/proc/loadavg", "/etc/os-release"}
    assert record.system.load_average_1min is None
    assert record.memory.total == GIB


def test_escape_sequences_never_reach_a_sentence() -> None:
    """What a host says of its version is shown without what a terminal acts upon."""
    evil = host({"etc/os-release": 'VERSION_ID="\x1b[2J24\n"\n'})
    cluster = cluster_record([host(), evil], method="ssh", when=NOW)
    assert cluster.host_consistency_issues
    assert all(issue.isprintable() for issue in cluster.host_consistency_issues)


def test_hosts_that_failed() -> None:
    """A host that could not be asked is in the record with its cause."""
    failed = HostFailure("node09", "no route to host")
    cluster = cluster_record([host()], method="ssh", when=NOW, failed=[failed])
    assert cluster.num_hosts == 1
    assert cluster.as_dict()["failed_hosts"] == (
        {"host": "node09", "cause": "no route to host", "fix": ""},
    )


def test_sources_are_read_under_a_root(tmp_path: Path) -> None:
    """The files that exist are read, the others are left out."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1 kB\n", encoding="utf-8")
    found = read_sources(tmp_path)
    commands = {MACHINE, CLOCK_TICKS, PAGE_SIZE}
    assert {name: found[name] for name in found if name not in commands} == {
        "proc/meminfo": "MemTotal: 1 kB\n"
    }
    names = set(read_sources())
    assert names - commands - set(FILES) <= {n for n in names if n.startswith("sys/")}
    assert commands <= names


def test_hosts_that_differ() -> None:
    """Differences of memory, cores, operating system and kernel are told in sentences."""
    small = host({"proc/meminfo": "MemTotal: 943718 kB\n"})
    other = host(
        {"proc/version": "Linux version 5.14.0 (x) #1\n", "proc/cpuinfo": "processor\t: 0\n\n"}
    )
    old = host({"etc/os-release": "VERSION_ID=22.04\n"})
    cluster = cluster_record([host(), small, other, old], method="ssh", when=NOW)
    assert cluster.num_hosts == 4
    assert cluster.total_cores == 7
    assert cluster.total_memory_bytes == 3 * GIB + 943718 * 1024
    assert (cluster.min_memory_bytes, cluster.max_memory_bytes) == (943718 * 1024, GIB)
    issues = cluster.host_consistency_issues
    assert [issue.partition(" differ")[0] for issue in issues] == [
        "memory",
        "core counts",
        "operating system versions",
        "kernel versions",
    ]
    assert "11%" in issues[0]
    assert "5.14.0 on node01" in issues[3]


def test_hosts_that_agree() -> None:
    """Alike hosts, hosts within ten percent of memory, and no hosts at all give no issue."""
    near = host({"proc/meminfo": "MemTotal: 960000 kB\n"})
    assert cluster_record([host(), near], method="mpi", when=NOW).host_consistency_issues == ()
    assert cluster_record([], method="unknown", when=NOW).min_memory_bytes == 0


def machine(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    """A root directory with the files of a machine's control groups and 8 GiB of memory."""
    texts = {
        "proc/meminfo": "MemTotal: 8388608 kB\n",
        "proc/self/cgroup": cgroup,
        "proc/self/mountinfo": mountinfo,
        **files,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "36 31 0:33 {root} /sys/fs/cgroup/memory rw shared:1 master:2 - cgroup cgroup rw,memory\n"
)


def test_limits_of_version_2(tmp_path: Path) -> None:
    """The strictest limit between the process's group and the root of version 2 binds."""
    root = machine(
        tmp_path,
        "0::/slurm/job_7/task\n",
        V2,
        {
            "sys/fs/cgroup/slurm/job_7/task/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slurm/job_7/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/slurm/job_7/task/memory.max": f"{3 * GIB}\n",
            "sys/fs/cgroup/slurm/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/slurm/other/memory.max": "1\n",
        },
    )
    assert usable_cpus(root) == 0.5
    assert memory_limit_bytes(root) == 2 * GIB
    assert memory_bytes(root) == 8 * GIB


@pytest.mark.parametrize("mounted", ["/", "/docker/abc"])
def test_limits_of_version_1(tmp_path: Path, mounted: str) -> None:
    """Version 1 limits are found when the mount shows all groups and when it shows the own one."""
    inside = "docker/abc/" if mounted == "/" else ""
    root = machine(
        tmp_path,
        "9:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        V1.format(root=mounted),
        {
            f"sys/fs/cgroup/cpu,cpuacct/{inside}cpu.cfs_quota_us": "25000\n",
            f"sys/fs/cgroup/cpu,cpuacct/{inside}cpu.cfs_period_us": "100000\n",
            f"sys/fs/cgroup/memory/{inside}memory.limit_in_bytes": f"{GIB}\n",
        },
    )
    assert usable_cpus(root) == 0.25
    assert memory_limit_bytes(root) == GIB


def test_no_limits(tmp_path: Path) -> None:
    """Without groups, or with groups that set no limit, affinity and memory decide."""
    affinity = float(len(os.sched_getaffinity(0)))
    bare = machine(tmp_path / "bare", "", "junk\n", {})
    free = machine(
        tmp_path / "free",
        "9:memory:/\n3:cpu,cpuacct:/\n",
        V1.format(root="/"),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    for root in (bare, free):
        assert usable_cpus(root) == affinity
        assert memory_limit_bytes(root) == 8 * GIB


def test_a_group_outside_the_mount(tmp_path: Path) -> None:
    """A group that the container's mount does not show falls back to the mount's own limit."""
    files = {"sys/fs/cgroup/memory.max": f"{GIB}\n", "sys/fs/memory.max": "1\n"}
    assert memory_limit_bytes(machine(tmp_path, "0::/../other\n", V2, files)) == GIB


def test_affinity_binds() -> None:
    """A process that is bound to one processor may use no more than one."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() <= 1.0
    finally:
        os.sched_setaffinity(0, before)


def test_memory_that_cannot_be_read(tmp_path: Path) -> None:
    """Without /proc the error says how to state the memory instead."""
    with pytest.raises(ConfigurationError, match="no MemTotal") as caught:
        memory_bytes(tmp_path)
    assert "--client-host-memory-in-gb" in caught.value.fix
