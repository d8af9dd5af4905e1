from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.preflight.conversation import talk_to_all
from mlpstorage.preflight.facts import host_facts

if TYPE_CHECKING:
    from pathlib import Path

REQUEST: dict[str, Any] = {
    "python": sys.executable,
    "mpi": False,
    "library_path": "",
    "packages": ["numpy", "no-such-package"],
    "modules": ["json", "no_such_module"],
    "programs": ["/bin/sh", "/no/such/program"],
    "places": [],
    "endpoints": [],
}


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` on PATH that a test writes, which gets the remote command as its last word."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def write(program: Path, body: str) -> None:
    """Make the program a shell script."""
    program.write_text(f'#!/bin/sh\nfor last in "$@"; do :; done\n{body}\n')
    program.chmod(0o755)


def test_this_host_tells_of_itself() -> None:
    """Packages, modules and programs are there or not, and a rank's imports work."""
    (talk,) = talk_to_all([Host("localhost")], REQUEST, most_seconds=20)
    facts = host_facts("", talk, is_local=True)
    assert facts.finished
    assert facts.python is not None
    assert facts.python.executable == sys.executable
    assert facts.imports is not None
    assert facts.imports.rank
    assert facts.system is not None
    assert facts.system.packages["numpy"]
    assert facts.system.packages["no-such-package"] is None
    assert facts.system.modules_found == ("json",)
    assert facts.system.programs == ("/bin/sh",)


def test_greeting_before_the_mark_does_no_harm(ssh: Path) -> None:
    """What a shell's start-up files print is passed over, even without a line's end."""
    write(ssh, 'echo Welcome; printf "on h1: "; exec sh -c "$last"')
    (talk,) = talk_to_all([Host("h1")], REQUEST, most_seconds=20)
    assert host_facts("h1", talk, is_local=False).finished


def test_clock_ahead_is_measured(
    ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is 90 s ahead is measured so, within the round trip's error."""
    ahead = "import time\n_now = time.time\ntime.time = lambda: _now() + 90\n"
    (tmp_path / "sitecustomize.py").write_text(ahead)
    write(ssh, f'export PYTHONPATH="{tmp_path}"; exec sh -c "$last"')
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (talk,) = talk_to_all([Host("h1")], REQUEST, most_seconds=20)
    assert talk.clock is not None
    assert abs(talk.clock.offset_seconds - 90) <= talk.clock.error_seconds + 0.01


def test_host_that_hangs_does_not_hold_up_the_others(ssh: Path) -> None:
    """A host that says nothing is given up, ended, and told apart from one that answers."""
    write(ssh, 'case "$*" in *slow*) echo partly >&2; exec sleep 60;; esac; exec sh -c "$last"')
    slow, quick = talk_to_all([Host("slow"), Host("h1")], REQUEST, most_seconds=3)
    assert slow.code is None
    assert slow.records == ()
    assert "partly" in slow.err
    assert host_facts("h1", quick, is_local=False).finished


@pytest.mark.parametrize(
    "answer", ['{"end": tru', "[]", '{"system": {"hostname": 3}, "end": true}', "x" * 3_000_000]
)
def test_answer_that_is_no_answer(ssh: Path, tmp_path: Path, answer: str) -> None:
    """A host that sends something else under our mark has not finished, and nothing breaks."""
    (tmp_path / "answer").write_text(answer + "\n")
    mark = "mark=$(printf %s \"$last\" | grep -o 'mlpstorage-[0-9a-f]*' | head -n 1)"
    write(ssh, f'{mark}; printf "%s " "$mark"; cat "{tmp_path}/answer"; exit 3')
    (talk,) = talk_to_all([Host("h1")], REQUEST, most_seconds=20)
    assert not host_facts("h1", talk, is_local=False).finished


def test_text_of_a_host_is_cleaned(ssh: Path) -> None:
    """Control characters in what the host tells are visible, not active."""
    mark = "mark=$(printf %s \"$last\" | grep -o 'mlpstorage-[0-9a-f]*' | head -n 1)"
    record = '{"interpreter": {"version": "3\\\\u001b[31m", "executable": "/x"}}'
    write(ssh, f"{mark}; printf '%s %s\\n' \"$mark\" '{record}'")
    (talk,) = talk_to_all([Host("h1")], REQUEST, most_seconds=20)
    facts = host_facts("h1", talk, is_local=False)
    assert facts.python is not None
    assert "\x1b" not in facts.python.version
    assert facts.python.version.startswith("3")
