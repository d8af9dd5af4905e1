"""Where ranks run and where files may lie: the choices that all benchmarks share."""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.config import user_path
from mlpstorage.core.cluster import Host, spread
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.problems import Problem
from mlpstorage.core.units import parse_seconds
from mlpstorage.kinds.measurement import Safeguards
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.local import LocalLauncher
from mlpstorage.launch.mpi import MpiLauncher
from mlpstorage.launch.network import checked_network
from mlpstorage.preflight.needs import Needs
from mlpstorage.watch.sampler import SHORTEST_INTERVAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.kinds.options import LaunchOptions, SeriesOptions
    from mlpstorage.launch import Launcher

_EXEC_TYPES = ("auto", "local", "mpi")
MOST_LIMIT_SECONDS = 366 * 86_400


def launcher_for(options: LaunchOptions, hosts: Sequence[Host], ranks: int) -> Launcher:
    """Local processes on one host, mpirun where there are hosts or where the user says so.

    Raises:
        UsageError: the options contradict each other, or the ranks do not fit on the hosts.
    """
    if options.exec_type not in _EXEC_TYPES:
        raise UsageError(
            f"--exec-type {options.exec_type!r} is unknown",
            fix=did_you_mean(options.exec_type, _EXEC_TYPES),
        )
    limit = _time_limit(options.time_limit)
    remote = any(not host.is_local for host in hosts)
    if options.exec_type == "local" and remote:
        raise UsageError(
            "--exec-type local cannot reach the hosts of --hosts", fix="use --exec-type mpi"
        )
    if hosts:
        spread(ranks, hosts)
    if uses_mpi(options, hosts):
        return MpiLauncher(_mpi_hosts(hosts), _mpi_options(options), time_limit_seconds=limit)
    return LocalLauncher(time_limit_seconds=limit)


def uses_mpi(options: LaunchOptions, hosts: Sequence[Host]) -> bool:
    """Whether ranks are started by MPI."""
    remote = any(not host.is_local for host in hosts)
    return options.exec_type == "mpi" or bool(options.mpi_bin) or remote


def _mpi_hosts(hosts: Sequence[Host]) -> Sequence[Host]:
    return hosts or (Host("localhost"),)


def _mpi_options(options: LaunchOptions) -> MpiOptions:
    try:
        params = tuple(word for text in options.mpi_params for word in shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"--mpi-params {' '.join(options.mpi_params)}: {error}".lower(),
            fix="close the quotes inside",
        ) from error
    return MpiOptions(
        mpi_bin=options.mpi_bin or "mpirun",
        oversubscribe=options.oversubscribe,
        allow_run_as_root=options.allow_run_as_root,
        network=checked_network(options.mpi_network),
        params=params,
    )


def _time_limit(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = parse_seconds(text)
    except UsageError as error:
        raise UsageError(f"--time-limit: {error.what}", fix=error.fix) from error
    if not 0 < seconds <= MOST_LIMIT_SECONDS:
        raise UsageError(f"--time-limit is {text}", fix="give a time such as 90s, 30m or 2h")
    return seconds


def needs_of(options: LaunchOptions, hosts: Sequence[Host], ranks: int, purpose: str) -> Needs:
    """What preflight has to look at for any benchmark; each adds its own with `replace`."""
    return Needs(
        purpose=purpose,
        hosts=tuple(hosts),
        ranks=ranks,
        uses_mpi=uses_mpi(options, hosts),
        mpi=_mpi_options(options),
    )


def safeguards_of(
    options: LaunchOptions, hosts: Sequence[Host], *, closed: bool = False
) -> Safeguards:
    """What the user wants checked before the run.

    Raises:
        UsageError: a CLOSED run would skip its checks.
    """
    if closed and options.skip_validation:
        raise UsageError(
            "a CLOSED run cannot skip its environment checks",
            why="its result must not depend on what nobody looked at",
            fix="leave --skip-validation or --closed out",
        )
    lockfile = options.verify_lockfile
    return Safeguards(
        hosts=tuple(hosts),
        lockfile=user_path(lockfile, "--verify-lockfile") if lockfile else None,
        skip_validation=options.skip_validation,
    )


def series_interval_of(options: SeriesOptions) -> float | None:
    """Seconds between samples of the hosts, None when none are wanted.

    Raises:
        UsageError: the interval is no duration, or shorter than the hosts are asked.
    """
    if options.skip_timeseries:
        return None
    try:
        seconds = parse_seconds(options.timeseries_interval)
    except UsageError as error:
        raise UsageError(f"--timeseries-interval: {error.what}", fix=error.fix) from error
    if not SHORTEST_INTERVAL_SECONDS <= seconds <= MOST_LIMIT_SECONDS:
        raise UsageError(
            f"--timeseries-interval is {options.timeseries_interval}",
            why="shorter intervals would disturb what they observe",
            fix=f"give at least {SHORTEST_INTERVAL_SECONDS} s, or --skip-timeseries",
        )
    return seconds


def place_problems(
    folder: Path,
    results_dir: Path,
    kind: str,
    *,
    generates: bool,
    option: str = "--data-dir",
    name: str = "data directory",
) -> list[Problem]:
    """What is wrong with the places of data and results, before anything is made there.

    `option` chooses the folder of the data, and `name` is what messages call it.
    """
    found = []
    # Unlike Path.resolve, realpath does not raise where links go round in circles.
    data, results = Path(os.path.realpath(folder)), Path(os.path.realpath(results_dir))
    if results == data.parent or results.is_relative_to(data):
        found.append(
            Problem(
                f"the results directory {results_dir} lies in the {name}",
                why="writing results would be part of what is measured, and of the data set",
                fix="choose a --results-dir elsewhere, best on another filesystem",
            )
        )
    elif data.is_relative_to(results / kind):
        found.append(
            Problem(
                f"the {name} {folder} lies among the results of {kind}",
                why="runs and data files would be mixed",
                fix=f"choose a {option} elsewhere",
            )
        )
    found += obstacles(results_dir, "--results-dir", writes=True)
    found += obstacles(folder, option, writes=generates)
    return found


def obstacles(path: Path, option: str, *, writes: bool) -> list[Problem]:
    """What keeps a directory from being used, or from being made where it does not exist yet."""
    nearest = path
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    choose = f"choose another {option}"
    if nearest.is_symlink() and not os.path.exists(nearest):  # noqa: PTH110 (raises on a loop)
        return [Problem(f"{nearest} is a link to nowhere ({os.readlink(nearest)})", fix=choose)]  # noqa: PTH115 (as the user wrote it)
    if not nearest.is_dir():
        return [Problem(f"{nearest} is not a directory", why=f"{option} needs one", fix=choose)]
    if not writes:
        return []
    try:
        longest = os.pathconf(nearest, "PC_NAME_MAX")
        if any(len(os.fsencode(part)) > longest for part in path.parts):
            return [Problem(f"{option} holds a name of more than {longest} bytes", fix=choose)]
        # Permission bits say nothing about quotas, root squashing and pseudo file systems.
        Path(tempfile.mkdtemp(prefix=".mlpstorage-", dir=nearest)).rmdir()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return [
            Problem(
                f"cannot create anything in {nearest}: {reason}",
                why=f"{option} is {path}",
                fix=f"{'free space there' if full else 'make it writable'}, or {choose}",
                exit_code=5 if full else 4,
            )
        ]
    return []
