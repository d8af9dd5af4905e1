"""What /proc says, as typed records: pure functions of its text.

Every parser returns what is there or raises ValueError. The kernel ends each line, so a last line
without its end is torn (a transport died) and is left out rather than read as a smaller number.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex

from mlpstorage.watch.records import (
    Cgroup,
    Cpu,
    CpuTicks,
    Disk,
    FileSystem,
    Interface,
    Load,
    Memory,
    Mount,
    Pressure,
    ProcessIo,
    ProcessStat,
    SystemCounters,
)

_KIB = 1024
_STAT_TICKS = 4  # the fewest columns that /proc/stat's cpu line ever had
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_OCTAL = re.compile(r"\\([0-7]{3})")


def parse_meminfo_kib(text: str) -> dict[str, int]:
    r"""/proc/meminfo as it is: KiB for lines with kB, plain counts for the rest.

    >>> parse_meminfo_kib("MemTotal:  16 kB\nHugePages_Total:   0\n")
    {'MemTotal': 16, 'HugePages_Total': 0}
    """
    found = {}
    for line in _lines(text):
        key, colon, value = line.partition(":")
        words = value.split()
        if not colon or not words or words[1:] not in ([], ["kB"]):
            raise ValueError(f"not a line of meminfo: {line!r}")
        found[key.strip()] = _count(words[0])
    return found


def parse_meminfo(text: str) -> Memory:
    """The memory of a host; used = total - free - buffers - cached."""
    kib = parse_meminfo_kib(text)
    if "MemTotal" not in kib:
        raise ValueError("meminfo has no MemTotal")

    def size(key: str) -> int | None:
        return kib[key] * _KIB if key in kib else None

    unused = [size(key) for key in ("MemFree", "Buffers", "Cached")]
    known = [part for part in unused if part is not None]
    free, buffers, cached = unused
    total = kib["MemTotal"] * _KIB
    return Memory(
        total=total,
        available=size("MemAvailable"),
        used=total - sum(known) if len(known) == len(unused) else None,
        free=free,
        active=size("Active"),
        inactive=size("Inactive"),
        buffers=buffers,
        cached=cached,
        shared=size("Shmem"),
    )


def parse_cpuinfo(text: str, architecture: str) -> Cpu:
    """The processors of a host.

    Where the kernel tells no topology (ARM, POWER, virtual machines) each logical core counts as a
    core, of one socket.
    """
    logical = 0
    cores: set[tuple[str, str]] = set()
    sockets: set[str] = set()
    models: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.rpartition("\n")[0]):
        facts = dict(_fact(line) for line in paragraph.split("\n") if ":" in line)
        numbered = "processor" in facts and facts["processor"].isdecimal()
        logical += numbered
        models += [facts[key] for key in ("model name", "cpu", "cpu model") if facts.get(key)]
        if numbered and "physical id" in facts:
            sockets.add(facts["physical id"])
            cores.add((facts["physical id"], facts.get("core id", facts["processor"])))
    if not logical:
        raise ValueError("cpuinfo names no processor")
    return Cpu(
        num_cores=len(cores) or logical,
        num_logical_cores=logical,
        model=models[0] if models else "",
        architecture=architecture,
        num_sockets=len(sockets) or 1,
    )


def parse_diskstats(text: str) -> tuple[Disk, ...]:
    """The block devices, with 14, 18 or 20 columns by the age of the kernel; more are left out."""
    disks = []
    for line in _lines(text):
        words = line.split()
        columns = next((n for n in (20, 18, 14) if len(words) >= n), None)
        if columns is None:
            raise ValueError(f"not a line of diskstats: {line!r}")
        disks.append(Disk(words[2], *(_count(word) for word in words[3:columns])))
    return tuple(disks)


def parse_net_dev(text: str) -> tuple[Interface, ...]:
    """The network interfaces."""
    interfaces = []
    for line in _lines(text)[2:]:  # two lines of headings
        name, _, counters = line.rpartition(":")  # old aliases have a colon in the name: eth0:1
        words = counters.split()
        if not name.strip() or len(words) != len(dataclasses.fields(Interface)) - 1:
            raise ValueError(f"not a line of net/dev: {line!r}")
        interfaces.append(Interface(name.strip(), *(_count(word) for word in words)))
    return tuple(interfaces)


def parse_loadavg(text: str) -> Load:
    """The load averages.

    >>> parse_loadavg("0.52 0.58 0.59 1/389 12345").total_processes
    389
    """
    words = text.split()
    if len(words) != 5:  # noqa: PLR2004 - three averages, the processes, the last pid
        raise ValueError(f"not a loadavg: {text[:80]!r}")
    running, _, total = words[3].partition("/")
    last_minute, last_5, last_15 = (_decimal(word) for word in words[:3])
    return Load(last_minute, last_5, last_15, _count(running), _count(total))


def parse_uptime(text: str) -> float:
    """Seconds since boot."""
    words = text.split()
    if len(words) != 2:  # noqa: PLR2004 - uptime and idle time
        raise ValueError(f"not an uptime: {text[:80]!r}")
    return _decimal(words[0])


def parse_kernel_version(text: str) -> str:
    """The release in /proc/version.

    >>> parse_kernel_version("Linux version 6.8.0-31-generic (builder@host) #31 SMP")
    '6.8.0-31-generic'
    """
    words = text.split()
    if words[1:2] != ["version"] or len(words) < 3:  # noqa: PLR2004 - "Linux version 6.8.0"
        raise ValueError(f"not a kernel version: {text[:80]!r}")
    return words[2]


def parse_os_release(text: str) -> dict[str, str]:
    r"""/etc/os-release without its shell quoting; people may leave out its last newline.

    >>> parse_os_release('NAME="Rocky Linux"\nVERSION_ID=9.4')
    {'NAME': 'Rocky Linux', 'VERSION_ID': '9.4'}
    """
    found = {}
    for line in text.split("\n"):
        key, equals, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        if not equals:
            raise ValueError(f"not a line of os-release: {line!r}")
        found[key] = "".join(shlex.split(value))
    return found


def parse_cpu_ticks(text: str) -> CpuTicks:
    """What all processors did since boot, from /proc/stat."""
    for line in _lines(text):
        words = line.split()
        if words[:1] == ["cpu"]:
            ticks = [_count(word) for word in words[1 : len(dataclasses.fields(CpuTicks)) + 1]]
            if len(ticks) < _STAT_TICKS:
                break
            return CpuTicks(*ticks)
    raise ValueError("stat has no whole cpu line")


def parse_system_counters(text: str) -> SystemCounters:
    """Context switches, forks and tasks, from /proc/stat."""
    names = ("ctxt", "btime", "processes", "procs_running", "procs_blocked")
    found = {}
    for line in _lines(text):
        words = line.split()
        if words[0] in names and len(words) == 2:  # noqa: PLR2004 - a name and a number
            found[words[0]] = _count(words[1])
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"stat has no {', '.join(missing)}")
    return SystemCounters(*(found[name] for name in names))


def parse_pressure(text: str, resource: str) -> tuple[Pressure, ...]:
    r"""The lines of /proc/pressure/<resource>.

    >>> parse_pressure("some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n", "io")[0].total_us
    12
    """
    found = []
    for line in _lines(text):
        share, *pairs = line.split()
        facts = dict(pair.partition("=")[::2] for pair in pairs)
        if set(facts) != {"avg10", "avg60", "avg300", "total"}:
            raise ValueError(f"not a line of pressure: {line[:80]!r}")
        avg10, avg60, avg300 = (_decimal(facts[name]) for name in ("avg10", "avg60", "avg300"))
        found.append(Pressure(resource, share, avg10, avg60, avg300, _count(facts["total"])))
    return tuple(found)


def parse_process_io(text: str) -> ProcessIo:
    """What a process read and wrote, from /proc/<pid>/io."""
    facts = dict(_fact(line) for line in _lines(text) if ":" in line)
    names = [field.name for field in dataclasses.fields(ProcessIo)]
    missing = [name for name in names if name not in facts]
    if missing:
        raise ValueError(f"io has no {', '.join(missing)}")
    return ProcessIo(**{name: _count(facts[name]) for name in names})


def parse_process_stat(text: str) -> ProcessStat:
    """One process; its name may hold spaces and brackets. Field numbers are those of proc(5)."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition("(")
    words = tail.split()
    if len(words) < 22:  # noqa: PLR2004 - up to field 24, the resident set
        raise ValueError(f"not a process stat: {text[:80]!r}")

    def number(field: int) -> int:
        return _count(words[field - 3])

    return ProcessStat(
        pid=_count(pid.strip()),
        name=name,
        state=words[0],
        parent_pid=number(4),
        user_ticks=number(14),
        system_ticks=number(15),
        num_threads=number(20),
        start_ticks=number(22),
        resident_pages=number(24),
    )


def parse_vmstat(text: str) -> dict[str, int]:
    """/proc/vmstat: counters and gauges (`nr_...`) by name."""
    found = {}
    for line in _lines(text):
        words = line.split()
        if len(words) != 2:  # noqa: PLR2004 - a name and a number
            raise ValueError(f"not a line of vmstat: {line!r}")
        # Per-processor sums may be negative for a moment.
        found[words[0]] = -_count(words[1][1:]) if words[1].startswith("-") else _count(words[1])
    return found


def parse_mounts(text: str) -> tuple[Mount, ...]:
    r"""The mounted file systems; spaces in names are written there as \040."""
    mounts = []
    for line in _lines(text):
        words = line.split(" ")
        if len(words) != len(dataclasses.fields(Mount)):
            raise ValueError(f"not a line of mounts: {line!r}")
        device, point, fs_type, options = (unescape_octal(word) for word in words[:4])
        mounts.append(Mount(device, point, fs_type, options, _count(words[4]), _count(words[5])))
    return tuple(mounts)


def unescape_octal(word: str) -> str:
    r"""A name of /proc/mounts as it is on disk.

    >>> unescape_octal(r"/mnt/my\040disk")
    '/mnt/my disk'
    """
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), word)


def parse_filesystems(text: str) -> tuple[FileSystem, ...]:
    r"""The file systems that the kernel knows, and whether each needs a block device.

    >>> [f.fs_type for f in parse_filesystems("nodev\tnfs4\n\text4\n") if f.needs_block_device]
    ['ext4']
    """
    found = []
    for line in _lines(text):
        flag, tab, name = line.partition("\t")
        if not tab or not name or flag not in ("", "nodev"):
            raise ValueError(f"not a line of filesystems: {line!r}")
        found.append(FileSystem(name, flag == ""))
    return tuple(found)


def parse_cgroups(text: str) -> tuple[Cgroup, ...]:
    """The controllers of /proc/cgroups."""
    groups = []
    for line in _lines(text):
        if line.startswith("#"):
            continue
        words = line.split()
        if len(words) != len(dataclasses.fields(Cgroup)):
            raise ValueError(f"not a line of cgroups: {line!r}")
        hierarchy, members, enabled = (_count(word) for word in words[1:])
        groups.append(Cgroup(words[0], hierarchy, members, bool(enabled)))
    return tuple(groups)


def _lines(text: str) -> list[str]:
    """The whole lines that hold something."""
    return [line for line in text.split("\n")[:-1] if line.strip()]


def _fact(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _count(word: str) -> int:
    """A number as the kernel writes it; int() alone would take signs, underscores and blanks."""
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"not a count: {word[:40]!r}")
    return int(word)


def _decimal(word: str) -> float:
    if _DECIMAL.fullmatch(word) is None or not math.isfinite(float(word)):
        raise ValueError(f"not a number: {word[:40]!r}")
    return float(word)
