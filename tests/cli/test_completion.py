"""Completion scripts know every command and flag, and the shells accept them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Program


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_every_command(program: Program, shell: str) -> None:
    """The script names the commands and their flags."""
    done = program("completion", shell)
    assert done.code == 0, done.err
    for word in ("training", "datasize", "num-accelerators", "history", "verify-lockfile"):
        assert word in done.out


def test_bash_completes_a_flag(program: Program) -> None:
    """Sourced by a real bash, the beginning of a flag becomes the flag."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = (
        program("completion", "bash").out
        + """
words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
          _mlpstorage; echo "${COMPREPLY[@]}"; }
words mlpstorage training run --num-acc
"""
    )
    done = subprocess.run(
        ["bash", "--norc"], input=script, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--num-accelerators"]


def test_an_unknown_shell_is_refused(program: Program) -> None:
    """A mistyped shell is a usage error that names the nearest."""
    done = program("completion", "bsh")
    assert done.code == 2
    assert "bash" in done.err
