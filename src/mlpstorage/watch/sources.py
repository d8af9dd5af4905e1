"""The files that tell what a host is, and those that a sample reads: one list for every transport.

Names are paths without the leading slash; a file that a host lacks is left out.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlpstorage.watch import devices
from mlpstorage.watch.untrusted import decoded

_ROOT = Path("/")
FILES = (
    "proc/sys/kernel/hostname",
    "proc/sys/kernel/random/boot_id",
    "proc/meminfo",
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/stat",
    "proc/vmstat",
    "proc/net/dev",
    "proc/version",
    "proc/loadavg",
    "proc/uptime",
    "proc/mounts",
    "proc/filesystems",
    "proc/cgroups",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/mountstats",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "etc/os-release",
    "sys/class/dmi/id/product_name",
)
PATTERNS = devices.PATTERNS
# What commands tell, under names that no file has.
MACHINE, CLOCK_TICKS, PAGE_SIZE = "uname -m", "getconf CLK_TCK", "getconf PAGESIZE"
# In the order in which a sample reads them. Uptime first: it dates the sample.
SAMPLE_FILES = (
    "proc/uptime",
    "proc/diskstats",
    "proc/stat",
    "proc/vmstat",
    "proc/meminfo",
    "proc/loadavg",
    "proc/net/dev",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
)


def read_sources(root: Path = _ROOT) -> dict[str, str]:
    """The text of each source that this host has; containers lack some."""
    names = [*FILES]
    for pattern in PATTERNS:
        names += sorted(str(path.relative_to(root)) for path in root.glob(pattern))
    texts = {name: text_or_none(root / name) for name in names}
    return {
        **{name: text for name, text in texts.items() if text is not None},
        MACHINE: os.uname().machine,
        CLOCK_TICKS: str(os.sysconf("SC_CLK_TCK")),
        PAGE_SIZE: str(os.sysconf("SC_PAGE_SIZE")),
    }


def text_or_none(path: Path) -> str | None:
    """The file's text; None where this kernel or container has no such file for us.

    Files of /sys fail in ways of their own: the speed of a link that is down is "invalid".
    """
    try:
        return decoded(path.read_bytes())
    except OSError:
        return None
