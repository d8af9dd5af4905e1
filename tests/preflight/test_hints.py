from __future__ import annotations

from pathlib import Path

import pytest

from mlpstorage.preflight.facts import System
from mlpstorage.preflight.hints import (
    MACOS,
    Thing,
    family_of,
    install_command,
    install_hint,
    system_name,
)

RELEASES = Path(__file__).parent / "os_releases"
# The distribution, and its command for each of MPI, ssh client, fio and Python headers.
EXPECTED = {
    "debian-12": ("apt-get install -y", "openmpi-bin", "openssh-client", "python3-dev"),
    "ubuntu-24.04": ("apt-get install -y", "openmpi-bin", "openssh-client", "python3-dev"),
    "linuxmint-22": ("apt-get install -y", "openmpi-bin", "openssh-client", "python3-dev"),
    "rocky-9": ("dnf install -y", "openmpi", "openssh-clients", "python3-devel"),
    "rhel-8": ("dnf install -y", "openmpi", "openssh-clients", "python3-devel"),
    "centos-7": ("yum install -y", "openmpi", "openssh-clients", "python3-devel"),
    "fedora-41": ("dnf install -y", "openmpi", "openssh-clients", "python3-devel"),
    "amazon-2023": ("dnf install -y", "openmpi", "openssh-clients", "python3-devel"),
    "amazon-2": ("yum install -y", "openmpi", "openssh-clients", "python3-devel"),
    "opensuse-leap-15.6": (
        "zypper --non-interactive install", "openmpi4", "openssh-clients", "python3-devel",
    ),
    "sles-15": (
        "zypper --non-interactive install", "openmpi4", "openssh-clients", "python3-devel",
    ),
    "arch": ("pacman -S --noconfirm", "openmpi", "openssh", "python"),
    "manjaro": ("pacman -S --noconfirm", "openmpi", "openssh", "python"),
    "alpine-3.20": ("apk add", "openmpi", "openssh-client", "python3-dev"),
}  # fmt: skip


def system(os_release: str, *, uid: int = 0, modules: bool = False) -> System:
    """A host with this os-release file."""
    return System(
        hostname="h", boot_id="b", os_release=os_release, platform="linux", uid=uid,
        modules=modules, open_files=None, locked_bytes=None, memory_available_bytes=None,
        addresses={}, packages={}, modules_found=(), programs=(),
    )  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_each_distribution_has_its_commands(name: str) -> None:
    """The os-release file decides on the package manager and on the packages' names."""
    text = (RELEASES / name).read_text()
    install, mpi, ssh, headers = EXPECTED[name]
    family = family_of(text)
    assert family is not None
    assert install_command(Thing.MPI, family, root=True).startswith(f"{install} {mpi}")
    assert install_command(Thing.SSH, family, root=True) == f"{install} {ssh}"
    assert install_command(Thing.FIO, family, root=True) == f"{install} fio"
    assert install_command(Thing.PYTHON_HEADERS, family, root=True) == f"{install} {headers}"
    assert install_command(Thing.SSH, family, root=False) == f"sudo {install} {ssh}"
    assert name.partition("-")[0] in system_name(text).lower().replace(" ", "").replace(
        "redhatenterpriselinux", "rhel"
    ).replace("suselinuxenterpriseserver", "sles")


def test_every_fixture_is_expected() -> None:
    """No os-release file lies about unused."""
    assert {path.name for path in RELEASES.iterdir()} == set(EXPECTED)


def test_macos_installs_with_brew_and_without_root() -> None:
    """On macOS, which has no os-release file, the platform decides."""
    assert family_of("", "darwin") is MACOS
    assert install_command(Thing.MPI, MACOS, root=False) == "brew install open-mpi"


def test_unknown_system_is_told_what_to_look_for() -> None:
    """Where the distribution is not known, the thing is named, and PyPI's MPI."""
    hint = install_hint(Thing.MPI, system("ID=plan9\n"))
    assert "MPI with this system's package manager" in hint
    assert "mlpstorage[mpich]" in hint
    assert install_hint(Thing.SSH, None).startswith("install the ssh client")


def test_modules_are_hinted_where_they_are() -> None:
    """On a host with environment modules an MPI may only have to be loaded."""
    with_modules = install_hint(Thing.MPI, system("ID=rhel\nVERSION_ID=9\n", modules=True))
    assert "module avail mpi" in with_modules
    assert "module avail mpi" not in install_hint(Thing.MPI, system("ID=rhel\nVERSION_ID=9\n"))


def test_red_hats_launcher_needs_a_module() -> None:
    """On Red Hat's systems the installed mpirun is not on PATH before its module is loaded."""
    assert "&& module load mpi/openmpi-" in install_hint(Thing.MPI, system("ID=fedora\n"))


def test_malformed_os_release_is_survived() -> None:
    """An unbalanced quote does not hide the other lines."""
    family = family_of('PRETTY_NAME="half\nID=debian\n')
    assert family is not None
    assert family.name == "Debian"
