from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlpstorage.engine.dlio.usage import Usage
from mlpstorage.engine.dlio.workers import usage_of_workers

if TYPE_CHECKING:
    from pathlib import Path

READER = """
import sys
data = open(sys.argv[1], "rb").read()
sum(range(5_000_000))
sys.stdout.write(str(len(data)))
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_process_is_counted_from_outside(tmp_path: Path) -> None:
    """What a child has read shows in its counters while it lives, and not in ours."""
    data = tmp_path / "data"
    data.write_bytes(bytes(3_000_000))
    ours = Usage.of(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(7) == b"3000000"
        used, ours = Usage.of(child.pid), Usage.of(os.getpid()) - ours
        child.communicate()
    assert used.rchar >= 3_000_000
    assert used.user_seconds + used.system_seconds > 0
    assert ours.rchar < 1_000_000


def test_workers_count_from_their_first_sample_on(tmp_path: Path) -> None:
    """A worker's use before its note is no data; notes of the dead and torn ones tell nothing."""
    before = Usage.of(os.getpid())
    (tmp_path / str(os.getpid())).write_text(json.dumps(before.as_list()))
    (tmp_path / "999999999").write_text(json.dumps(Usage().as_list()))
    (tmp_path / "1").write_text("[1, 2")
    (tmp_path / "output").mkdir()
    payload = tmp_path / "payload"
    payload.write_bytes(bytes(500_000))
    payload.read_bytes()
    assert 500_000 <= usage_of_workers(tmp_path).rchar < 1_000_000


def test_there_is_no_usage_of_nobody() -> None:
    """A process that is not there is an error, not zero."""
    with pytest.raises(FileNotFoundError):
        Usage.of(999_999_999)
