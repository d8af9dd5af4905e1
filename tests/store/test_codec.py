from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import AccessError, ConfigurationError, MlpstorageError, NotFoundError
from mlpstorage.core.run import Status
from mlpstorage.store.codec import (
    CommandOutput,
    ErrorRecord,
    Metadata,
    decode,
    encode,
    read_json,
    read_metadata,
    utc_moment,
    utc_text,
    write_json,
    write_metadata,
    write_text,
)

SHARED_KEYS = [
    "benchmark_type",
    "model",
    "command",
    "run_datetime",
    "num_processes",
    "accelerator",
    "result_dir",
    "parameters",
    "override_parameters",
    "system_info",
    "cluster_snapshots",
    "timeseries_data",
    "runtime",
    "verification",
    "executed_command",
    "command_output_files",
    "args",
]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """Whenever a writer is killed, its file holds one whole version."""
    path = tmp_path / "summary.json"
    code = (
        "import sys; from pathlib import Path; from mlpstorage.store.codec import write_json\n"
        "path = Path(sys.argv[1]); n = 0\n"
        "while True:\n"
        "    n += 1; write_json(path, {'n': n, 'values': [n] * 20000})\n"
        "    if n == 1: print('go', flush=True)\n"
    )
    seen = set()
    for attempt in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == "go\n"
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=10) == -signal.SIGKILL
        record = read_json(path)
        assert record["values"] == [record["n"]] * 20000
        seen.add(record["n"])
    assert len(seen) > 1


def test_readers_never_meet_half_a_file(tmp_path: Path) -> None:
    """While a file is replaced over and over, every read of it parses."""
    path = tmp_path / "metadata.json"
    write_json(path, {"n": 0})
    code = (
        "import sys; from pathlib import Path; from mlpstorage.store.codec import write_json\n"
        "for n in range(150): write_json(Path(sys.argv[1]), {'n': n, 'x': 'y' * (n * 700)})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    reads = 0
    while writer.poll() is None:
        record = read_json(path)
        assert len(record.get("x", "")) == record["n"] * 700
        reads += 1
    assert writer.returncode == 0
    assert reads > 10
    assert os.listdir(tmp_path) == ["metadata.json"]  # noqa: PTH208 - the names are the assertion


def test_a_value_that_is_not_json_keeps_the_old_file(tmp_path: Path) -> None:
    """A write that fails leaves the old content and no temporary file."""
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError, match="object cannot be written"):
        write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """On a full file system the old content stays, and the error says what to do."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.strip()}")
    try:
        write_json(place / "a.json", {"old": 1})
        with pytest.raises(ConfigurationError, match="no space left") as caught:
            write_json(place / "a.json", ["x" * 1_000_000])
        assert "free space" in caught.value.fix
        assert read_json(place / "a.json") == {"old": 1}
        assert [file.name for file in place.iterdir()] == ["a.json"]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_form_of_json(tmp_path: Path) -> None:
    """JSON has two-space indents, the keys' given order, null for NaN, and a last newline."""
    path = tmp_path / "a.json"
    value = {"z": 1, "a": [float("nan"), float("inf"), np.float64("nan")], "n": np.int64(7)}
    write_json(path, value | {"p": Path("/data"), "s": Status.FAILED, "deep": {"k": 1.5}})
    assert path.read_text(encoding="utf-8") == (
        '{\n  "z": 1,\n  "a": [\n    null,\n    null,\n    null\n  ],\n  "n": 7,\n'
        '  "p": "/data",\n  "s": "failed",\n  "deep": {\n    "k": 1.5\n  }\n}\n'
    )


def test_files_are_readable_by_the_group(tmp_path: Path) -> None:
    """The umask decides who may read a written file."""
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "zürich\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.txt").read_bytes() == "zürich\n".encode()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_every_value_can_be_written(value: object) -> None:
    """Any JSON-ready value is written as strict JSON on one line that reads back alike."""

    def forbid(name: str) -> Any:  # noqa: ANN401 - json's hook
        pytest.fail(f"{name} was written")

    line = encode(value)
    assert b"\n" not in line
    json.loads(line, parse_constant=forbid)
    assert encode(decode(line)) == line


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A path with bytes outside UTF-8 is written readably instead of failing the run."""
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {"args": {"data_dir": name, "mean": float("nan")}})
    assert read_json(tmp_path / "a.json") == {"args": {"data_dir": r"caf\udce9", "mean": None}}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{\n  "a": 1,\n  "b": }\n', ":3: "),
        (b'{\n "a": 1', ":2: "),
        (b"", ":1: "),
        (b'{"a":\n"\xff"}', ":2: "),
        (b"[" * 100_000, "a.json: "),
    ],
)
def test_broken_json_is_located(tmp_path: Path, content: bytes, place: str) -> None:
    """The error for broken JSON names the file and the line."""
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_json(path)
    assert caught.value.what.startswith(f"{tmp_path}/a.json")
    assert place in caught.value.what
    assert caught.value.fix


def test_other_writers_nan_and_bom(tmp_path: Path) -> None:
    """NaN and a byte order mark, which other tools write, are read without complaint."""
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"au": [NaN, -Infinity, 1.5]}')
    assert read_json(path) == {"au": [None, None, 1.5]}


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    """A missing file, a directory and an unwritable place each get their own class of error."""
    with pytest.raises(NotFoundError):
        read_json(tmp_path / "missing.json")
    with pytest.raises(ConfigurationError):
        read_json(tmp_path)
    with pytest.raises(NotFoundError):
        write_text(tmp_path / "missing" / "a.txt", "")
    with pytest.raises((AccessError, NotFoundError)) as caught:
        write_text(Path("/proc/a.txt"), "")
    assert caught.value.what.startswith("cannot write /proc/a.txt")


def full_metadata() -> Metadata:
    """Metadata with a value in every field."""
    return Metadata(
        benchmark_type="training",
        model="unet3d",
        command="run",
        run_datetime="20260110_093000",
        num_processes=8,
        accelerator="h100",
        result_dir="/results/training/unet3d/run/20260110_093000",
        parameters={"dataset": {"num_files_train": 168}},
        override_parameters={"dataset.num_files_train": 168},
        system_info={"num_hosts": 1},
        cluster_snapshots={"start": {}, "end": {}, "collection_method": "ssh"},
        timeseries_data={"file": "t.json", "num_samples": 3},
        runtime=12.5,
        verification={"category": "CLOSED", "issues": []},
        executed_command="mlpstorage training run",
        command_output_files=(CommandOutput("mpirun", "a.stdout.log", "a.stderr.log"),),
        args={"model": "unet3d"},
        run_id="training_run_unet3d_20260110_093000",
        status=Status.FAILED,
        exit_code=6,
        error=ErrorRecord("rank 3 died", "killed", "add memory"),
        mlpstorage_version="1.0",
        engine="native",
        edition="2026.1",
        division="closed",
        sources={"model": "flag"},
        start_time="2026-01-10T08:30:00.000000Z",
        end_time="2026-01-10T08:30:12.500000Z",
        launcher_pid=42,
        launcher_host="node01",
        launcher_boot_id="b",
        launcher_start_ticks=99,
    )


def test_metadata_survives_the_file(tmp_path: Path) -> None:
    """Metadata reads back equal, and the file begins with the field's keys in their order."""
    path = tmp_path / "training_20260110_093000_metadata.json"
    write_metadata(path, full_metadata())
    assert read_metadata(path) == full_metadata()
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert list(raw)[: len(SHARED_KEYS)] == SHARED_KEYS
    assert raw["status"] == "failed"
    assert raw["schema_version"] == 1


def test_metadata_of_a_beginning_run(tmp_path: Path) -> None:
    """Every key is in the file from the first write, null where nothing is known yet."""
    write_metadata(tmp_path / "m.json", Metadata(status=Status.STARTED))
    raw = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert set(raw) == set(Metadata.__struct_fields__)
    assert raw["status"] == "started"
    assert raw["error"] is None
    assert read_metadata(tmp_path / "m.json") == Metadata(status=Status.STARTED)


@pytest.mark.parametrize(
    ("exit_status", "status"), [(0, Status.COMPLETE), (6, Status.FAILED), (None, None)]
)
def test_metadata_of_another_tool(
    tmp_path: Path, exit_status: int | None, status: Status | None
) -> None:
    """A file of another tool is read for the shared keys; the rest is defaulted or left out."""
    record = {
        "benchmark_type": "training",
        "model": "resnet50",
        "command": "run",
        "run_datetime": "20250711_101500",
        "accelerator": None,
        "num_processes": "16",
        "verification": "open",
        "status": "whatever it means there",
        "exit_status": exit_status,
        "invocation_start_time": "2025-07-11T10:15:00Z",
        "cluster_information": {"x": 1},
        "parameters": None,
    }
    (tmp_path / "m.json").write_text(json.dumps(record), encoding="utf-8")
    metadata = read_metadata(tmp_path / "m.json")
    assert metadata.run_id == "training_run_resnet50_20250711_101500"
    assert metadata.num_processes == 16
    assert metadata.accelerator is None
    assert metadata.parameters == {}
    assert metadata.category == "OPEN"
    assert metadata.status is status
    assert metadata.exit_code == exit_status
    assert metadata.start_time == "2025-07-11T10:15:00Z"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"schema_version": 1, "status": "great"}', r"\$.status"),
        ('{"schema_version": 1, "args": 3}', r"\$.args"),
        ('{"schema_version": "x"}', "schema_version"),
        ('{"schema_version": -1}', "schema_version"),
        ('{"schema_version": 2}', "newer mlpstorage"),
        ("[1]", "no JSON object"),
        ('"text"', "no JSON object"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, text: str, problem: str) -> None:
    """Values that do not fit are an error that names the file and the key."""
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_metadata(tmp_path / "m.json")
    assert str(tmp_path / "m.json") in caught.value.what


@given(JSON_VALUES, st.sampled_from(Metadata.__struct_fields__), st.booleans())
def test_metadata_with_one_odd_value(
    tmp_path_factory: pytest.TempPathFactory,
    value: object,
    key: str,
    ours: bool,
) -> None:
    """Whatever one key holds, reading gives metadata or an error of ours."""
    path = tmp_path_factory.getbasetemp() / "odd_metadata.json"
    path.write_bytes(encode({"schema_version": 1, key: value} if ours else {key: value}))
    try:
        found = read_metadata(path)
    except MlpstorageError as error:
        assert str(path) in error.what  # noqa: PT017 - both outcomes are right
    else:
        assert isinstance(found, Metadata)


def test_moments() -> None:
    """Moments are written in UTC with a Z, and read back equal."""
    when = datetime(2026, 1, 10, 9, 30, tzinfo=timezone(timedelta(hours=2)))
    assert utc_text(when) == "2026-01-10T07:30:00.000000Z"
    assert utc_moment(utc_text(when)) == when
    for text in ("", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59"):
        with pytest.raises(ValueError, match=r"\w"):
            utc_moment(text)
