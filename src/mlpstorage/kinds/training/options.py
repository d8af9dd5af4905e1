"""The options of `mlpstorage training …`, one dataclass per command."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.core.options import opt

_WHAT = "What is measured"
_WHERE = "Where"
_HOW = "How it runs"
_JUDGE = "How it is judged"
_OUT = "Output"


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What every training command understands."""

    model: str = opt(
        MISSING,
        "Workload: unet3d, resnet50, cosmoflow, or of --workload-file.",
        short="-m",
        group=_WHAT,
    )
    workload_file: str = opt("", "Your own workload file (YAML, same schema).", group=_WHAT)
    params: tuple[str, ...] = opt(
        (), "Parameters of the workload, as section.key=value.", short="-p", group=_WHAT, many=True
    )
    config_file: str = opt(
        "", "YAML file of options; flags and environment are stronger.", short="-c", group=_WHERE
    )
    data_dir: str = opt(
        "", "Directory of the data sets; the model's name is appended.", short="-dd", group=_WHERE
    )
    results_dir: str = opt("results", "Root of all results.", short="-rd", group=_WHERE)
    json: bool = opt(False, "Print the result as JSON on standard output.", group=_OUT)
    quiet: bool = opt(False, "Show warnings and the result only.", short="-q", group=_OUT)
    verbose: bool = opt(False, "Show more, such as the launched commands.", short="-v", group=_OUT)
    debug: bool = opt(False, "Show everything, and tracebacks of errors.", group=_OUT)


@dataclass(frozen=True, kw_only=True)
class _Cluster(_Common):
    """What tells the clients apart."""

    hosts: tuple[str, ...] = opt(
        (), "Client hosts: h1,h2 or h1:8,h2:8 or @file.", short="-s", group=_WHERE, many=True
    )
    num_client_hosts: int = opt(
        0, "Number of client hosts, when --hosts is not given.", short="-nc", group=_WHERE
    )
    client_host_memory_in_gb: str = opt(
        "",
        "Memory of one client host in GiB (or with a unit); measured if not given.",
        short="-cm",
        group=_WHERE,
    )


@dataclass(frozen=True, kw_only=True)
class _Launch(_Cluster):
    """How ranks are started, and how the run is recorded."""

    exec_type: str = opt("auto", "How ranks start: auto, local or mpi.", short="-et", group=_HOW)
    mpi_bin: str = opt("", "MPI launcher: mpirun, mpiexec or a path.", group=_HOW)
    mpi_params: tuple[str, ...] = opt(
        (),
        "Words for the MPI launcher, as one quoted text; repeatable.",
        group=_HOW,
        dashes=True,
    )
    oversubscribe: bool = opt(False, "Allow more ranks than cores or slots (Open MPI).", group=_HOW)
    allow_run_as_root: bool = opt(False, "Allow Open MPI to run as root.", group=_HOW)
    time_limit: str = opt(
        "", "End the run with exit code 7 after this long, such as 2h.", group=_HOW
    )
    what_if: bool = opt(False, "Show the plan and the verdict so far; start nothing.", group=_HOW)


@dataclass(frozen=True, kw_only=True)
class DatasizeOptions(_Cluster):
    """Options of `training datasize`."""

    accelerator_type: str = opt(
        MISSING, "Emulated accelerator: a100, h100, b200.", short="-g", group=_WHAT
    )
    max_accelerators: int = opt(
        MISSING, "The most accelerators you will run with.", short="-ma", group=_WHAT
    )


@dataclass(frozen=True, kw_only=True)
class DatagenOptions(_Launch):
    """Options of `training datagen`."""

    accelerator_type: str = opt(
        "",
        "Accelerator whose figures to use; any of the model's by default.",
        short="-g",
        group=_WHAT,
    )
    num_processes: int = opt(
        0,
        "Generating processes over all hosts; one per usable CPU by default.",
        short="-np",
        group=_HOW,
    )
    trial: bool = opt(False, "Generate the small data set of a trial.", group=_WHAT)
    num_accelerators: int = opt(
        1, "Accelerators of the trial to generate for.", short="-na", group=_WHAT
    )
    force: bool = opt(False, "Delete another data set that is in the way.", group=_HOW)


@dataclass(frozen=True, kw_only=True)
class RunOptions(_Launch):
    """Options of `training run`."""

    accelerator_type: str = opt(
        MISSING, "Emulated accelerator: a100, h100, b200.", short="-g", group=_WHAT
    )
    num_accelerators: int = opt(
        MISSING, "Emulated accelerators over all hosts: one process each.", short="-na", group=_WHAT
    )
    trial: bool = opt(
        False, "A small run of about a minute; generates its data; never a valid size.", group=_WHAT
    )
    drop_caches: str = opt("auto", "Before each epoch: auto, system, files or off.", group=_HOW)
    loops: int = opt(1, "Run this many times, one result each.", group=_HOW)
    closed: bool = opt(False, "Judge by the rules of the CLOSED division.", group=_JUDGE)
    open: bool = opt(False, "Judge by the rules of the OPEN division (the default).", group=_JUDGE)
    allow_invalid_params: bool = opt(
        False, "Run although the plan is INVALID, and exit 0.", short="-aip", group=_JUDGE
    )


@dataclass(frozen=True, kw_only=True)
class ConfigviewOptions(RunOptions):
    """Options of `training configview`: those of `run`."""
