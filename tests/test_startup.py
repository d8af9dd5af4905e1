"""What a command loads before it does anything: start-up is felt on every call and every rank."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HEAVY = {
    "numpy", "rich", "msgspec", "ruamel", "cyclopts", "cryptography", "asyncssh", "pydantic",
}  # fmt: skip
TRIES = 5
MOST_CPU_SECONDS = 0.15


def _imported(*words: str) -> set[str]:
    """The top-level packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mlpstorage", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_help_imports_nothing_heavy() -> None:
    """--help and a command's help need the standard library alone."""
    for words in (["--help"], ["training", "run", "--help"], ["--version"]):
        found = _imported(*words)
        assert "mlpstorage" in found
        assert not found & HEAVY


def test_datasize_imports_neither_display_nor_payload() -> None:
    """Sizing draws no terminal and makes no data."""
    size = ["training", "datasize", "-m", "unet3d", "-g", "h100", "-ma", "8", "-cm", "128"]
    found = _imported(*size)
    assert "mlpstorage" in found
    assert not found & {"rich", "cryptography", "asyncssh", "pydantic"}


def test_help_takes_little_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The CPU time of --help, best of several, is far below what a user notices."""
    best = min(_cpu_seconds(tmp_path / "out") for _ in range(TRIES))
    with capsys.disabled():
        print(f"\nmlpstorage --help: {1000 * best:.0f} ms of CPU")  # noqa: T201 (the figure is wanted)
    assert best < MOST_CPU_SECONDS


def _cpu_seconds(out: Path) -> float:
    with out.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "mlpstorage", "--help"], stdout=stream, cwd=out.parent
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_utime + usage.ru_stime
