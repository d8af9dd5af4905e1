from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, NotFoundError
from mlpstorage.kinds.checkpointing.folder import (
    RECORD_NAME,
    FolderRecord,
    advance,
    begin,
    check_files,
    held_bytes,
    load_record,
    refuse_strangers,
    require_checkpoints,
    step_folder,
)
from mlpstorage.kinds.checkpointing.layout import Layout, rank_files

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = Layout(
    num_layers=1, hidden_size=8, ffn_hidden_size=8, num_attention_heads=1, num_kv_heads=1,
    vocab_size=8, tensor=1, pipeline=1, data=2, zero_stage=3, model_item_bytes=2,
    optimizer_item_bytes=4, processes=2,
)  # fmt: skip
RECORD = FolderRecord(
    model="tiny", layout=LAYOUT, seed=3, planned=2, complete=0, hosts=["a", "b"],
    ended_unix_seconds=0.0,
)  # fmt: skip


def _written(folder: Path, complete: int = 2) -> FolderRecord:
    begin(folder, RECORD)
    for number in range(1, complete + 1):
        step_folder(folder, number).mkdir()
        for rank in range(2):
            for file in rank_files(LAYOUT, rank):
                (step_folder(folder, number) / file.name).write_bytes(bytes(file.bytes))
    record = msgspec.structs.replace(RECORD, complete=complete)
    advance(folder, record)
    return record


def test_what_was_recorded_comes_back(tmp_path: Path) -> None:
    """A record is read as it was written, and only by a run of the same layout and model."""
    record = _written(tmp_path / "ck")
    assert require_checkpoints(tmp_path / "ck", "tiny", LAYOUT) == record
    other = msgspec.structs.replace(LAYOUT, processes=1)
    with pytest.raises(ConfigurationError, match="processes 2, not 1"):
        require_checkpoints(tmp_path / "ck", "tiny", other)
    with pytest.raises(ConfigurationError, match="checkpoints of tiny"):
        require_checkpoints(tmp_path / "ck", "large", LAYOUT)


def test_incomplete_checkpoints_are_none(tmp_path: Path) -> None:
    """Where no checkpoint was finished there is nothing to read."""
    begin(tmp_path / "ck", RECORD)
    with pytest.raises(NotFoundError, match="no checkpoint in"):
        require_checkpoints(tmp_path / "ck", "tiny", LAYOUT)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": "x"}', b'{"model": "\xff"}'])
def test_a_broken_record_is_named(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the record's place is refused with its path and a way out."""
    (tmp_path / RECORD_NAME).write_bytes(content)
    with pytest.raises(ConfigurationError, match=RECORD_NAME) as caught:
        load_record(tmp_path)
    assert "write them again" in caught.value.fix


def test_a_record_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """Fewer hosts than ranks, or more complete than planned."""
    for change in ({"hosts": ["a"]}, {"complete": 3}):
        begin(tmp_path, msgspec.structs.replace(RECORD, **change))
        with pytest.raises(ConfigurationError):
            load_record(tmp_path)


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    """A FIFO named like the record is refused at once."""
    os.mkfifo(tmp_path / RECORD_NAME)
    with pytest.raises(ConfigurationError, match="not a usable record"):
        load_record(tmp_path)


def test_strangers_are_refused_and_kept(tmp_path: Path) -> None:
    """Folders with a checkpoint's name but without our record are never written into."""
    step_folder(tmp_path, 7).mkdir()
    for call in (lambda: refuse_strangers(tmp_path), lambda: begin(tmp_path, RECORD)):
        with pytest.raises(ConfigurationError, match="step7"):
            call()
    assert not (tmp_path / RECORD_NAME).exists()
    refuse_strangers(tmp_path / "not there")


def test_only_checkpoint_files_are_removed(tmp_path: Path) -> None:
    """A new run removes our checkpoints and unfinished files, and nothing of another name."""
    _written(tmp_path)
    first = step_folder(tmp_path, 1)
    (first / ".zero_pp_rank_0_mp_rank_0_optim_states.pt.part").write_bytes(b"x")
    (first / "keep.pt").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    begin(tmp_path, RECORD)
    assert sorted(path.name for path in first.iterdir()) == ["keep.pt"]
    assert not step_folder(tmp_path, 2).exists()
    assert (tmp_path / "other").is_dir()
    assert load_record(tmp_path).complete == 0


def test_room_that_will_be_freed_is_known(tmp_path: Path) -> None:
    """The blocks of the checkpoints that a new run removes count as free."""
    assert held_bytes(tmp_path) == 0
    _written(tmp_path)
    assert held_bytes(tmp_path) == 2 * 4 * 4096


def test_missing_and_short_files_are_named(tmp_path: Path) -> None:
    """Lengths are compared before a run that reads."""
    record = _written(tmp_path)
    check_files(tmp_path, record)
    file = step_folder(tmp_path, 2) / rank_files(LAYOUT, 1)[1].name
    file.write_bytes(bytes(100))
    with pytest.raises(BenchmarkError, match="truncated"):
        check_files(tmp_path, record)
    file.unlink()
    with pytest.raises(NotFoundError, match="missing"):
        check_files(tmp_path, record)
