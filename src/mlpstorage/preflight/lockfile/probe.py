"""What Python finds installed on a host, and what the host is: one JSON line on standard output.

This file is also sent to the interpreter of other hosts on its standard input, so it needs the
standard library only, and an old Python can still say how old it is.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata

MARK = "mlpstorage-probe "
_MPI_SECONDS = 5
_MPI_VERSIONS = (
    ("Open MPI", re.compile(r"\(Open MPI\) ([\w.]+)")),
    ("Open MPI (PRRTE)", re.compile(r"\(PRRTE\) ([\w.]+)")),
    ("Intel MPI", re.compile(r"Intel\(R\) MPI Library.*?Version ([\w.]+)", re.DOTALL)),
    ("MPICH", re.compile(r"HYDRA.*?Version:\s*([\w.]+)", re.DOTALL)),
)


def facts() -> dict[str, object]:
    """Everything that a lock is compared with, JSON-ready."""
    packages, broken = installed_packages()
    return {
        "packages": packages,
        "broken": broken,
        "markers": marker_environment(),
        "environment": environment(),
    }


def installed_packages() -> tuple[dict[str, str], list[str]]:
    """The versions by normalised name (PEP 503), and the directories that tell neither.

    Of two copies the first on the path counts: it is the one that is imported.
    """
    packages: dict[str, str] = {}
    broken: list[str] = []
    for found in metadata.distributions():
        name, version = found.metadata["Name"], found.metadata["Version"]
        if name and version:
            packages.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
        else:
            broken.append(str(getattr(found, "_path", found)))
    return packages, sorted(broken)


def marker_environment() -> dict[str, str]:
    """The variables of environment markers (PEP 508)."""
    info = sys.implementation.version
    release = f"{info.major}.{info.minor}.{info.micro}"
    if info.releaselevel != "final":
        release += info.releaselevel[0] + str(info.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": release,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def environment() -> dict[str, str]:
    """What stands beside the pins of a lock; empty where it is unknown."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": sysconfig.get_platform(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "os": _operating_system(),
        "mpi": _mpi(),
    }


def _operating_system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except (AttributeError, OSError):
        return platform.system()
    return f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip()


def _mpi() -> str:
    """The MPI launcher on PATH, or beside this interpreter, and its version."""
    own = os.path.dirname(sys.executable)  # noqa: PTH120 (pathlib would cost start-up)
    found = shutil.which("mpirun") or shutil.which("mpirun", path=own)
    if not found:
        return "none"
    try:
        done = subprocess.run(
            [found, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_MPI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    said = done.stdout.decode("utf-8", "replace")
    for name, pattern in _MPI_VERSIONS:
        match = pattern.search(said)
        if match:
            return f"{name} {match.group(1)}"
    return "unknown"


if __name__ == "__main__":
    sys.stdout.write("\n" + MARK + json.dumps(facts()) + "\n")
