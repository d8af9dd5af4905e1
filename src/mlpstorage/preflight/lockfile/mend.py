"""The command that mends each difference."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.preflight.lockfile.model import Difference, Lock

_LOCK_AGAIN = "or lock again: mlpstorage lockfile generate"


def mend(lock: Lock, difference: Difference, hosts: Sequence[str]) -> str:
    """What the user types to mend a difference on these hosts; no host means this one."""
    python = sys.executable
    if difference.kind in {"mismatch", "missing"}:
        return install(lock, hosts)
    if difference.kind == "extra":
        return _on(hosts, shlex.join([*_pip(hosts), "uninstall", "-y", difference.subject]))
    if difference.kind == "python":
        return f"use an environment with Python {difference.locked}, {_LOCK_AGAIN}"
    if difference.kind == "local":
        name, version = difference.subject, difference.locked
        return f"install {name} {version} from its directory, {_LOCK_AGAIN}"
    if difference.kind == "host":
        check = _on(hosts, shlex.join([python, "--version"]))
        return f"make this work, with the same environment at the same path there: {check}"
    return ""


def install(lock: Lock, hosts: Sequence[str] = ()) -> str:
    """The command that installs what the lock says; other hosts read the file from this one."""
    flags = [
        *(["--require-hashes"] if lock.is_hashed else []),
        *(["--no-deps"] if lock.no_deps else []),
    ]
    path = str(lock.path)
    if lock.format == "pylock":
        # pip reads the format by the name of the file, so it must lie on the host itself.
        return _on(hosts, shlex.join([*_pip(hosts), "install", "-r", path]))
    if lock.format == "uv":
        export = [
            "uv",
            "export",
            "--frozen",
            "--no-emit-project",
            "--project",
            str(lock.path.parent),
        ]
        into = shlex.join([*_pip(hosts), "install", "-r", "/dev/stdin"])
        return _on(hosts, into, before=f"{shlex.join(export)} | ")
    if not hosts or lock.includes:
        return _on(hosts, shlex.join([*_pip(hosts), "install", *flags, "-r", path]))
    remote = shlex.join([*_pip(hosts), "install", *flags, "-r", "/dev/stdin"])
    return _on(hosts, remote, f" < {shlex.quote(path)}")


def _pip(hosts: Sequence[str]) -> list[str]:
    """The pip of this interpreter; environments made by uv have none."""
    if hosts or find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return ["uv", "pip"]


def _on(hosts: Sequence[str], command: str, then: str = "", *, before: str = "") -> str:
    """The command on this host, on one other, or on several; the rest of the line stays here.

    >>> _on(["n1", "n2"], "true", " < f")
    'for host in n1 n2; do ssh "$host" true < f; done'
    """
    if not hosts:
        return before + command + then
    quoted = shlex.quote(command)
    if len(hosts) == 1:
        return f"{before}ssh {hosts[0]} {quoted}{then}"
    return f'for host in {" ".join(hosts)}; do {before}ssh "$host" {quoted}{then}; done'
