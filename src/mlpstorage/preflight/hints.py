"""The command that installs a missing thing, for the operating system that misses it."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.preflight.facts import System


class Thing(enum.Enum):
    """What can be missing."""

    MPI = "MPI"
    SSH = "ssh client"
    FIO = "fio"
    PYTHON_HEADERS = "Python headers"


@dataclass(frozen=True)
class Family:
    """Distributions with one package manager: how it installs, and what things are called there.

    `after` is what must follow an installation of MPI before its launcher is on PATH.
    """

    name: str
    install: str
    packages: Mapping[Thing, str]
    after: str = ""
    needs_root: bool = True


def _packages(mpi: str, ssh: str, headers: str, fio: str = "fio") -> dict[Thing, str]:
    return {Thing.MPI: mpi, Thing.SSH: ssh, Thing.FIO: fio, Thing.PYTHON_HEADERS: headers}


# Red Hat's packages of MPI stand beside each other outside PATH; a module puts one on it.
_MODULE_LOAD = "module load mpi/openmpi-$(uname -m)"
_RPM = _packages("openmpi", "openssh-clients", "python3-devel")
DEBIAN = Family(
    "Debian",
    "apt-get install -y",
    _packages("openmpi-bin", "openssh-client", "python3-dev"),
)
FEDORA = Family("Fedora", "dnf install -y", _RPM, after=_MODULE_LOAD)
RHEL = Family("RHEL", "dnf install -y", _RPM, after=_MODULE_LOAD)
OLD_RHEL = Family("RHEL 7", "yum install -y", _RPM, after=_MODULE_LOAD)
SUSE = Family(
    "SUSE",
    "zypper --non-interactive install",
    _packages("openmpi4", "openssh-clients", "python3-devel"),
    after="export PATH=$PATH:/usr/lib64/mpi/gcc/openmpi4/bin",
)
ARCH = Family("Arch", "pacman -S --noconfirm", _packages("openmpi", "openssh", "python"))
ALPINE = Family("Alpine", "apk add", _packages("openmpi", "openssh-client", "python3-dev"))
MACOS = Family(
    "macOS", "brew install", _packages("open-mpi", "openssh", "python"), needs_root=False
)
_BY_ID: Mapping[str, Family] = {
    "debian": DEBIAN,
    "ubuntu": DEBIAN,
    "fedora": FEDORA,
    "rhel": RHEL,
    "centos": RHEL,
    "rocky": RHEL,
    "almalinux": RHEL,
    "ol": RHEL,
    "amzn": RHEL,
    "suse": SUSE,
    "opensuse": SUSE,
    "sles": SUSE,
    "arch": ARCH,
    "alpine": ALPINE,
}
# The first major version of a distribution that has dnf.
_FIRST_WITH_DNF = {"rhel": 8, "centos": 8, "ol": 8, "amzn": 2022}
_WHEEL = "or from PyPI, without root: pip install 'mlpstorage[mpich]'"
_MODULES = "this host has environment modules: `module avail mpi` may show one to load"


def family_of(os_release: str, platform: str = "linux") -> Family | None:
    r"""The family of an operating system, by its os-release (ID, then ID_LIKE); None if unknown.

    >>> family_of('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"').name
    'RHEL'
    >>> family_of("", "darwin").name, family_of("ID=plan9")
    ('macOS', None)
    """
    if platform == "darwin":
        return MACOS
    fields = _fields(os_release)
    words = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    for word in words:
        family = _BY_ID.get(word) or _BY_ID.get(word.partition("-")[0])
        if family is not None:
            return OLD_RHEL if family is RHEL and _before_dnf(fields) else family
    return None


def system_name(os_release: str, platform: str = "linux") -> str:
    """What an operating system calls itself, such as `Debian GNU/Linux 12 (bookworm)`."""
    return _fields(os_release).get("PRETTY_NAME", "") or platform


def _fields(os_release: str) -> dict[str, str]:
    """The assignments of an os-release file; see os-release(5)."""
    found = {}
    for line in os_release.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:  # an unbalanced quote
                found[name] = value.strip("'\"")
            if " " in value:
                found[name] = value.strip().strip("'\"")
    return found


def _before_dnf(fields: Mapping[str, str]) -> bool:
    major = fields.get("VERSION_ID", "").partition(".")[0]
    first = _FIRST_WITH_DNF.get(fields.get("ID", ""))
    return first is not None and major.isdecimal() and int(major) < first


def install_command(thing: Thing, family: Family, *, root: bool) -> str:
    """The command that installs a thing.

    >>> install_command(Thing.MPI, DEBIAN, root=False)
    'sudo apt-get install -y openmpi-bin'
    """
    sudo = "" if root or not family.needs_root else "sudo "
    command = f"{sudo}{family.install} {family.packages[thing]}"
    return f"{command} && {family.after}" if thing is Thing.MPI and family.after else command


def install_hint(thing: Thing, system: System | None) -> str:
    """What to do where a thing is missing: the exact command, then the other ways."""
    family = family_of(system.os_release, system.platform) if system else None
    if system is None or family is None:
        first = f"install the {thing.value} with this system's package manager"
    else:
        first = install_command(thing, family, root=system.uid == 0)
    ways = [first]
    if thing is Thing.MPI:
        ways += [_WHEEL] + ([_MODULES] if system and system.modules else [])
    return "; ".join(ways)
