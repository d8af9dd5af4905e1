from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch import procfs
from mlpstorage.watch.records import (
    Cgroup,
    CpuTicks,
    FileSystem,
    Interface,
    Load,
    Mount,
    Pressure,
    ProcessIo,
    SystemCounters,
    counters_since,
    is_vmstat_gauge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MEMINFO = """\
MemTotal:       25276510208 kB
MemFree:        20000000000 kB
MemAvailable:   24000000000 kB
Buffers:           1000000 kB
Cached:         3000000000 kB
SwapCached:              0 kB
Active:         1000000000 kB
Inactive:       2000000000 kB
Active(anon):          512 kB
Shmem:              200000 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
MEMINFO_OLD = "MemTotal:  1024 kB\nMemFree:  100 kB\nBuffers:  24 kB\nCached: 400 kB\n"
CPUINFO_X86 = "\n".join(
    f"processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6448Y\n"
    f"physical id\t: {n % 2}\nsiblings\t: 4\ncore id\t\t: {n // 2 % 2}\nflags\t\t: fpu sse\n"
    for n in range(8)
)
CPUINFO_ARM = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n"
    for n in range(4)
)
CPUINFO_POWER = (
    "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 3800.000000MHz\n\n"
    "processor\t: 1\ncpu\t\t: POWER9, altivec supported\n\n"
    "timebase\t: 512000000\nplatform\t: pSeries\n"
)
DISK_14 = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n"
DISK_18 = " 259       0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n"
DISK_20 = " 259       1 nvme0n1p1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
eth0:94022902    2860    0    0    0     0          0         0   200887    1870    0    0    0     0       0          0
eth0:1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""  # noqa: E501 - the kernel's own heading
OS_RELEASE = """\
# a comment
NAME="Ubuntu"
VERSION="24.04.1 LTS (Noble Numbat)"
ID=ubuntu

PRETTY_NAME='Ubuntu "24.04"'
VERSION_ID=24.04
"""
STAT = "cpu  100 2 30 4000 50 6 7 8 9 1\ncpu0 100 2 30 4000 50 6 7 8 9 1\nintr 5 0\nbtime 1\n"
STAT_WHOLE = STAT.replace("btime 1", "ctxt 77\nbtime 1700000000\nprocesses 88") + (
    "procs_running 3\nprocs_blocked 1\nsoftirq 1 2 3\n"
)
PRESSURE = (
    "some avg10=1.50 avg60=0.25 avg300=0.00 total=415360415\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
)
PROCESS_IO = (
    "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\n"
    "cancelled_write_bytes: 0\n"
)
PROCESS_STAT = (
    "42 (a) b (c) S 1 42 42 0 -1 4194304 1 2 3 4 500 60 7 8 20 0 9 0 12345 1000000 250"
    " 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)
LOADAVG = "0.52 0.58 1.59 3/389 12345\n"
VMSTAT = "nr_free_pages 6088044\npgpgin 12\nnr_vmscan_write -1\n"
MOUNTS = "/dev/sda1 / ext4 rw,relatime 0 1\nnas:/x\\040y /mnt/a\\040b nfs4 rw,vers=4.2 0 0\n"
CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t4\t20\t0\n"
FILESYSTEMS = "nodev\tsysfs\n\text4\nnodev\tnfs4\n"
VERSION = "Linux version 5.14.0-503.el9.x86_64 (mockbuild@x) (gcc 11.5.0) #1 SMP\n"


def parse_x86(text: str) -> Any:  # noqa: ANN401 - one of many parsers
    """`parse_cpuinfo` for an x86-64 host."""
    return procfs.parse_cpuinfo(text, "x86_64")


def parse_io_pressure(text: str) -> Any:  # noqa: ANN401 - one of many parsers
    """`parse_pressure` of I/O."""
    return procfs.parse_pressure(text, "io")


PARSERS: list[tuple[Callable[[str], Any], str]] = [
    (procfs.parse_meminfo, MEMINFO),
    (procfs.parse_meminfo_kib, MEMINFO),
    (parse_x86, CPUINFO_X86),
    (parse_x86, CPUINFO_POWER),
    (procfs.parse_diskstats, DISK_14 + DISK_18 + DISK_20),
    (procfs.parse_net_dev, NET_DEV),
    (procfs.parse_loadavg, LOADAVG),
    (procfs.parse_uptime, "1361.65 2700.10\n"),
    (procfs.parse_kernel_version, VERSION),
    (procfs.parse_os_release, OS_RELEASE),
    (procfs.parse_cpu_ticks, STAT),
    (procfs.parse_system_counters, STAT_WHOLE),
    (parse_io_pressure, PRESSURE),
    (procfs.parse_process_io, PROCESS_IO),
    (procfs.parse_process_stat, PROCESS_STAT),
    (procfs.parse_vmstat, VMSTAT),
    (procfs.parse_mounts, MOUNTS),
    (procfs.parse_cgroups, CGROUPS),
    (procfs.parse_filesystems, FILESYSTEMS),
]
# Files of lines in which each whole line stands for itself.
TABLES = [
    (procfs.parse_diskstats, DISK_14 + DISK_18 + DISK_20),
    (procfs.parse_net_dev, NET_DEV),
    (procfs.parse_mounts, MOUNTS),
    (procfs.parse_cgroups, CGROUPS),
    (procfs.parse_filesystems, FILESYSTEMS),
    (parse_io_pressure, PRESSURE),
]


def test_memory() -> None:
    """Memory is in bytes, and used is what is neither free nor buffers nor cached."""
    memory = procfs.parse_meminfo(MEMINFO)
    assert memory.total == 25276510208 * 1024
    assert memory.available == 24000000000 * 1024
    assert memory.used == (25276510208 - 20000000000 - 1000000 - 3000000000) * 1024
    assert memory.active == 1000000000 * 1024
    assert memory.shared == 200000 * 1024


def test_memory_of_an_old_kernel() -> None:
    """What a kernel does not tell is None, not zero."""
    memory = procfs.parse_meminfo(MEMINFO_OLD)
    assert memory.available is None
    assert memory.shared is None
    assert memory.used == 500 * 1024


def test_memory_without_a_total() -> None:
    """Text without MemTotal is refused."""
    for text in ("", "MemFree: 1 kB\n", "MemTotal: 1 kB"):
        with pytest.raises(ValueError, match="no MemTotal"):
            procfs.parse_meminfo(text)


@pytest.mark.parametrize(
    ("text", "cores", "logical", "sockets", "model"),
    [
        (CPUINFO_X86, 4, 8, 2, "Intel(R) Xeon(R) Gold 6448Y"),
        (CPUINFO_ARM, 4, 4, 1, ""),
        (CPUINFO_POWER, 2, 2, 1, "POWER9, altivec supported"),
    ],
)
def test_processors(text: str, cores: int, logical: int, sockets: int, model: str) -> None:
    """Cores, threads and sockets are told apart where the kernel tells them."""
    cpu = procfs.parse_cpuinfo(text, "some")
    assert (cpu.num_cores, cpu.num_logical_cores, cpu.num_sockets) == (cores, logical, sockets)
    assert cpu.model == model
    assert cpu.architecture == "some"


def test_disks_of_three_ages() -> None:
    """14, 18 and 20 columns find their names; missing ones are None, unknown ones ignored."""
    old, middle, new, future = procfs.parse_diskstats(
        DISK_14 + DISK_18 + DISK_20 + DISK_20.replace("17\n", "17 18 19\n")
    )
    assert (old.device_name, old.reads_completed, old.weighted_time_doing_ios_ms) == ("sda", 1, 11)
    assert old.discards_completed is None
    assert (middle.sectors_read, middle.sectors_written, middle.ios_in_progress) == (3, 7, 9)
    assert (middle.discards_completed, middle.time_discarding_ms) == (12, 15)
    assert middle.flush_requests_completed is None
    assert (new.flush_requests_completed, new.time_flushing_ms) == (16, 17)
    assert future == new


def test_interfaces() -> None:
    """Every interface is found, with and without a blank after the colon, aliases too."""
    lo, eth0, alias = procfs.parse_net_dev(NET_DEV)
    assert lo == Interface("lo", *range(1, 17))
    assert (eth0.interface_name, eth0.rx_bytes, eth0.tx_bytes) == ("eth0", 94022902, 200887)
    assert alias.interface_name == "eth0:1"


def test_single_facts() -> None:
    """Load, uptime, version, release, ticks, vmstat and file systems are read as written."""
    assert procfs.parse_loadavg(LOADAVG) == Load(0.52, 0.58, 1.59, 3, 389)
    assert procfs.parse_uptime("1361.65 2700.10\n") == 1361.65
    assert procfs.parse_kernel_version(VERSION) == "5.14.0-503.el9.x86_64"
    assert procfs.parse_os_release(OS_RELEASE) == {
        "NAME": "Ubuntu",
        "VERSION": "24.04.1 LTS (Noble Numbat)",
        "ID": "ubuntu",
        "PRETTY_NAME": 'Ubuntu "24.04"',
        "VERSION_ID": "24.04",
    }
    assert procfs.parse_cpu_ticks(STAT) == CpuTicks(100, 2, 30, 4000, 50, 6, 7, 8, 9, 1)
    assert procfs.parse_cpu_ticks("cpu  1 2 3 4\n") == CpuTicks(1, 2, 3, 4)
    assert procfs.parse_vmstat(VMSTAT)["nr_vmscan_write"] == -1
    assert procfs.parse_filesystems(FILESYSTEMS) == (
        FileSystem("sysfs", needs_block_device=False),
        FileSystem("ext4", needs_block_device=True),
        FileSystem("nfs4", needs_block_device=False),
    )


def test_counters_of_the_system() -> None:
    """Forks, switches and tasks are read from stat, stalls from the pressure files."""
    assert procfs.parse_system_counters(STAT_WHOLE) == SystemCounters(77, 1700000000, 88, 3, 1)
    with pytest.raises(ValueError, match="stat has no ctxt, processes"):
        procfs.parse_system_counters(STAT)
    some, full = procfs.parse_pressure(PRESSURE, "io")
    assert some == Pressure("io", "some", 1.5, 0.25, 0.0, 415360415)
    assert full.share == "full"


def test_gauges_among_the_counters_of_vmstat() -> None:
    """States are told from sums, whatever their names suggest."""
    names = ["nr_dirty", "nr_dirtied", "pgpgin", "workingset_nodes", "workingset_refault_file"]
    assert list(map(is_vmstat_gauge, names)) == [True, False, False, True, False]


def test_tables() -> None:
    """Mounts and control groups are read as written, octal escapes undone."""
    assert procfs.parse_mounts(MOUNTS) == (
        Mount("/dev/sda1", "/", "ext4", "rw,relatime", 0, 1),
        Mount("nas:/x y", "/mnt/a b", "nfs4", "rw,vers=4.2", 0, 0),
    )
    assert procfs.parse_cgroups(CGROUPS) == (
        Cgroup("cpuset", 3, 1, enabled=True),
        Cgroup("memory", 4, 20, enabled=False),
    )


def test_processes() -> None:
    """A process whose name holds brackets and blanks is read right."""
    stat = procfs.parse_process_stat(PROCESS_STAT)
    assert (stat.pid, stat.name, stat.state, stat.parent_pid) == (42, "a) b (c", "S", 1)
    assert (stat.user_ticks, stat.system_ticks, stat.num_threads) == (500, 60, 9)
    assert (stat.start_ticks, stat.resident_pages) == (12345, 250)
    assert procfs.parse_process_io(PROCESS_IO) == ProcessIo(1, 2, 3, 4, 4096, 8192, 0)


def test_this_process() -> None:
    """This machine's own /proc is read: pid, parent, and the bytes that this process read."""
    if not Path("/proc/self/io").exists():
        pytest.skip("no /proc here")
    own = procfs.parse_process_stat(Path("/proc/self/stat").read_text(encoding="utf-8"))
    assert (own.pid, own.parent_pid) == (os.getpid(), os.getppid())
    before = procfs.parse_process_io(Path("/proc/self/io").read_text(encoding="utf-8"))
    with Path("/dev/zero").open("rb", buffering=0) as zeros:
        assert len(zeros.read(1_000_000)) == 1_000_000
    after = procfs.parse_process_io(Path("/proc/self/io").read_text(encoding="utf-8"))
    assert counters_since(before, after).rchar >= 1_000_000


def test_counters_and_gauges() -> None:
    """Counters are counted from the earlier record; the I/Os in progress stay as they are."""
    (earlier,) = procfs.parse_diskstats("8 0 sda 10 0 0 0 5 0 0 0 7 0 0\n")
    (later,) = procfs.parse_diskstats("8 0 sda 25 0 0 0 5 0 0 0 3 0 0\n")
    change = counters_since(earlier, later)
    assert (change.reads_completed, change.writes_completed, change.ios_in_progress) == (15, 0, 3)
    assert change.discards_completed is None


def test_a_time_counter_that_wraps() -> None:
    """Weighted time, which the kernel prints in 32 bits, counts on over its end."""
    (earlier,) = procfs.parse_diskstats("8 0 sda 1 0 0 0 0 0 0 0 0 0 4294967290\n")
    (later,) = procfs.parse_diskstats("8 0 sda 2 0 0 0 0 0 0 0 0 0 10\n")
    assert counters_since(earlier, later).weighted_time_doing_ios_ms == 16


def test_counters_that_cannot_be_compared() -> None:
    """A counter that went back, and records of two devices, are refused."""
    sda, less, sdb = procfs.parse_diskstats(
        "8 0 sda 10 0 0 0 0 0 0 0 0 0 0\n8 0 sda 9 0 0 0 0 0 0 0 0 0 0\n"
        "8 0 sdb 10 0 0 0 0 0 0 0 0 0 0\n"
    )
    with pytest.raises(ValueError, match="reads_completed went back from 10 to 9"):
        counters_since(sda, less)
    with pytest.raises(ValueError, match="sda and sdb"):
        counters_since(sda, sdb)


@pytest.mark.parametrize(("parser", "text"), TABLES)
def test_a_torn_table_gives_its_whole_lines(parser: Callable[[str], Any], text: str) -> None:
    """Wherever a table is cut, the result is a beginning of the whole one, never a wrong number."""
    whole = parser(text)
    for end in range(len(text)):
        part = parser(text[:end])
        assert part == whole[: len(part)]
        assert len(part) <= text[:end].count("\n")


@pytest.mark.parametrize("end", range(len(MEMINFO)))
def test_torn_memory_is_never_wrong(end: int) -> None:
    """Torn memory text gives right sizes or None, or is refused."""
    whole = procfs.parse_meminfo_kib(MEMINFO)
    part = procfs.parse_meminfo_kib(MEMINFO[:end])
    assert part.items() <= whole.items()


@pytest.mark.parametrize(("parser", "text"), PARSERS)
@given(data=st.data())
def test_damage(parser: Callable[[str], Any], text: str, data: st.DataObject) -> None:
    """Cut short, or with junk anywhere inside, text is parsed or refused with ValueError."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    junk = data.draw(
        st.text(max_size=12) | st.sampled_from(["-1", "1e999", "²", "1_0", "\n:", "="])
    )
    damage = st.sampled_from([text[:start], text[:start] + junk + text[end:], text[start:end]])
    try:
        parser(data.draw(damage))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(("parser", "text"), PARSERS)
@given(junk=st.text() | st.text("0123456789 :.()/-\n\tcpukB=\"'#"))
def test_junk(parser: Callable[[str], Any], text: str, junk: str) -> None:
    """Any text at all is parsed or refused with ValueError."""
    assert parser(text) is not None
    try:
        parser(junk)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize("word", ["-1", "+1", "1_0", "²", "1.5", "0x1"])
def test_numbers_that_the_kernel_never_writes(word: str) -> None:
    """A count with a sign, an underscore, a fraction or an odd digit is refused."""
    with pytest.raises(ValueError, match="not a"):
        procfs.parse_diskstats(f"8 0 sda {word} 2 3 4 5 6 7 8 9 10 11\n")
    with pytest.raises(ValueError, match="not a"):
        procfs.parse_meminfo(f"MemTotal: {word} kB\n")
