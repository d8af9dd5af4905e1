from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import SshLab

RELEASES = sorted((Path(__file__).parent / "os_releases").iterdir())
INSTALLERS = {
    "debian": "apt-get install -y openmpi-bin",
    "ubuntu": "apt-get install -y openmpi-bin",
    "linuxmint": "apt-get install -y openmpi-bin",
    "rocky": "dnf install -y openmpi",
    "rhel": "dnf install -y openmpi",
    "fedora": "dnf install -y openmpi",
    "centos": "yum install -y openmpi",
    "amazon": "dnf install -y openmpi",
    "opensuse": "zypper --non-interactive install openmpi4",
    "sles": "zypper --non-interactive install openmpi4",
    "arch": "pacman -S --noconfirm openmpi",
    "manjaro": "pacman -S --noconfirm openmpi",
    "alpine": "apk add openmpi",
}


def findings(document: Any, check: str) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """The findings of one check, by the hosts that they name."""
    return {f["host"]: f for f in document["findings"] if f["check"] == check}


def test_good_hosts_pass(ssh_lab: SshLab, tmp_path: Path) -> None:
    """Two good hosts with a shared directory give no error, and exit code 0."""
    seen = ssh_lab.doctor("--hosts", "h1,h2", "--data-dir", tmp_path, "--json")
    assert seen.code == 0, seen.out + seen.err
    assert seen.json["errors"] == 0
    assert [host["host"] for host in seen.json["hosts"]] == ["this host", "h1", "h2"]
    assert all(abs(host["clock_offset_seconds"]) < 1 for host in seen.json["hosts"])
    assert "error" not in {check["result"] for check in seen.json["checks"]}
    assert not list(tmp_path.iterdir()), "the probe files are gone"


def test_every_way_of_not_getting_in_is_listed(ssh_lab: SshLab, bare_path: Path) -> None:
    """No launcher and seven hosts with seven faults: one list, each named, each with its fix."""
    seen = ssh_lab.doctor(
        "--hosts", "h1,nosuch,refuser,stranger,changed,silent,closed", "--json",
        path=str(bare_path),
    )  # fmt: skip
    assert seen.code == 5
    said = findings(seen.json, "ssh.reach")
    expected = {
        "nosuch": ("its name is not known", "/etc/hosts"),
        "refuser": ("it does not accept the key", "ssh-copy-id refuser"),
        "stranger": ("its host key is not in known_hosts", "ssh-keyscan stranger"),
        "changed": ("its host key is not the one in known_hosts", "ssh-keygen -R changed"),
        "silent": ("it did not answer within", "ssh -v silent"),
        "closed": ("nothing listens on its ssh port", "systemctl enable --now sshd"),
    }
    assert set(said) == set(expected)
    for host, (what, fix) in expected.items():
        assert what in said[host]["what"]
        assert fix in said[host]["fix"]
    (launcher,) = findings(seen.json, "mpi.launcher").values()
    assert "no MPI launcher" in launcher["what"]


def test_text_for_people_names_host_cause_and_fix(ssh_lab: SshLab) -> None:
    """The text shows a finding as a benchmark would: error, why, fix, and a count."""
    seen = ssh_lab.doctor("--hosts", "h1,refuser")
    assert seen.code == 5
    assert "error: refuser: cannot log in: it does not accept the key" in seen.out
    assert "fix: ssh-copy-id refuser" in seen.out
    assert "1 error, 0 warnings" in seen.out


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_missing_launcher_gives_this_systems_command(
    ssh_lab: SshLab, bare_path: Path, release: Path
) -> None:
    """Without mpirun, the fix is the command of the distribution that os-release names."""
    seen = ssh_lab.doctor("--hosts", "h1,h2", "--json", path=str(bare_path), os_release=release)
    (found,) = findings(seen.json, "mpi.launcher").values()
    expected = INSTALLERS[release.name.partition("-")[0]]
    if release.name == "amazon-2":
        expected = expected.replace("dnf", "yum")
    assert expected in found["fix"]
    assert "mlpstorage[mpich]" in found["fix"]
    assert seen.code == 5


def test_missing_ssh_is_one_finding(ssh_lab: SshLab, bare_path: Path) -> None:
    """Without an ssh program the hosts are not asked, and the client's package is named."""
    (bare_path / "ssh").unlink()
    seen = ssh_lab.doctor("--hosts", "h1,h2", "--json", path=str(bare_path))
    assert seen.code == 5
    (found,) = findings(seen.json, "ssh.client").values()
    assert "h1, h2" in found["why"]
    assert "openssh-client" in found["fix"] or "package manager" in found["fix"]
    assert not findings(seen.json, "ssh.reach")


def test_directory_that_is_not_shared(ssh_lab: SshLab, private_dir: Path) -> None:
    """A host that has another filesystem at the same path is found by a file, not by the name."""
    seen = ssh_lab.doctor("--hosts", "h1,alone", "--data-dir", private_dir, "--json")
    assert seen.code == 5
    said = findings(seen.json, "places.shared")
    assert set(said) == {"alone"}
    assert str(private_dir) in said["alone"]["what"]
    assert "tmpfs" in said["alone"]["why"]


def test_host_without_our_python(ssh_lab: SshLab) -> None:
    """A host where Python is at another path is told so, with the path that ranks start by."""
    seen = ssh_lab.doctor("--hosts", "h1,bare", "--json")
    said = findings(seen.json, "python.alike")
    assert set(said) == {"bare"}
    assert Path(sys.executable).parent.as_posix() in said["bare"]["what"]
    assert seen.code == 5


def test_host_with_another_release(ssh_lab: SshLab) -> None:
    """A host with another version of mlpstorage is an error, with the command that mends it."""
    seen = ssh_lab.doctor("--hosts", "h2,older", "--json")
    said = findings(seen.json, "package.alike")
    assert set(said) == {"older"}
    assert said["older"]["what"].startswith("mlpstorage is 0.0.1")
    assert said["older"]["fix"].startswith("ssh older ")


def test_host_with_a_low_limit_of_open_files(ssh_lab: SshLab) -> None:
    """A host whose processes may open too few files is found before a rank fails there."""
    seen = ssh_lab.doctor("--hosts", "h1,narrow", "--json")
    said = findings(seen.json, "limits.files")
    assert set(said) == {"narrow"}
    assert "100 files" in said["narrow"]["what"]


def test_database_out_of_reach(ssh_lab: SshLab) -> None:
    """A server that refuses is told per host, with its address."""
    seen = ssh_lab.doctor("--hosts", "h1,h2", "--host", "10.77.0.254", "--port", "19530", "--json")
    said = findings(seen.json, "endpoints")
    assert set(said) == {"h1, h2"}
    assert "10.77.0.254:19530: Connection refused" in said["h1, h2"]["what"]


def test_checks_that_could_not_be_made_are_not_called_ok(ssh_lab: SshLab) -> None:
    """With a host out of reach, what was asked of the others only is said to be so."""
    seen = ssh_lab.doctor("--hosts", "h1,closed", "--json")
    results = {check["id"]: check["result"] for check in seen.json["checks"]}
    assert results["ssh.reach"] == "error"
    assert results["limits.files"] == "ok where asked"
    assert results["ssh.client"] == "ok"


def test_read_only_filesystem(ssh_lab: SshLab, tmp_path: Path) -> None:
    """A directory on a read-only filesystem is found by writing: exit code 4, and what mends it."""
    mounted = 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"'
    seen = ssh_lab.run(
        "unshare", "-m", "sh", "-c", mounted, tmp_path,
        sys.executable, "-m", "mlpstorage", "doctor", "--results-dir", tmp_path, "--json",
    )  # fmt: skip
    assert seen.code == 4
    (found,) = findings(seen.json, "places.usable").values()
    assert "Read-only file system" in found["what"]
    assert found["fix"].startswith("remount it read-write")
