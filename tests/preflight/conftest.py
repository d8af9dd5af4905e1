"""Hosts for the tests of preflight: a lab of real sshds, in a child process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlpstorage

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRIPT = Path(__file__).with_name("ssh_lab.py")
_UNSHARE = ("unshare", "--net", "--uts", "--mount", "--propagation", "private", "--pid", "--fork",
            "--kill-child=KILL", "--mount-proc")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A command that was run in the lab."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (a JSON value)
        """Standard output as JSON."""
        return json.loads(self.out)


class SshLab:
    """The lab's controller: a machine from which its hosts are reached through ssh."""

    def __init__(self, work: Path, cast: list[dict[str, object]]) -> None:
        self.home = work / "home"
        self.home.mkdir()
        (work / "net").mkdir()
        self._process = subprocess.Popen(
            [*_UNSHARE, sys.executable, str(_SCRIPT), str(work / "net"), json.dumps(cast)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ask, self._answers = self._process.stdin, self._process.stdout
        if self._answers.readline() != "ready\n":
            assert self._process.stderr is not None
            raise RuntimeError(self._process.stderr.read())

    def run(self, *argv: str | Path, path: str = "", os_release: Path | None = None) -> Seen:
        """Run a command on the controller; with another PATH, or another os-release file."""
        words = [*map(str, argv)]
        if os_release is not None:
            script = 'mount --bind "$0" /etc/os-release && exec "$@"'
            words = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, str(os_release), *words]
            words = ["/usr/bin/env", f"PATH={os.environ['PATH']}", *words] if not path else words
        env = {**os.environ, "PATH": path or os.environ["PATH"]}
        request = {"argv": words, "env": env, "cwd": str(self.home)}
        self._ask.write(json.dumps(request) + "\n")
        self._ask.flush()
        answer = json.loads(self._answers.readline())
        return Seen(answer["code"], answer["out"], answer["err"])

    def doctor(self, *words: str | Path, path: str = "", os_release: Path | None = None) -> Seen:
        """Run `mlpstorage doctor`."""
        argv = (sys.executable, "-m", "mlpstorage", "doctor", "--allow-run-as-root", *words)
        return self.run(*argv, path=path, os_release=os_release)

    def close(self) -> None:
        """End the lab, and all its hosts with it."""
        self._ask.close()
        self._process.wait(20)
        self._answers.close()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _cast(private: Path, work: Path) -> list[dict[str, object]]:
    """The hosts: two good ones, and one for everything that goes wrong."""
    own = Path(mlpstorage.__file__)
    other = work / "other_version.py"
    other.write_text('"""Another release."""\n\n__version__ = "0.0.1"\n')
    return [
        {"name": "h1"},
        {"name": "h2"},
        {"name": "refuser", "key": False},
        {"name": "stranger", "known": "none"},
        {"name": "changed", "known": "other"},
        {"name": "silent", "silent": True},
        {"name": "closed", "closed": True},
        {"name": "alone", "before": f"mount -t tmpfs tmpfs {private}"},
        {"name": "bare", "before": f"mount -t tmpfs tmpfs {sys.prefix}/bin"},
        {"name": "older", "before": f"mount --bind {other} {own}"},
        {"name": "narrow", "before": "ulimit -n 100"},
    ]


@pytest.fixture(scope="session")
def private_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all hosts share but `alone`, which has another filesystem there."""
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="session")
def ssh_lab(tmp_path_factory: pytest.TempPathFactory, private_dir: Path) -> Iterator[SshLab]:
    """The lab; where namespaces are not allowed the test is skipped, or fails if CI must do it."""
    reason = _why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI must have a lab of ssh hosts: {reason}")
    if reason:
        pytest.skip(reason)
    work = tmp_path_factory.mktemp("lab")
    lab = SshLab(work, _cast(private_dir, work))
    yield lab
    lab.close()


def _why_not() -> str:
    """Why there can be no lab here; empty when there can."""
    if os.geteuid() != 0:
        return "namespaces with a network of their own need root"
    for program in ("unshare", "ip", "ssh", "ssh-keygen", "/usr/sbin/sshd"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    done = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A directory for PATH with the few programs that every system has, and no more."""
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "env", "mount", "unshare", "ssh"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    return bare
