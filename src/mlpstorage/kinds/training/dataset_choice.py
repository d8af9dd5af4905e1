"""Which data set a training command means, from the user's options and what is on disk."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from mlpstorage.config import user_path
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.units import format_bytes
from mlpstorage.engine.dataset import MANIFEST_NAME, DatasetSpec, Manifest
from mlpstorage.engine.decoding import require_decoder
from mlpstorage.engine.footers import Footers
from mlpstorage.kinds.clients import free_bytes
from mlpstorage.kinds.training.sizing import advised_subfolders, trial_files

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.formats.parquet.schema import Table
    from mlpstorage.kinds.training.workload import Workload

# The payload does not depend on the training's shuffle seed: two runs may read one data set.
DATA_SEED = 10
# Beyond these a number is a slip of the finger; the arithmetic below stays exact up to them.
MOST_ACCELERATORS = 1_000_000
MOST_FILE_BYTES = 1 << 50
_MOST_SIZES = 10_000_000
# Those of one data set are equal, as a rule; others cost up to a second each.
_MOST_FOOTERS = 8
_MOVE_AWAY = "move it away, then run datagen again with the same arguments"


def data_folder(data_dir: str, model: str) -> Path:
    """The folder of a model's data set: the data directory, with the model's name appended.

    Raises:
        UsageError: no data directory is given.
    """
    if not data_dir:
        raise UsageError("no data directory", fix="pass --data-dir, or set MLPSTORAGE_DATA_DIR")
    path = user_path(data_dir, "--data-dir")
    return path if path.name == model else path / model


def fitting_trial(workload: Workload, accelerators: int, folder: Path) -> int:
    """The files of a trial's data set in this folder.

    Raises:
        UsageError: none fits in the free space.
    """
    free = free_bytes(folder)
    files = trial_files(workload, accelerators, free)
    if not files:
        raise UsageError(
            f"no trial fits in the {format_bytes(free)} free at {folder}",
            why=f"{accelerators} accelerators need at least two steps each",
            fix="free space, choose another --data-dir, or emulate fewer accelerators",
        )
    return files


def dataset_spec(workload: Workload, files: int) -> DatasetSpec:
    """The data set of a workload with this many files.

    Raises:
        ConfigurationError: the figures contradict each other, or a file would be absurdly large.
    """
    subfolders = workload.dataset.num_subfolders_train
    samples = workload.dataset.num_samples_per_file
    if workload.record_bytes * samples > MOST_FILE_BYTES:
        raise ConfigurationError(
            f"a file of {samples} samples would have "
            f"{format_bytes(workload.record_bytes * samples)}",
            fix="lower dataset.num_samples_per_file, so that a file has at most "
            f"{format_bytes(MOST_FILE_BYTES)}",
        )
    if subfolders is not None and subfolders > files:
        raise ConfigurationError(
            f"dataset.num_subfolders_train is {subfolders}, but there are {files} files",
            fix="lower it, or leave it out: then it is chosen well",
        )
    return DatasetSpec(
        model=workload.model,
        format=workload.dataset.format,
        num_files=files,
        num_subfolders=advised_subfolders(files) if subfolders is None else subfolders,
        samples_per_file=samples,
        record_bytes=workload.record_bytes,
        record_stdev_bytes=workload.dataset.record_length_bytes_stdev,
        seed=DATA_SEED,
        table=workload.table,
    )


def total_bytes(spec: DatasetSpec) -> int:
    """The size of a data set: exact, or about right where the sizes would fill memory."""
    if spec.record_stdev_bytes and spec.num_files <= _MOST_SIZES:
        return spec.total_bytes(spec.file_bytes())
    same = replace(spec, num_files=1, num_subfolders=0, record_stdev_bytes=0.0)
    return spec.num_files * same.total_bytes(same.file_bytes())


def load_manifest(folder: Path, workload: Workload) -> Manifest:
    """The manifest of a folder, which must be of this workload's kind of data.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: it is unusable, or describes other data.
    """
    file = folder / MANIFEST_NAME
    if file.exists() and not file.is_file():  # reading a pipe would wait for ever
        raise ConfigurationError(f"{file} is not a file", fix="move it away, and generate again")
    try:
        manifest = Manifest.load(folder)
    except (OverflowError, MemoryError) as error:
        raise ConfigurationError(
            f"{file} is not a usable description of a data set",
            why=f"its numbers are out of all range: {error}",
            fix="restore it, or generate the data set again: training datagen --force",
        ) from error
    held, wanted = manifest.spec, dataset_spec(workload, manifest.spec.num_files)
    for name in ("model", "format", "samples_per_file", "record_bytes", "record_stdev_bytes"):
        has, wants = getattr(held, name), getattr(wanted, name)
        if has != wants:
            raise ConfigurationError(
                f"{folder} holds a data set with {name} {has}, not {wants}",
                why=f"the run is about {workload.model}",
                fix="choose the --data-dir of the right data set, or generate one elsewhere",
            )
    if held.table != wanted.table:
        raise ConfigurationError(
            f"{folder} holds Parquet files of another schema: "
            f"{_table_difference(held.table, wanted.table)}",
            why=f"the run is about {workload.model}, as dataset.parquet describes it",
            fix="choose the --data-dir of the right data set, or generate one elsewhere",
        )
    return manifest


def _table_difference(held: Table | None, wanted: Table | None) -> str:
    """What differs first between two schemas, for a message."""
    if held is None or wanted is None:
        return "one of them has none"
    if held.row_group_rows != wanted.row_group_rows:
        return f"row groups of {held.row_group_rows} rows, not {wanted.row_group_rows}"
    if held.compression != wanted.compression:
        return f"compression {held.compression}, not {wanted.compression}"
    for has, wants in zip(held.columns, wanted.columns, strict=False):
        if has != wants:
            return f"column {has.name} ({has.dtype} × {has.size}), not {wants.name}"
    return f"{len(held.columns)} columns, not {len(wanted.columns)}"


def require_files(manifest: Manifest, folder: Path, files: int) -> None:
    """Refuse a data set with fewer files than the run needs.

    Raises:
        NotFoundError: too few files.
    """
    held = manifest.spec.num_files
    if held < files:
        size = format_bytes(files * manifest.total_bytes / held)
        raise NotFoundError(
            f"{folder} holds {held} files; this run needs {files} ({size})",
            why="a run reads at least what the sizing rule asks, or what --params says",
            fix="generate as many with `training datagen`, or read fewer: "
            f"--params dataset.num_files_train={held}",
        )


def check_contents(manifest: Manifest, folder: Path, files: int, workload: Workload) -> None:
    """Look into a few files of a table, and for what decoding needs.

    Raises:
        MlpstorageError: a file is not what the workload reads (named), or a library is missing.
    """
    spec, columns = manifest.spec, workload.read_columns
    if workload.reader.decode == "full":
        require_decoder(spec.format, spec.samples_per_file)
    if spec.table is not None:
        footers = Footers(spec.namer(str(folder)), spec.table, spec.samples_per_file, columns)
        for index in {*range(0, files, max(1, files // _MOST_FOOTERS)), files - 1}:
            footers.of(index)


def check_files(manifest: Manifest, folder: Path, files: int, *, most: int = 2000) -> None:
    """Look at the size of the data files, or of evenly spread ones when there are very many.

    Raises:
        NotFoundError: a file is missing (named).
        ConfigurationError: a file has another size than the manifest says (named).
    """
    spec = manifest.spec
    step = max(1, files // most)
    for index in {*range(0, files, step), files - 1}:
        path = folder / spec.relative_path(index)
        _check_file(path, int(manifest.file_bytes[index]))
        for companion in spec.file_format.companions:
            beside = path.with_name(companion.name_of(path.name))
            _check_file(beside, companion.file_bytes(spec.samples_per_file))


def _check_file(path: Path, expected: int) -> None:
    """Check that a regular file is there and has its size."""
    fix = "run datagen again with the same arguments: it writes what is missing"
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        link = f": it is a link to {path.readlink()}" if path.is_symlink() else ""
        raise NotFoundError(f"data file {path} is missing{link}", fix=fix) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(
            f"{path} is not a file", why="the data set's manifest names it", fix=_MOVE_AWAY
        )
    if found.st_size != expected:
        raise ConfigurationError(
            f"data file {path} has {found.st_size} bytes, not {expected}",
            why="the data set's manifest promises the full length",
            fix=fix,
        )
