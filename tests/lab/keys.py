"""Keys and configuration of ssh: everybody knows everybody, and nothing is turned off."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lab.network import Place

_SSHD = """\
Port 22
ListenAddress {address}
HostKey {folder}/host_key
PidFile /run/sshd.pid
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 300
MaxSessions 300
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
# curve25519: the default key exchange costs the client 60 ms of CPU more at each connection.
_CLIENT = """\
Host *
  User root
  StrictHostKeyChecking yes
  UpdateHostKeys no
  KexAlgorithms curve25519-sha256
  LogLevel ERROR
"""


def write_ssh_files(work: Path, places: list[Place]) -> None:
    """Write the files of ssh: `ssh` of which every home gets a copy, and each sshd's own.

    /etc/hosts, which they agree with, too.

    Args:
        work: The lab's folder; `work/NAME` is there for each host.
        places: All hosts.
    """
    client = work / "ssh"
    client.mkdir(mode=0o700)
    _generate([client / "id_ed25519", *(work / place.name / "host_key" for place in places)])
    known, names = [], ["127.0.0.1 localhost", "::1 localhost"]
    for place in places:
        folder = work / place.name
        public = (folder / "host_key.pub").read_text().split()[:2]
        known.append(" ".join([f"{place.name},{place.address}", *public]))
        names.append(f"{place.address} {place.name}")
        text = _SSHD.format(address=place.address, folder=folder)
        (folder / "sshd_config").write_text(text)
    (client / "known_hosts").write_text("\n".join(known) + "\n")
    (client / "authorized_keys").write_bytes((client / "id_ed25519.pub").read_bytes())
    (client / "config").write_text(_CLIENT)
    (work / "hosts").write_text("\n".join(names) + "\n")


def _generate(paths: list[Path]) -> None:
    """Make key pairs, all at once."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]
    running = [subprocess.Popen([*argv, str(path)]) for path in paths]
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, argv)
