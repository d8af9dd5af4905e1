"""The records of sets: found in the tree, read whatever happened to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.run import Status
from mlpstorage.store.codec import Metadata, read_metadata, write_metadata
from mlpstorage.store.history import scan
from mlpstorage.store.launcher import this_launcher
from mlpstorage.store.sets import (
    SetMember,
    SetRecord,
    find_set,
    read_set,
    scan_sets,
    write_set,
)

if TYPE_CHECKING:
    from pathlib import Path


def add_set(results: Path, stamp: str, **facts: Any) -> Path:  # noqa: ANN401 (any field)
    """Write the record of a set of training runs."""
    path = results / f"training/tiny/set/{stamp}/training_{stamp}_set.json"
    path.parent.mkdir(parents=True)
    known = {"set_id": f"training_set_tiny_{stamp}", "benchmark_type": "training", "model": "tiny"}
    write_set(path, SetRecord(**{**known, **facts}))
    return path


def test_sets_are_listed_beside_their_runs(tmp_path: Path) -> None:
    """A set is no run of the history, but its runs know it."""
    path = add_set(
        tmp_path,
        "20260101_100000",
        status=Status.COMPLETE,
        members=(SetMember(role="warm-up"), SetMember(role="measured", run_id="a", seed=7)),
        verification={"category": "OPEN"},
        start_time="2026-01-01T10:00:00Z",
    )
    add_set(tmp_path, "20251231_100000", status=Status.FAILED)
    run = tmp_path / "training/tiny/run/20260101_100001/training_20260101_100001_metadata.json"
    run.parent.mkdir(parents=True)
    write_metadata(
        run,
        Metadata(
            benchmark_type="training",
            run_id="a",
            status=Status.COMPLETE,
            set_id="training_set_tiny_20260101_100000",
            set_role="measured",
            set_place=2,
            set_size=2,
            seed=7,
        ),
    )
    older, newer = scan_sets(tmp_path)
    assert (older.status, newer.status, newer.verdict) == ("failed", "complete", "OPEN")
    assert newer.record == read_set(path)
    assert newer.directory == path.parent
    (entry,) = scan(tmp_path)
    assert (entry.set_id, entry.role, entry.place, entry.size) == (
        newer.set_id, "measured", 2, 2,
    )  # fmt: skip
    assert find_set(tmp_path, newer.set_id) == newer
    assert find_set(tmp_path, "") is None


def test_a_record_from_before_sets_is_a_run_of_none(tmp_path: Path) -> None:
    """Metadata of an older version is read: it belongs to no set."""
    path = tmp_path / "training/tiny/run/20260101_100001/training_20260101_100001_metadata.json"
    path.parent.mkdir(parents=True)
    write_metadata(path, Metadata(benchmark_type="training", run_id="a", status=Status.COMPLETE))
    old = json.loads(path.read_text())
    for name in ("set_id", "set_role", "set_place", "set_size", "seed", "working_directory"):
        del old[name]
    path.write_text(json.dumps(old))
    assert read_metadata(path).set_id == ""
    (entry,) = scan(tmp_path)
    assert (entry.set_id, entry.place) == ("", None)


def test_a_set_whose_program_is_gone_was_killed(tmp_path: Path) -> None:
    """Started, and its launcher no longer lives: killed; a living one: started."""
    me = this_launcher()
    known = {
        "launcher_pid": me.pid,
        "launcher_host": me.host,
        "launcher_boot_id": me.boot_id,
    }
    add_set(tmp_path, "20260101_100000", status=Status.STARTED, launcher_start_ticks=1, **known)
    add_set(
        tmp_path,
        "20260101_100001",
        status=Status.STARTED,
        launcher_start_ticks=me.start_ticks,
        **known,
    )
    assert [one.status for one in scan_sets(tmp_path)] == ["killed", "started"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"members": 7}',
        b'{"schema_version": 99}',
        b'{"start_time": "soon"',
        b"[" * 100_000,
        b'{"runtime": 1e999999}',
    ],
)
def test_a_broken_record_is_shown_as_broken(tmp_path: Path, content: bytes) -> None:
    """A set that cannot be read is there, named by its directory, with the reason."""
    path = add_set(tmp_path, "20260101_100000")
    path.write_bytes(content)
    (one,) = scan_sets(tmp_path)
    if one.status == "broken":
        assert one.set_id == "training_set_20260101_100000"
        assert str(path) in one.reason
    else:  # a number beyond all bounds is none
        assert one.record.runtime is None or one.record.runtime > 0


def test_a_newer_record_is_not_guessed(tmp_path: Path) -> None:
    """A record of a later version is refused with what to do."""
    path = add_set(tmp_path, "20260101_100000", schema_version=99)
    with pytest.raises(ConfigurationError, match="newer") as caught:
        read_set(path)
    assert "upgrade" in caught.value.fix
