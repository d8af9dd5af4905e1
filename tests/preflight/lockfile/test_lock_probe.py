from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from packaging.markers import default_environment

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.preflight.lockfile import lockfile_problems, probe
from mlpstorage.preflight.lockfile.hosts import facts_here, facts_of

if TYPE_CHECKING:
    from pathlib import Path

# Each host behaves in its own way; the words after the name are the remote command.
NO_ROUTE = "ssh: connect to host down port 22: No route to host"
SSH = """\
#!/bin/sh
while [ "$1" != "--" ]; do shift; done
host=$2; shift 2
case $host in
  good) exec sh -c "echo noise of .bashrc; $*" ;;
  bare) cat > /dev/null; echo "sh: not found" >&2; exit 127 ;;
  down) echo "ssh: connect to host down port 22: No route to host" >&2; exit 255 ;;
  odd)  cat > /dev/null; echo 'mlpstorage-probe {"packages": 3}' ;;
  dies) cat > /dev/null; echo "Fatal Python error" >&2; exit 1 ;;
  slow) exec sleep 60 ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program `ssh` that runs the command here, or fails as the host's name says."""
    program = tmp_path / "ssh"
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_markers_are_those_of_packaging() -> None:
    """The variables of PEP 508 that other hosts compute without packaging are the same."""
    assert probe.marker_environment() == default_environment()


def test_installed_packages_are_those_of_this_interpreter() -> None:
    """Every installed distribution is found by its normalised name."""
    packages = facts_here().packages
    assert packages["ruamel-yaml"] == metadata.version("ruamel.yaml")
    assert packages["numpy"] == metadata.version("numpy")


def test_a_package_without_name_or_version_is_reported(tmp_path: Path) -> None:
    """What a broken uninstall leaves behind is named, and hides no other package."""
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "METADATA").write_text("Summary: nothing\n")
    done = subprocess.run(
        [sys.executable, probe.__file__],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.strip().removeprefix(probe.MARK))
    assert len(said["broken"]) == 1
    assert "broken-1.0.dist-info" in said["broken"][0]
    assert "numpy" in said["packages"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("mpirun (Open MPI) 4.1.4", "Open MPI 4.1.4"),
        ("prterun (PRRTE) 3.0.11", "Open MPI (PRRTE) 3.0.11"),
        ("HYDRA build details:\n    Version:          5.0.2", "MPICH 5.0.2"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.18 Build 2", "Intel MPI 2021.18"),
        ("something else", "unknown"),
    ],
)
def test_the_mpi_is_recorded_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: str
) -> None:
    """What the launcher on PATH prints is reduced to its family and version."""
    program = tmp_path / "mpirun"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert facts_here().environment.mpi == expected


@pytest.mark.usefixtures("ssh")
def test_each_host_answers_or_its_cause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One host that hangs, fails or babbles does not keep the others from being compared."""
    monkeypatch.setattr("mlpstorage.preflight.lockfile.hosts._LIMIT_SECONDS", 5.0)
    names = ["slow", "good", "bare", "down", "odd", "dies"]
    found = dict(facts_of(parse_hosts(names)))
    assert list(found) == names
    assert found["good"] == facts_here()
    assert found["slow"] == "no answer within 5 s"
    assert found["bare"] == f"there is no {sys.executable} there"
    assert found["down"] == f"ssh failed: {NO_ROUTE}"
    assert "answered something else" in str(found["odd"])
    assert "ended with code 1: Fatal Python error" in str(found["dies"])


def test_without_ssh_the_other_hosts_are_the_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no ssh program, that is said of every other host."""
    monkeypatch.setenv("PATH", str(tmp_path))
    ((name, cause),) = facts_of(parse_hosts(["n1"]))
    assert (name, cause) == ("n1", "there is no program ssh here")


@pytest.mark.usefixtures("ssh")
def test_a_benchmark_is_told_of_every_host(tmp_path: Path) -> None:
    """The same difference on this host and another is a problem of each, with its own command."""
    lock = tmp_path / "lock.txt"
    lock.write_text("numpy==0.1\nnosuchpackage==1\n")
    problems = lockfile_problems(lock, parse_hosts(["localhost", "good", "down"]))
    numpy = metadata.version("numpy")
    assert [(p.host, p.what.partition(",")[0], p.exit_code) for p in problems] == [
        ("", f"numpy {numpy} is installed", 5),
        ("good", f"numpy {numpy} is installed", 5),
        ("", "nosuchpackage is not installed", 5),
        ("good", "nosuchpackage is not installed", 5),
        ("down", f"cannot compare the packages: ssh failed: {NO_ROUTE}", 5),
    ]
    assert problems[0].fix == f"{sys.executable} -m pip install -r {lock}"
    assert problems[1].fix.startswith("ssh good '")
    assert lockfile_problems(lock, (), skip=["NumPy", "nosuch-package,nosuchpackage"]) == []
