"""What the machine must offer, and one sentence about what it does not."""

from __future__ import annotations

import os
import shutil
import subprocess

from lab import cgroups
from mlpstorage.core.errors import MlpstorageError

_PACKAGES = {
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
}
_NAMESPACES = ("--net", "--uts", "--ipc", "--pid", "--cgroup", "--mount")


class LabError(MlpstorageError):
    """The test bed cannot do what was asked."""


def tool(name: str) -> str | None:
    """The path of a program, looked for where root's programs are too."""
    places = [*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/sbin"]
    return shutil.which(name, path=":".join(places))


def missing() -> str | None:
    """Why no lab can be made here, with what mends it; None when one can."""
    if os.geteuid() != 0:
        return "a lab of hosts needs root"
    absent = [name for name in _PACKAGES if tool(name) is None]
    if absent:
        packages = " ".join(sorted({_PACKAGES[name] for name in absent}))
        return f"a lab of hosts needs {', '.join(absent)}: apt-get install {packages}"
    try:
        cgroups.homes()
    except OSError as error:
        return f"a lab of hosts needs a writable cgroup: {error}"
    return _refused_namespaces()


def _refused_namespaces() -> str | None:
    done = subprocess.run(
        ["unshare", *_NAMESPACES, "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else None
