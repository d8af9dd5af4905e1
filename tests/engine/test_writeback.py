from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import os, sys
from mlpstorage.engine.writeback import start_writeback
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.pwrite(descriptor, bytes(20000), 1 << 33)
start_writeback(descriptor, 1 << 33, 20000)
start_writeback(-1, 0, 1)
"""


def test_the_kernel_is_asked_for_the_range(tmp_path: Path) -> None:
    """The hint is one system call with the full 64-bit range; where it fails nothing happens."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    log = tmp_path / "log"
    command = ["strace", "-f", "-e", "trace=sync_file_range", "-o", log]
    done = subprocess.run(
        [*command, sys.executable, "-c", CODE, tmp_path / "file"], capture_output=True, check=False
    )
    if b"ptrace" in done.stderr.lower():
        pytest.skip("needs the right to trace processes")
    assert done.returncode == 0, done.stderr
    first, second = re.findall(r"sync_file_range\((.*)\) += (.*)", log.read_text())
    assert re.fullmatch(r"\d+, 8589934592, 20000, SYNC_FILE_RANGE_WRITE", first[0])
    assert first[1] == "0"
    assert second[1].startswith("-1 EBADF")
