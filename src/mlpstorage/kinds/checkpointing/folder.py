"""A folder of checkpoints and what it says of itself, so that nobody else's files are touched.

    <checkpoint folder>/<model>/mlpstorage-checkpoints.json
    <checkpoint folder>/<model>/global_epoch1_step1/zero_pp_rank_0_mp_rank_0_model_states.pt

A training's own checkpoints have the same names; only folders with our record are written into.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import msgspec

from mlpstorage.core.errors import ConfigurationError, NotFoundError
from mlpstorage.engine.checkpoint.failures import read_failure, write_failure, wrong_length
from mlpstorage.engine.dataset import encode, write_whole
from mlpstorage.kinds.checkpointing.layout import Layout, rank_files  # noqa: TC001 (msgspec needs it)

if TYPE_CHECKING:
    from pathlib import Path

RECORD_NAME = "mlpstorage-checkpoints.json"
_FOLDER = re.compile(r"global_epoch(?P<epoch>\d+)_step(?P<step>\d+)")
_FILE = re.compile(
    r"\.?(?:zero_pp_rank_\d+_mp_rank_\d+_(?:model|optim)_states"
    r"|layer_\d+-model_\d+_model_states)\.pt(?:\.part)?"
)
_STAT_BLOCK = 512
_ANOTHER = "move them away, or choose another --checkpoint-folder"


class FolderRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What lies in a folder: `complete` of `planned` checkpoints, stamped with `seed`.

    `hosts` names the host of each rank that wrote; `ended_unix_seconds` is when the last checkpoint
    was whole.
    """

    version: int = 1
    model: str
    layout: Layout
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    planned: Annotated[int, msgspec.Meta(ge=0)]
    complete: Annotated[int, msgspec.Meta(ge=0)]
    hosts: list[str]
    ended_unix_seconds: float


def step_folder(folder: Path, number: int) -> Path:
    """Where checkpoint `number` (from 1) lies; the reference engine's name for it.

    >>> from pathlib import Path
    >>> str(step_folder(Path("/ck"), 3))
    '/ck/global_epoch1_step3'
    """
    return folder / f"global_epoch1_step{number}"


def load_record(folder: Path) -> FolderRecord:
    """The record of a folder.

    Raises:
        NotFoundError: it has none.
        MlpstorageError: the record cannot be read, or is not one.
    """
    path = folder / RECORD_NAME
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise _unusable(path, "it is not a file")
        record = msgspec.json.decode(path.read_bytes(), type=FolderRecord)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{folder} holds no checkpoints of this program: it has no {RECORD_NAME}",
            fix="write them first (without --num-checkpoints-write 0), and mount the same storage "
            "at the same path on every host",
        ) from error
    except OSError as error:
        raise read_failure(error, path, direct=False) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _unusable(path, str(error)) from error
    if len(record.hosts) != record.layout.processes or record.complete > record.planned:
        raise _unusable(path, "its numbers contradict each other")
    return record


def _unusable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a usable record of checkpoints",
        why=why,
        fix="remove it together with the checkpoints beside it, and write them again",
    )


def require_checkpoints(folder: Path, model: str, layout: Layout) -> FolderRecord:
    """The record of a folder whose checkpoints can be read by a run of this layout.

    Raises:
        NotFoundError: there are none.
        ConfigurationError: they are of another layout.
    """
    record = load_record(folder)
    if record.model != model or record.layout != layout:
        old, new = (msgspec.structs.asdict(at) for at in (record.layout, layout))
        changes = [f"{name} {old[name]}, not {new[name]}" for name in old if old[name] != new[name]]
        raise ConfigurationError(
            f"{folder} holds checkpoints of {record.model}"
            f"{': ' + '; '.join(changes) if changes else ''}",
            why="they can be read only as they were written",
            fix="use the processes and parameters of the run that wrote them",
        )
    if not record.complete:
        raise NotFoundError(
            f"no checkpoint in {folder} is complete",
            why="the run that wrote them did not finish the first",
            fix="write them again",
        )
    return record


def refuse_strangers(folder: Path) -> None:
    """Refuse a folder that holds checkpoints which this program has not written.

    Raises:
        ConfigurationError: it does; one is named.
    """
    if (folder / RECORD_NAME).exists() or not folder.is_dir():
        return
    stranger = next((path for path in folder.iterdir() if _FOLDER.fullmatch(path.name)), None)
    if stranger is not None:
        raise ConfigurationError(
            f"{folder} holds checkpoints that this program has not written, such as {stranger}",
            why="they would be overwritten",
            fix=_ANOTHER,
        )


def begin(folder: Path, record: FolderRecord) -> None:
    """Make the folder, remove what an earlier run of this program left, and write the record.

    Raises:
        ConfigurationError: there are files of others.
        MlpstorageError: it cannot be written.
    """
    refuse_strangers(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            if _FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                _clear(path)
        write_whole(folder / RECORD_NAME, encode(record))
    except OSError as error:
        raise write_failure(error, folder, direct=False) from error


def _clear(folder: Path) -> None:
    """Remove the checkpoint files of a folder, and the folder if nothing else is in it."""
    others = False
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name):
            path.unlink()
        else:
            others = True
    if not others:
        folder.rmdir()


def advance(folder: Path, record: FolderRecord) -> None:
    """Say that one more checkpoint is whole.

    Raises:
        MlpstorageError: the record cannot be written.
    """
    try:
        write_whole(folder / RECORD_NAME, encode(record))
    except OSError as error:
        raise write_failure(error, folder / RECORD_NAME, direct=False) from error


def held_bytes(folder: Path) -> int:
    """The bytes of the checkpoints in a folder that a writing run would remove first."""
    if not (folder / RECORD_NAME).exists():
        return 0
    held = 0
    for step in folder.iterdir():
        if _FOLDER.fullmatch(step.name) and step.is_dir() and not step.is_symlink():
            held += sum(
                path.stat().st_blocks * _STAT_BLOCK
                for path in step.iterdir()
                if _FILE.fullmatch(path.name)
            )
    return held


def check_files(folder: Path, record: FolderRecord, *, most: int = 2000) -> None:
    """Look at the length of all checkpoint files, or of evenly spread ones when they are many.

    Raises:
        NotFoundError: a file is missing (named).
        BenchmarkError: a file has another length than it was written with (named).
    """
    files = [
        file for rank in range(record.layout.processes) for file in rank_files(record.layout, rank)
    ]
    step = max(1, len(files) * record.complete // most)
    for index in range(0, len(files) * record.complete, step):
        number, file = divmod(index, len(files))
        path = step_folder(folder, number + 1) / files[file].name
        try:
            length = path.stat().st_size
        except OSError as error:
            raise read_failure(error, path, direct=False) from error
        if length != files[file].bytes:
            raise wrong_length(path, length, files[file].bytes)
