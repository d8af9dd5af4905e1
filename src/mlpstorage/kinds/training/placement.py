"""Where ranks run and where files may lie: the choices that training's commands share."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.problems import Problem
from mlpstorage.core.units import parse_seconds
from mlpstorage.kinds.training.dataset_choice import existing_parent
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.local import LocalLauncher
from mlpstorage.launch.mpi import MpiLauncher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.kinds.training.options import _Launch
    from mlpstorage.launch import Launcher

_EXEC_TYPES = ("auto", "local", "mpi")


def launcher_for(options: _Launch, hosts: Sequence[Host]) -> Launcher:
    """Local processes on one host, mpirun where there are hosts or where the user says so.

    Raises:
        UsageError: the options contradict each other.
    """
    if options.exec_type not in _EXEC_TYPES:
        raise UsageError(
            f"--exec-type {options.exec_type!r} is unknown",
            fix=did_you_mean(options.exec_type, _EXEC_TYPES),
        )
    limit = parse_seconds(options.time_limit) if options.time_limit else None
    remote = any(not host.is_local for host in hosts)
    if options.exec_type == "local" and remote:
        raise UsageError(
            "--exec-type local cannot reach the hosts of --hosts", fix="use --exec-type mpi"
        )
    if options.exec_type == "mpi" or options.mpi_bin or remote:
        mpi = MpiOptions(
            mpi_bin=options.mpi_bin or "mpirun",
            oversubscribe=options.oversubscribe,
            allow_run_as_root=options.allow_run_as_root,
            params=tuple(word for text in options.mpi_params for word in shlex.split(text)),
        )
        return MpiLauncher(hosts or (Host("localhost"),), mpi, time_limit_seconds=limit)
    return LocalLauncher(time_limit_seconds=limit)


def place_problems(folder: Path, results_dir: Path) -> list[Problem]:
    """What is wrong with the places of data and results, before anything is made there."""
    found = []
    data_root = folder.resolve().parent
    inside = results_dir.resolve()
    if inside == data_root or inside.is_relative_to(folder.resolve()):
        found.append(
            Problem(
                f"the results directory {results_dir} lies in the data directory",
                why="writing results would be part of what is measured, and of the data set",
                fix="choose a --results-dir elsewhere, best on another filesystem",
            )
        )
    parent = existing_parent(results_dir)
    if not os.access(parent, os.W_OK):
        found.append(
            Problem(
                f"cannot write to {parent}",
                why=f"results go to {results_dir}",
                fix="make it writable, or choose another --results-dir",
                exit_code=4,
            )
        )
    elif not parent.is_dir():
        found.append(Problem(f"{parent} is not a directory", fix="choose another --results-dir"))
    return found
