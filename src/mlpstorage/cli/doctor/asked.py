"""From the options of doctor to what is needed.

What a benchmark needs is told by the options of its `run` command: one with `--checkpoint-folder`
uses checkpoints, one with `--port` a server. So a new kind of benchmark needs nothing here.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.binding import load
from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.kinds import KINDS
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.preflight.needs import Endpoint, Needs, Place
from mlpstorage.preflight.remote import is_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.cli.doctor.options import DoctorOptions
    from mlpstorage.core.cluster import Host

_ENGINES = ("native", "dlio")
_LOCAL = "127.0.0.1"
_MOST_PORT = 65535


def needs_of(options: DoctorOptions) -> Needs:
    """What is to be checked.

    Raises:
        UsageError: an option is wrong.
    """
    hosts = parse_hosts(options.hosts)
    remote = any(not is_here(host) for host in hosts)
    if options.engine not in _ENGINES:
        raise UsageError(
            f"--engine {options.engine!r} is unknown", fix=did_you_mean(options.engine, _ENGINES)
        )
    if options.num_processes < 0:
        raise UsageError(
            f"--num-processes is {options.num_processes}", fix="give a positive number"
        )
    run = _run_options(options.for_) if options.for_ else None
    places = tuple(_places(options, run, remote=remote))
    named = {place.name for place in places}
    return Needs(
        purpose=f"{options.for_} run" if options.for_ else "a benchmark",
        hosts=hosts,
        ranks=options.num_processes or _slots(hosts),
        uses_mpi=_uses_mpi(options, run, remote=remote),
        mpi=MpiOptions(
            mpi_bin=options.mpi_bin or "mpirun",
            oversubscribe=options.oversubscribe,
            allow_run_as_root=options.allow_run_as_root,
            params=tuple(word for text in options.mpi_params for word in shlex.split(text)),
        ),
        places=places,
        apart=(("data", "results"),) if {"data", "results"} <= named else (),
        engine=options.engine,
        endpoints=tuple(_endpoints(options, run)),
    )


def _slots(hosts: tuple[Host, ...]) -> int:
    return sum(host.slots or 1 for host in hosts) or 1


def _run_options(kind: str) -> dict[str, Any]:
    """The defaults of a benchmark's `run` command, by option.

    Raises:
        UsageError: there is no such benchmark.
    """
    group = next((group for group in KINDS if group.name == kind), None)
    if group is None:
        fix = did_you_mean(kind, [group.name for group in KINDS])
        raise UsageError(f"--for {kind!r} is no benchmark", fix=fix)
    verb = next(verb for verb in group.verbs if verb.name == "run")
    return {field.name: field.default for field in dataclasses.fields(load(verb.options))}


def _uses_mpi(options: DoctorOptions, run: dict[str, Any] | None, *, remote: bool) -> bool:
    wanted = remote or bool(options.mpi_bin)
    return wanted and (run is None or "mpi_bin" in run)


def _places(options: DoctorOptions, run: dict[str, Any] | None, *, remote: bool) -> Iterator[Place]:
    """The directories that are given and used."""
    known: tuple[tuple[str, str, dict[str, Any]], ...] = (
        # A data set that is only read may lie on a filesystem that is read-only.
        ("data", "data_dir", {"shared": remote, "write_required": False, "direct": options.direct}),
        ("results", "results_dir", {"on_hosts": False}),
        ("checkpoint", "checkpoint_folder", {"shared": remote, "direct": options.direct}),
        ("cache", "cache_dir", {"direct": options.direct}),
    )
    for name, option, more in known:
        given = str(getattr(options, option))
        if given and (run is None or option in run):
            flag = "--" + option.replace("_", "-")
            yield Place(name, Path(given).expanduser().absolute(), flag, **more)


def _endpoints(options: DoctorOptions, run: dict[str, Any] | None) -> Iterator[Endpoint]:
    """The server that is given, or that the benchmark connects to by default."""
    defaults = run or {}
    wanted = "port" in defaults if run is not None else bool(options.host or options.port)
    if not wanted:
        return
    port = options.port or defaults.get("port", 0)
    if not isinstance(port, int) or not 0 < port <= _MOST_PORT:
        raise UsageError(f"--port is {port}", fix="give the port of the server")
    host = options.host or defaults.get("host", "") or _LOCAL
    yield Endpoint("the vector database", str(host), port)
