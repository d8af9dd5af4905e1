from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.watch.sampler import Sampler
from mlpstorage.watch.series import read_series

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = [Host("localhost")]
PARENT = Path(__file__).with_name("sampled_parent.py")


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of a kind."""
    return [record for _, record in read_series(path) if record["kind"] == kind]


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:  # noqa: ANN401 (what it gives)
    """Wait for something to be true, and give it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether the process is there, and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_run(tmp_path: Path) -> None:
    """This host is sampled without ssh at its moments, and once more at the end."""
    lines, document = tmp_path / "s.jsonl", tmp_path / "s.json"
    with Sampler(HERE, 0.5, lines, document) as sampler:
        until(lambda: len(records(lines, "sample")) >= 3)
        done = sampler.stop()
    assert done.problems == ()
    assert done.summary is not None
    found = records(lines, "sample")
    assert [sample["seq"] for sample in found] == list(range(len(found)))
    assert [sample["phase"] for sample in found] == ["run"] * (len(found) - 1) + ["end"]
    due = [sample["due_mono_ns"] for sample in found[:-1]]
    assert due == [due[0] + 500_000_000 * number for number in range(len(due))]
    for sample in found:
        assert sample["due_mono_ns"] <= sample["sent_mono_ns"] <= sample["received_mono_ns"]
    uptimes = [sample["host_uptime_s"] for sample in found]
    assert uptimes == sorted(uptimes)
    (meta,) = records(lines, "meta")
    assert meta["hostname"] == os.uname().nodename
    assert abs(meta["clock"]["offset_ns"]) <= meta["clock"]["error_ns"] + 1_000_000
    assert [clock["at"] for clock in records(lines, "clock")] == ["end"]
    assert done.as_metadata() == {
        "file": "s.json",
        "num_samples": len(found),
        "interval_seconds": 0.5,
        "hosts_collected": ["localhost"],
        "lines_file": "s.jsonl",
        "missed_samples": {},
        "problems": [],
    }
    named = json.loads(document.read_text())["samples_by_host"]["localhost"]
    assert len(named) == len(found)
    assert named[0]["meminfo"]["MemTotal"] > 0
    assert sampler.stop() is done


def test_a_probe_that_is_killed(tmp_path: Path) -> None:
    """A killed probe is started again; what was missed is a gap with its reason, in order."""
    lines = tmp_path / "s.jsonl"
    with Sampler(HERE, 0.5, lines) as sampler:
        until(lambda: records(lines, "sample"))
        assert sampler.pid
        (probe,) = children(sampler.pid)
        os.kill(probe, signal.SIGKILL)
        until(lambda: len(records(lines, "meta")) == 2)
        count = len(records(lines, "sample"))
        until(lambda: len(records(lines, "sample")) > count)
        done = sampler.stop()
    assert done.summary
    (lost,) = records(lines, "lost")
    assert lost["reason"] == "the probe ended (code -9)"
    (gap,) = records(lines, "gap")
    missing = set(range(gap["from_seq"], gap["to_seq"] + 1))
    present = [sample["seq"] for sample in records(lines, "sample")]
    assert sorted({*present, *missing}) == list(range(present[-1] + 1))
    assert not missing & set(present)
    assert gap["reason"] == lost["reason"]
    assert done.summary.missed == {"localhost": len(missing)}
    assert done.problems == (
        f"{len(missing)} samples of localhost are missing: the probe ended (code -9)",
    )


def test_the_collector_is_killed(tmp_path: Path) -> None:
    """A killed collector leaves its samples and no probe; the run is told at its end."""
    lines = tmp_path / "s.jsonl"
    with Sampler(HERE, 0.5, lines, tmp_path / "s.json") as sampler:
        until(lambda: len(records(lines, "sample")) >= 2)
        assert sampler.pid
        (probe,) = children(sampler.pid)
        os.kill(sampler.pid, signal.SIGKILL)
        until(lambda: not is_running(probe))
        done = sampler.stop()
    assert done.problems == ("the collector ended before the run (code -9)",)
    assert done.summary
    assert done.summary.num_samples >= 2
    assert not done.summary.is_whole
    assert (tmp_path / "s.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_benchmark_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    """When the benchmark dies, collector and probe end by themselves; the samples stay."""
    lines = tmp_path / "s.jsonl"
    command = [sys.executable, str(PARENT), str(lines), "0.5", "localhost"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        collector = int(parent.stdout.readline())
        until(lambda: lines.exists() and len(records(lines, "sample")) >= 2)
        (probe,) = children(collector)
        parent.send_signal(number)
        until(lambda: not is_running(collector) and not is_running(probe), 15.0)
    assert len(records(lines, "sample")) >= 2


def test_a_stop_before_the_start_is_done(tmp_path: Path) -> None:
    """Stopping at once is right at any moment: it ends, and says what there is."""
    with Sampler(HERE, 10.0, tmp_path / "s.jsonl") as sampler:
        done = sampler.stop()
    assert done.problems == () or "ended" not in done.problems[0]
    assert done.summary
    assert done.summary.num_samples <= 2


def test_hosts_that_do_not_exist(tmp_path: Path) -> None:
    """A host that is never reached costs the others nothing, and is named at the end."""
    lines = tmp_path / "s.jsonl"
    hosts = [*HERE, Host("no-such-host.invalid")]
    with Sampler(hosts, 0.5, lines, tmp_path / "s.json") as sampler:
        until(lambda: records(lines, "lost"))
        until(lambda: len(records(lines, "sample")) >= 2)
        done = sampler.stop()
    assert done.summary
    assert done.summary.hosts_collected == ("localhost",)
    assert len(done.problems) == 1
    assert "samples of no-such-host.invalid are missing: " in done.problems[0]
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["samples_by_host"]["no-such-host.invalid"] == []
    assert document["hosts_collected"] == ["localhost"]


@pytest.mark.parametrize("seconds", [0.49, 0.0, -1.0, float("nan"), float("inf")])
def test_intervals_that_disturb(tmp_path: Path, seconds: float) -> None:
    """An interval below half a second, or none at all, is refused before anything is made."""
    with pytest.raises(UsageError, match="cannot sample every"):
        Sampler(HERE, seconds, tmp_path / "s.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_made(tmp_path: Path) -> None:
    """A file of another run is never continued, and a missing directory is named."""
    (tmp_path / "s.jsonl").write_text("")
    for path in (tmp_path / "s.jsonl", tmp_path / "no/s.jsonl"):
        with pytest.raises(ConfigurationError, match="cannot create"):
            Sampler(HERE, 1.0, path).start()
