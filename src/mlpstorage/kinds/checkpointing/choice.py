"""Which workload, folder and spread of ranks the user's options mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.config import Document, user_path
from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.checkpointing.workload import MOST_PROCESSES, resolve_workload
from mlpstorage.kinds.clients import checked_count

if TYPE_CHECKING:
    from mlpstorage.kinds.checkpointing.options import WorkloadOptions
    from mlpstorage.kinds.checkpointing.workload import ResolvedWorkload, Workload
    from mlpstorage.kinds.clients import Clients

_FROM_WORKLOAD = -1
_OPTION = "--checkpoint-folder"


def asked_workload(options: WorkloadOptions) -> ResolvedWorkload:
    """The workload that the options name, with the values of flags laid over it.

    Raises:
        UsageError: a flag or a parameter is wrong.
        MlpstorageError: the user's workload file is.
    """
    values: dict[str, Any] = {}
    sources = {}
    for count, name in (
        (options.num_checkpoints_write, "num_checkpoints_write"),
        (options.num_checkpoints_read, "num_checkpoints_read"),
    ):
        if count != _FROM_WORKLOAD:
            values[name] = count
            sources[f"checkpoint.{name}"] = "--" + name.replace("_", "-")
    if options.checkpoint_subset:
        values["mode"] = "subset"
        sources["checkpoint.mode"] = "--checkpoint-subset"
    return resolve_workload(
        options.model,
        options.params,
        workload_file=_workload_path(options.workload_file),
        flags=Document({"checkpoint": values}, sources) if values else None,
    )


def _workload_path(text: str) -> Path | None:
    """The user's own workload file, if one is named; messages show it as it was given."""
    if not text:
        return None
    user_path(text, "--workload-file")  # may refuse
    return Path(text).expanduser()


def checkpoint_folder(options: WorkloadOptions, workload: Workload) -> Path:
    """The folder of a model's checkpoints: the user's, with the model's name appended.

    Raises:
        UsageError: none is given.
    """
    text = options.checkpoint_folder or workload.checkpoint.checkpoint_folder
    if not text:
        raise UsageError(
            "no checkpoint folder",
            fix="pass --checkpoint-folder, or set MLPSTORAGE_CHECKPOINT_FOLDER",
        )
    path = user_path(text, _OPTION)
    return path if path.name == workload.model.name else path / workload.model.name


def checked_processes(count: int) -> int:
    """The number of processes, if it is one.

    Raises:
        UsageError: it is not.
    """
    return checked_count(count, "--num-processes", MOST_PROCESSES)


def ranks_per_host(clients: Clients, processes: int) -> tuple[int, ...]:
    """How many processes each client gets.

    Raises:
        UsageError: they do not fit.
    """
    if clients.hosts:
        return spread(processes, clients.hosts)
    even, rest = divmod(processes, clients.count)
    if not even:
        raise UsageError(
            f"{processes} processes cannot be spread over {clients.count} hosts",
            fix="start at least one process per host, or name fewer hosts",
        )
    return tuple(even + (index < rest) for index in range(clients.count))


def rank_shift(per_host: tuple[int, ...]) -> int:
    """By how many ranks reading is shifted, so that no rank reads what its own host has written.

    Ranks stand host by host, so as many as the largest host has are enough, unless that one has
    more than half of all: then some must. On one host nothing is gained.

    >>> rank_shift((8,)), rank_shift((2, 2, 2, 2)), rank_shift((3, 2, 1))
    (0, 2, 3)
    """
    return max(per_host) % sum(per_host) if len(per_host) > 1 else 0


def refuse_dlio(engine: str, dlio_path: str) -> None:
    """DLIO cannot be launched for this benchmark yet; say why.

    Raises:
        UsageError: a tree is named for another engine.
        ConfigurationError: DLIO is asked for.
    """
    if dlio_path and engine != "dlio":
        raise UsageError("--dlio-path is given without --engine dlio", fix="add --engine dlio")
    if engine != "dlio":
        return
    if not dlio_path:
        raise ConfigurationError(
            "DLIO has no workload of checkpoints alone in its release 2.0.0",
            why="that is the only release on PyPI; newer source trees have one (model.transformer)",
            fix="name a newer tree with --dlio-path, or use the native engine",
        )
    raise ConfigurationError(
        f"the DLIO tree {dlio_path} cannot be run for checkpointing yet",
        why="this version launches DLIO for training only",
        fix="use the native engine: leave --engine dlio out",
    )
