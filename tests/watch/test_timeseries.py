from __future__ import annotations

import json
import resource
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.watch.samples import Layout, catalogue
from mlpstorage.watch.series import SeriesWriter, read_series
from mlpstorage.watch.timeseries import summarize, write_document

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 10**9
T0 = 1_700_000_000 * SECOND
HEAD = {
    "kind": "head",
    "schema": 1,
    "interval_seconds": 10.0,
    "hosts": ["h1", "h2"],
    "method": "ssh",
    "collector": "ctl",
    "start_mono_ns": 5 * SECOND,
    "start_wall_ns": T0,
    "columns": catalogue(),
}
CLOCK = {"offset_ns": 1, "error_ns": 2, "round_trip_ns": 4, "method": "min-rtt of 7"}
META = {"kind": "meta", "hostname": "node-one", "clock": CLOCK, "at": "start"}
LAYOUT = Layout(
    disks=("sda",),
    interfaces=("eth0",),
    pressures=("io.some",),
    meminfo=("MemTotal",),
    vmstat_counters=("pgpgin",),
    vmstat_gauges=("nr_dirty",),
)
END = {"kind": "end", "end_wall_ns": T0 + 31 * SECOND, "cut_short": 0}


def sample(seq: int, disks: int = 1) -> dict[str, Any]:
    """A sample line; its disks have an old kernel's columns."""
    return {
        "kind": "sample",
        "seq": seq,
        "phase": "run",
        "due_mono_ns": (5 + 10 * seq) * SECOND,
        "sent_mono_ns": (5 + 10 * seq) * SECOND + 1000,
        "received_mono_ns": (5 + 10 * seq) * SECOND + 5000,
        "sent_wall_ns": T0 + 10 * seq * SECOND,
        "host_uptime_s": 100.0 + 10 * seq,
        "disk": [[*range(1, 12), *[None] * 6]] * disks,
        "net": [list(range(1, 17))],
        "cpu": list(range(1, 11)),
        "system": [1, 2, 3, 4, 5],
        "load": [0.1, 0.2, 0.3, 1, 99],
        "pressure": [[1.0, 2.0, 3.0, 4]],
        "meminfo": [100],
        "vmstat_counters": [7],
        "vmstat_gauges": [8],
    }


def of(host: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record with its host's name."""
    return {"kind": record["kind"], "host": host, **record}


def layout(names: Layout = LAYOUT) -> dict[str, Any]:
    """A layout line."""
    return {"kind": "layout", **asdict(names)}


def written(path: Path, *records: dict[str, Any]) -> Path:
    """A series of these lines."""
    writer = SeriesWriter(path)
    for record in records:
        writer.write(record)
    writer.close()
    return path


def test_the_document(tmp_path: Path) -> None:
    """Samples of mixed hosts are sorted by host and named, with the keys that other tools read."""
    more = Layout(**{**asdict(LAYOUT), "disks": ("sda", "sdb")})
    lines = written(
        tmp_path / "s.jsonl", HEAD, of("h1", META), of("h1", layout()), of("h1", sample(0)),
        of("h2", layout()), of("h2", sample(1)), of("h1", layout(more)), of("h1", sample(1, 2)),
        of("h1", {"kind": "lost", "seq": 2, "reason": "keepalive"}),
        of("h1", {"kind": "gap", "from_seq": 2, "to_seq": 3, "reason": "keepalive"}), END,
    )  # fmt: skip
    summary = write_document(lines, tmp_path / "s.json")
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["collection_interval_seconds"] == 10.0
    assert document["start_time"] == "2023-11-14T22:13:20.000000Z"
    assert document["end_time"] == "2023-11-14T22:13:51.000000Z"
    assert (document["num_samples"], document["collection_method"]) == (3, "ssh")
    assert document["hosts_requested"] == document["hosts_collected"] == ["h1", "h2"]
    first, second = document["samples_by_host"]["h1"]
    assert first["timestamp"] == "2023-11-14T22:13:20.000000Z"
    assert first["hostname"] == "node-one"
    (disk,) = first["diskstats"]
    assert disk["device_name"] == "sda"
    assert (disk["sectors_read"], disk["weighted_time_doing_ios_ms"]) == (3, 11)
    assert "discards_completed" not in disk
    assert [disk["device_name"] for disk in second["diskstats"]] == ["sda", "sdb"]
    assert first["vmstat"] == {"pgpgin": 7, "nr_dirty": 8}
    assert first["meminfo"] == {"MemTotal": 100}
    assert first["loadavg"]["load_15min"] == 0.3
    assert first["netdev"][0]["tx_compressed"] == 16
    assert (first["errors"], first["seq"]) == ({}, 0)
    assert (second["seconds"], second["round_trip_seconds"]) == (10.000001, 4e-06)
    assert first["pressure"][0]["total_us"] == 4
    gap = {"from_seq": 2, "to_seq": 3, "reason": "keepalive"}
    assert document["gaps_by_host"] == {"h1": [gap], "h2": []}
    assert document["clock_by_host"]["h1"] == [{"at": "start", **CLOCK}]
    assert summary.missed == {"h1": 2, "h2": 0}
    assert summary.reasons == {"h1": "keepalive"}
    assert summary.is_whole


def test_a_run_that_was_killed(tmp_path: Path) -> None:
    """A series that stops within a line gives all whole samples, and says that it is not whole."""
    lines = written(tmp_path / "s.jsonl", HEAD, of("h1", layout()), of("h1", sample(0)))
    with lines.open("ab") as file:
        file.write(b'{"kind":"sample","host":"h1","se')
    summary = write_document(lines, tmp_path / "s.json")
    assert (summary.samples, summary.is_whole) == ({"h1": 1, "h2": 0}, False)
    assert summary.hosts_collected == ("h1",)
    assert summary == summarize(lines)
    assert json.loads((tmp_path / "s.json").read_text())["is_whole"] is False


@pytest.mark.parametrize("end", ["", "junk\n", "[1]\n"])
def test_what_is_no_series(tmp_path: Path, end: str) -> None:
    """An empty file and a foreign line are refused with the place; no document is left behind."""
    path = tmp_path / "s.jsonl"
    path.write_text(end)
    with pytest.raises(ConfigurationError, match=r"s\.jsonl(:1: not a line| is empty)"):
        write_document(path, tmp_path / "s.json")
    assert [p.name for p in tmp_path.iterdir()] == ["s.jsonl"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A line that the disk does not take is taken back, so that later ones can follow it."""
    path = tmp_path / "s.jsonl"
    writer = SeriesWriter(path)
    writer.write({"kind": "a"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        with pytest.raises(OSError, match="File too large"):
            writer.write({"kind": "b", "text": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.write({"kind": "c"})
    writer.close()
    assert [record["kind"] for _, record in read_series(path)] == ["a", "c"]


def test_memory_does_not_grow_with_the_series(tmp_path: Path) -> None:
    """The document of many samples is made without holding more than their places in memory."""
    import tracemalloc

    def peak(samples: int) -> int:
        lines = written(
            tmp_path / f"{samples}.jsonl", HEAD, of("h1", layout()),
            *(of("h1", sample(seq)) for seq in range(samples)),
        )  # fmt: skip
        tracemalloc.start()
        write_document(lines, tmp_path / "s.json")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(20), peak(2020)
    assert many - few < 2000 * 40
