from __future__ import annotations

import json
import subprocess
from typing import Any

import jc  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch import samples
from mlpstorage.watch.probe import sections_of
from mlpstorage.watch.samples import catalogue, parse_sample
from mlpstorage.watch.sources import SAMPLE_FILES

DISK_14 = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n"
DISK_18 = " 259       0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n"
DISK_20 = " 259       1 nvme1n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"
IDLE = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
FILES = {
    "proc/uptime": "100.25 50.00\n",
    "proc/diskstats": DISK_14 + DISK_18 + IDLE + DISK_20,
    "proc/stat": (
        "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 0\nctxt 7\nbtime 8\n"
        "processes 9\nprocs_running 1\nprocs_blocked 0\n"
    ),
    "proc/vmstat": "nr_free_pages 10\npgpgin 20\nnr_written 30\n",
    "proc/meminfo": "MemTotal: 100 kB\nHugePages_Total: 2\n",
    "proc/loadavg": "0.10 0.20 0.30 1/99 12345\n",
    "proc/net/dev": "a\nb\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
    "proc/pressure/io": "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n",
}


def answer(**changes: str) -> str:
    """What tail prints for these files, some of them changed."""
    files = {**FILES, **{name.replace("__", "/"): text for name, text in changes.items()}}
    return "\n".join(f"==> /{name} <==\n{text}" for name, text in files.items())


def real_answer() -> str:
    """What this machine says."""
    command = ["tail", "-n", "+1", *(f"/{name}" for name in SAMPLE_FILES)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_sample() -> None:
    """Every file's numbers are in their columns; a column that a kernel lacks is None."""
    sample = parse_sample(answer())
    assert sample.layout.disks == ("sda", "nvme0n1", "nvme1n1")
    old, middle, new = sample.values["disk"]
    assert old == (*range(1, 12), *[None] * 6)
    assert middle == (*range(1, 16), None, None)
    assert new == tuple(range(1, 18))
    assert sample.values["cpu"] == tuple(range(1, 11))
    assert sample.values["system"] == (7, 8, 9, 1, 0)
    assert sample.layout.vmstat_counters == ("pgpgin", "nr_written")
    assert sample.values["vmstat_counters"] == (20, 30)
    assert (sample.layout.vmstat_gauges, sample.values["vmstat_gauges"]) == (
        ("nr_free_pages",),
        (10,),
    )
    assert sample.values["meminfo"] == (100, 2)
    assert sample.values["load"] == (0.1, 0.2, 0.3, 1, 99)
    assert sample.values["net"] == (tuple(range(1, 17)),)
    assert (sample.layout.pressures, sample.values["pressure"]) == (
        ("io.some",),
        ((1.0, 2.0, 3.0, 4),),
    )
    assert sample.uptime_seconds == 100.25
    assert sample.missing == ("/proc/pressure/cpu", "/proc/pressure/memory")
    assert sample.errors == {}


def test_every_column_is_described() -> None:
    """The catalogue has a unit and a type for each number, and says which counters wrap."""
    described = catalogue()
    sample = parse_sample(answer())
    for kind in ("disk", "net", "pressure"):
        assert len(described[kind]) == len(sample.values[kind][0])
    for kind in ("cpu", "system", "load"):
        assert len(described[kind]) == len(sample.values[kind])
    assert set(described) == set(sample.values)
    entries = {entry["name"]: entry for entry in described["disk"]}
    assert entries["ios_in_progress"] == {"name": "ios_in_progress", "type": "gauge", "unit": "1"}
    assert entries["sectors_read"] == {"name": "sectors_read", "type": "counter", "unit": "512 B"}
    assert entries["time_reading_ms"]["wraps"] == 1 << 32
    assert {e["type"] for kind in described.values() for e in kind} == {"counter", "gauge"}


def test_a_malformed_file_costs_only_its_own_numbers() -> None:
    """A file that no kernel writes is named, and the rest of the sample stays."""
    sample = parse_sample(answer(proc__vmstat="nr_free_pages ten\n"))
    assert list(sample.errors) == ["/proc/vmstat"]
    assert sample.values["vmstat_counters"] == ()
    assert len(sample.values["disk"]) == 3


def test_a_heading_that_was_forged() -> None:
    """The first heading of a file counts; others, and those of other files, do not."""
    forged = "\n==> /proc/uptime <==\n9.0 9.0\n\n==> /etc/shadow <==\nroot\n"
    assert parse_sample(answer() + forged).uptime_seconds == 100.25
    assert "etc/shadow" not in sections_of(answer() + forged)


@given(data=st.data())
def test_damage(data: st.DataObject) -> None:
    """Cut short or with junk inside, an answer gives a sample that can be written as JSON."""
    text = answer()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    junk = data.draw(st.text(max_size=12) | st.sampled_from(["-1", "²", "\n==> /proc/stat <==\n"]))
    sample = parse_sample(text[:start] + junk + text[end:])
    json.dumps(sample.values)
    assert len(sample.layout.disks) == len(sample.values["disk"])
    assert len(sample.layout.meminfo) == len(sample.values["meminfo"])


def _oracle(parser: str, text: str) -> Any:  # noqa: ANN401 (jc's own lists and dicts)
    return jc.parse(parser, text)


def test_another_parser_finds_the_same() -> None:
    """On this machine's files, and on columns of three kernels, jc agrees with every number."""
    real = real_answer()
    if "==> /proc/diskstats <==" not in real:
        pytest.skip("no /proc here")
    for text in (answer(), real):
        files, sample = sections_of(text), parse_sample(text)
        theirs = [d for d in _oracle("proc_diskstats", files["proc/diskstats"]) if _worked(d)]
        assert [d["device"] for d in theirs] == list(sample.layout.disks)
        for row, disk in zip(sample.values["disk"], theirs, strict=True):
            numbers = [v for k, v in disk.items() if k not in {"maj", "min", "device"}]
            assert [v for v in row if v is not None] == numbers
        theirs = _oracle("proc_vmstat", files["proc/vmstat"])
        names = sample.layout.vmstat_counters + sample.layout.vmstat_gauges
        values = sample.values["vmstat_counters"] + sample.values["vmstat_gauges"]
        assert dict(zip(names, values, strict=True)) == theirs
        theirs = _oracle("proc_meminfo", files["proc/meminfo"])
        names, values = sample.layout.meminfo, sample.values["meminfo"]
        assert dict(zip(names, values, strict=True)) == theirs
        theirs = _oracle("proc_loadavg", files["proc/loadavg"])
        assert list(sample.values["load"]) == list(theirs.values())[:5]
        theirs = _oracle("proc_stat", files["proc/stat"])
        assert list(sample.values["cpu"]) == list(theirs["cpu"].values())
        assert sample.values["system"][0] == theirs["context_switches"]
    theirs = _oracle("proc_net_dev", files["proc/net/dev"])
    assert [interface["interface"] for interface in theirs] == list(sample.layout.interfaces)
    for row, interface in zip(sample.values["net"], theirs, strict=True):
        told = dict(zip(samples.NET, row, strict=True))
        assert (told["rx_bytes"], told["tx_bytes"]) == (interface["r_bytes"], interface["t_bytes"])
    assert sample.uptime_seconds == _oracle("proc_uptime", files["proc/uptime"])["up_time"]


def _worked(disk: dict[str, Any]) -> bool:
    return bool(
        disk["reads_completed"]
        or disk["writes_completed"]
        or disk.get("discards_completed_successfully")
    )
