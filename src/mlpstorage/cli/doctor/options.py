"""The options of `mlpstorage doctor`; those of benchmarks that matter to checks, alike in name."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.core.options import opt

_WHAT = "What is checked"
_WHERE = "Where"
_HOW = "How ranks would be started"
_OUT = "Output"


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `doctor`."""

    for_: str = opt(
        "", "Check what this benchmark needs, such as training; else all that is given.",
        group=_WHAT,
    )  # fmt: skip
    engine: str = opt("native", "Engine: native or dlio.", group=_WHAT)
    direct: bool = opt(False, "Check that O_DIRECT works in the directories.", group=_WHAT)
    hosts: tuple[str, ...] = opt(
        (), "Client hosts: h1,h2 or h1:8,h2:8 or @file.", short="-s", group=_WHERE, many=True
    )
    data_dir: str = opt("", "Directory of the data sets.", short="-dd", group=_WHERE)
    results_dir: str = opt("results", "Root of all results.", short="-rd", group=_WHERE)
    checkpoint_folder: str = opt("", "Directory of checkpoints.", short="-cf", group=_WHERE)
    cache_dir: str = opt("", "Directory of the KV cache, on each host.", group=_WHERE)
    host: str = opt("", "Host of the vector database.", group=_WHERE)
    port: int = opt(0, "Port of the vector database.", group=_WHERE)
    config_file: str = opt(
        "", "YAML file of options; flags and environment are stronger.", short="-c", group=_WHERE
    )
    num_processes: int = opt(
        0, "Ranks over all hosts; one each by default.", short="-np", group=_HOW
    )
    mpi_bin: str = opt("", "MPI launcher: a name or a path.", group=_HOW)
    mpi_params: tuple[str, ...] = opt(
        (),
        "Words for the MPI launcher, as one quoted text; repeatable.",
        group=_HOW,
        dashes=True,
    )
    oversubscribe: bool = opt(False, "Allow more ranks than cores or slots (Open MPI).", group=_HOW)
    allow_run_as_root: bool = opt(False, "Allow Open MPI to run as root.", group=_HOW)
    json: bool = opt(False, "Print the result as JSON on standard output.", group=_OUT)
    debug: bool = opt(False, "Show tracebacks of errors.", group=_OUT)
