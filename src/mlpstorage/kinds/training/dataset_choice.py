"""Which data set a training command means, from the user's options and what is on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.units import GIB, format_bytes, parse_bytes
from mlpstorage.engine.dataset import DatasetSpec, Manifest
from mlpstorage.kinds.training.sizing import advised_subfolders
from mlpstorage.watch.inventory import memory_limit_bytes

if TYPE_CHECKING:
    from mlpstorage.core.cluster import Host
    from mlpstorage.kinds.training.options import _Cluster
    from mlpstorage.kinds.training.workload import Workload

# The payload does not depend on the training's shuffle seed: two runs may read one data set.
DATA_SEED = 10


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


def clients_of(options: _Cluster, *, here: bool) -> Clients:
    """The clients a command names; `here` says that this host is surely one of them.

    Raises:
        UsageError: the hosts, their number or their memory are malformed or contradict.
    """
    hosts = parse_hosts(options.hosts)
    count = options.num_client_hosts
    if count < 0:
        raise UsageError(f"--num-client-hosts is {count}", fix="give a positive number")
    if hosts and count and count != len(hosts):
        raise UsageError(
            f"--hosts names {len(hosts)} hosts, --num-client-hosts says {count}",
            fix="leave --num-client-hosts out",
        )
    text = options.client_host_memory_in_gb
    declared = parse_bytes(text, bare_unit=GIB) if text else None
    if declared == 0:
        raise UsageError("--client-host-memory-in-gb is 0", fix="give the memory of one client")
    measured = memory_limit_bytes() if here or declared is None else None
    return Clients(hosts, len(hosts) or count or 1, declared, measured)


def data_folder(data_dir: str, model: str) -> Path:
    """The folder of a model's data set: the data directory, with the model's name appended.

    Raises:
        UsageError: no data directory is given.
    """
    if not data_dir:
        raise UsageError("no data directory", fix="pass --data-dir, or set MLPSTORAGE_DATA_DIR")
    path = Path(data_dir).expanduser().absolute()
    return path if path.name == model else path / model


def free_bytes(path: Path) -> int:
    """Bytes free to this user on the filesystem where `path` is or would be made."""
    return shutil.disk_usage(existing_parent(path)).free


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def dataset_spec(workload: Workload, files: int) -> DatasetSpec:
    """The data set of a workload with this many files."""
    subfolders = workload.dataset.num_subfolders_train
    return DatasetSpec(
        model=workload.model,
        format=workload.dataset.format,
        num_files=files,
        num_subfolders=advised_subfolders(files) if subfolders is None else subfolders,
        samples_per_file=workload.dataset.num_samples_per_file,
        record_bytes=workload.record_bytes,
        record_stdev_bytes=workload.dataset.record_length_bytes_stdev,
        seed=DATA_SEED,
    )


def load_manifest(folder: Path, workload: Workload) -> Manifest:
    """The manifest of a folder, which must be of this workload's kind of data.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: it describes other data.
    """
    manifest = Manifest.load(folder)
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
            fix="generate more with `training datagen`, or try a small run with --trial",
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
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError(f"data file {path} is missing", fix=fix) from error
        if size != expected:
            raise ConfigurationError(
                f"data file {path} has {size} bytes, not {expected}",
                why="the data set's manifest promises the full length",
                fix=fix,
            )
