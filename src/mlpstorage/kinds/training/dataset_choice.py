"""Which data set a training command means, from the user's options and what is on disk."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlpstorage.config import user_path
from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.units import GIB, format_bytes, parse_bytes
from mlpstorage.engine.dataset import MANIFEST_NAME, DatasetSpec, Manifest
from mlpstorage.kinds.training.sizing import advised_subfolders, trial_files
from mlpstorage.watch.inventory import memory_limit_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.cluster import Host
    from mlpstorage.kinds.options import ClusterOptions
    from mlpstorage.kinds.training.workload import Workload

# The payload does not depend on the training's shuffle seed: two runs may read one data set.
DATA_SEED = 10
# Beyond these a number is a slip of the finger; the arithmetic below stays exact up to them.
MOST_ACCELERATORS = 1_000_000
MOST_CLIENTS = 100_000
MOST_MEMORY_BYTES = 1 << 50
MOST_FILE_BYTES = 1 << 50
_LONGEST_SIZE = 40
_MOST_SIZES = 10_000_000
_MEMORY_FIX = (
    "give the memory of one client in GiB or with a unit, at most 1 PiB: 256, 256GiB, 1.5TB"
)
_MOVE_AWAY = "move it away, then run datagen again with the same arguments"


@dataclass(frozen=True)
class Clients:
    """The client hosts of a command and their memory; bytes per host.

    `declared_bytes` is what the user said, `measured_bytes` what this host has; either may be None.
    """

    hosts: tuple[Host, ...]
    count: int
    declared_bytes: int | None
    measured_bytes: int | None

    @property
    def sizing_bytes(self) -> int:
        """Memory of all clients together for sizing: declared where given, else measured."""
        each = self.declared_bytes if self.declared_bytes is not None else self.measured_bytes
        return (each or 0) * self.count

    @property
    def judged_bytes(self) -> int:
        """Memory of all clients for the rules: the larger of declared and measured."""
        return max(self.declared_bytes or 0, self.measured_bytes or 0) * self.count


def clients_of(options: ClusterOptions, *, here: bool) -> Clients:
    """The clients a command names; `here` says that this host is surely one of them.

    Raises:
        UsageError: the hosts, their number or their memory are malformed or contradict.
    """
    hosts = parse_hosts(options.hosts)
    if options.hosts and not hosts:
        raise UsageError(
            f"--hosts {' '.join(options.hosts)} names no host",
            fix="write h1,h2 or h1:8,h2:8 or @file, or leave --hosts out for this host alone",
        )
    count = options.num_client_hosts
    if not 0 <= count <= MOST_CLIENTS:
        raise UsageError(
            f"--num-client-hosts is {count}", fix=f"give a number from 1 to {MOST_CLIENTS}"
        )
    if hosts and count and count != len(hosts):
        raise UsageError(
            f"--hosts names {len(hosts)} hosts, --num-client-hosts says {count}",
            fix="leave --num-client-hosts out",
        )
    declared = _declared_bytes(options.client_host_memory_in_gb)
    measured = memory_limit_bytes() if here or declared is None else None
    return Clients(hosts, len(hosts) or count or 1, declared, measured)


def _declared_bytes(text: str) -> int | None:
    """The memory of one client as the user says, None when nothing is said."""
    if not text:
        return None
    try:
        declared = parse_bytes(text, bare_unit=GIB) if len(text) <= _LONGEST_SIZE else None
    except UsageError as error:
        raise UsageError(f"--client-host-memory-in-gb: {error.what}", fix=_MEMORY_FIX) from error
    if declared is None or not 0 < declared <= MOST_MEMORY_BYTES:
        raise UsageError(f"--client-host-memory-in-gb is {text}", fix=_MEMORY_FIX)
    return declared


def data_folder(data_dir: str, model: str) -> Path:
    """The folder of a model's data set: the data directory, with the model's name appended.

    Raises:
        UsageError: no data directory is given.
    """
    if not data_dir:
        raise UsageError("no data directory", fix="pass --data-dir, or set MLPSTORAGE_DATA_DIR")
    path = user_path(data_dir, "--data-dir")
    return path if path.name == model else path / model


def free_bytes(path: Path) -> int:
    """Bytes free to this user on the filesystem where `path` is or would be made."""
    return shutil.disk_usage(existing_parent(path)).free


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


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    while not os.path.exists(path):  # noqa: PTH110 (never raises, as Path.exists does)
        path = path.parent
    return path


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
    )


def total_bytes(spec: DatasetSpec) -> int:
    """The size of a data set: exact, or about right where the sizes would fill memory."""
    if spec.record_stdev_bytes and spec.num_files <= _MOST_SIZES:
        return int(spec.file_bytes().sum())
    same = replace(spec, num_files=1, num_subfolders=0, record_stdev_bytes=0.0)
    return spec.num_files * int(same.file_bytes()[0])


def checked_count(value: int, option: str, most: int) -> int:
    """A number of things that a user gave.

    Raises:
        UsageError: it is not from 1 to `most`.
    """
    if not 1 <= value <= most:
        raise UsageError(f"{option} is {value}", fix=f"give a number from 1 to {most}")
    return value


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
    return manifest


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


def check_files(manifest: Manifest, folder: Path, files: int, *, most: int = 2000) -> None:
    """Look at the size of the data files, or of evenly spread ones when there are very many.

    Raises:
        NotFoundError: a file is missing (named).
        ConfigurationError: a file has another size than the manifest says (named).
    """
    step = max(1, files // most)
    for index in {*range(0, files, step), files - 1}:
        path, expected = (
            folder / manifest.spec.relative_path(index),
            int(manifest.file_bytes[index]),
        )
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
        size = found.st_size
        if size != expected:
            raise ConfigurationError(
                f"data file {path} has {size} bytes, not {expected}",
                why="the data set's manifest promises the full length",
                fix=fix,
            )
