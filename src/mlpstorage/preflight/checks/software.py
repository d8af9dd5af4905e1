"""Whether the same software works on every host: Python, mlpstorage, its packages, the engine."""

from __future__ import annotations

import platform
import shlex
import sys
from typing import TYPE_CHECKING

from mlpstorage import __version__
from mlpstorage.preflight import dlio
from mlpstorage.preflight.findings import Finding, Severity
from mlpstorage.preflight.gather import own_packages
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.facts import Facts, HostFacts
    from mlpstorage.preflight.needs import Needs

_OURS = platform.python_version()


def python(_: Needs, facts: Facts) -> Iterator[Finding]:
    """This very path of Python is on each host, in the same version."""
    for host in facts.all:
        if not host.reached:
            continue
        if host.python is None or host.python.executable != sys.executable:
            yield _no_python(host)
        elif host.system is None and host.code not in {None, 0}:
            yield _broken_python(host)
        elif host.python.version != _OURS:
            grave = host.python.version.split(".")[:2] != _OURS.split(".")[:2]
            yield Finding(
                "python.alike",
                f"{sys.executable} is Python {host.python.version}, here it is {_OURS}",
                why="hosts that run other code cannot be one measurement",
                fix=f"install Python {_OURS} there, and mlpstorage with it",
                host=host.name,
                severity=Severity.ERROR if grave else Severity.WARNING,
            )


def _no_python(host: HostFacts) -> Finding:
    found = (
        f"; what is there: {host.python.executable} {host.python.version}" if host.python else ""
    )
    return Finding(
        "python.alike",
        f"there is no {sys.executable}",
        why=f"ranks are started by the same path on every host{found}",
        fix=f"install mlpstorage there as here, in {sys.prefix}, or share that directory",
        host=host.name,
    )


def _broken_python(host: HostFacts) -> Finding:
    return Finding(
        "python.alike",
        f"{sys.executable} does not work: it ended with code {host.code}",
        why=printable(host.err.strip().rpartition("\n")[2]),
        fix=f"install mlpstorage there as here, in {sys.prefix}",
        host=host.name,
    )


def package(_: Needs, facts: Facts) -> Iterator[Finding]:
    """A rank's imports work on each host, and give our version."""
    for host in facts.all:
        found = host.imports
        if found is None:
            continue
        install = _on(host, f"{sys.executable} -m pip install mlpstorage=={__version__}")
        if not found.rank:
            part = "mlpstorage" if found.mlpstorage is None else "what mlpstorage needs"
            yield Finding(
                "package.alike",
                f"{sys.executable} cannot import {part}"
                + (" in time" if found.hung else f": {found.error}"),
                why="every rank imports it when it starts",
                fix=install,
                host=host.name,
            )
        elif found.mlpstorage != __version__:
            yield Finding(
                "package.alike",
                f"mlpstorage is {found.mlpstorage}, here it is {__version__}",
                why="ranks of another version may measure something else",
                fix=install,
                host=host.name,
            )


def _on(host: HostFacts, command: str) -> str:
    """A command as it is typed here to be run on a host."""
    return command if host.is_local else f"ssh {host.name} {shlex.quote(command)}"


def packages(_: Needs, facts: Facts) -> Iterator[Finding]:
    """The packages are of this host's versions everywhere; missing ones fail the import itself."""
    if facts.here.system is None:
        return
    ours = facts.here.system.packages
    for host in facts.hosts:
        ours_too = host.python is not None and host.python.executable == sys.executable
        theirs = host.system.packages if host.system and ours_too else {}
        other = [
            f"{name} {theirs[name]} (here {ours[name]})"
            for name in own_packages()
            if theirs.get(name) and ours.get(name) and theirs[name] != ours[name]
        ]
        if other:
            yield Finding(
                "packages.alike",
                f"other package versions: {', '.join(other)}",
                why="hosts that run other code are no clean measurement",
                fix="install the same versions everywhere; a lock file keeps them: "
                "mlpstorage lockfile generate",
                host=host.name,
                severity=Severity.WARNING,
            )


def uses_dlio(needs: Needs) -> bool:
    """Whether the engine is DLIO."""
    return needs.engine == dlio.ENGINE


def dlio_importable(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """DLIO and all that it imports are on each host."""
    for host in facts.hosts if needs.hosts else (facts.here,):
        if host.system is None:
            continue
        wanted = dlio.modules(needs.engine_path)
        missing = [name for name in wanted if name not in host.system.modules_found]
        if missing:
            by_hand = "; ".join(dlio.manual_lines())
            yield Finding(
                "engine.dlio",
                f"the DLIO engine is not installed: there is no module {', '.join(missing)}",
                why=f"{needs.purpose} uses --engine dlio",
                fix=f"{_on(host, dlio.COMMAND)}; it stands for: {by_hand}",
                host=host.name,
            )
        for name in needs.engine_modules:
            if name not in host.system.modules_found:
                yield Finding(
                    "engine.dlio",
                    f"DLIO needs {name} for this workload, and there is no such module",
                    why=f"{needs.purpose} uses --engine dlio",
                    fix=f"{_on(host, shlex.join(dlio.pip_command(dlio.EXTRAS.get(name, name))))}, "
                    "or use --engine native",
                    host=host.name,
                )
