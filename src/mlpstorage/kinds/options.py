"""Options that the commands of every benchmark share, as dataclasses to inherit from."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.core.options import opt

WHAT = "What is measured"
WHERE = "Where"
HOW = "How it runs"
JUDGE = "How it is judged"
OUT = "Output"


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """What every command of a benchmark understands."""

    config_file: str = opt(
        "", "YAML file of options; flags and environment are stronger.", short="-c", group=WHERE
    )
    results_dir: str = opt("results", "Root of all results.", short="-rd", group=WHERE)
    json: bool = opt(False, "Print the result as JSON on standard output.", group=OUT)
    progress: str = opt(
        "auto",
        "What is shown meanwhile: auto, live, lines, json (the event stream) or off.",
        short="--display",
        group=OUT,
    )
    quiet: bool = opt(False, "Show warnings and the result only.", short="-q", group=OUT)
    verbose: bool = opt(False, "Show more, such as the launched commands.", short="-v", group=OUT)
    debug: bool = opt(False, "Show everything, and tracebacks of errors.", group=OUT)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(CommonOptions):
    """What tells the clients apart."""

    hosts: tuple[str, ...] = opt(
        (), "Client hosts: h1,h2 or h1:8,h2:8 or @file.", short="-s", group=WHERE, many=True
    )
    num_client_hosts: int = opt(
        0, "Number of client hosts, when --hosts is not given.", short="-nc", group=WHERE
    )
    client_host_memory_in_gb: str = opt(
        "",
        "Memory of one client host in GiB (or with a unit); measured if not given.",
        short="-cm",
        group=WHERE,
    )


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(ClusterOptions):
    """How ranks are started, and how the run is recorded."""

    exec_type: str = opt("auto", "How ranks start: auto, local or mpi.", short="-et", group=HOW)
    mpi_bin: str = opt("", "MPI launcher: mpirun, mpiexec or a path.", group=HOW)
    mpi_params: tuple[str, ...] = opt(
        (),
        "Words for the MPI launcher, as one quoted text; repeatable.",
        group=HOW,
        dashes=True,
    )
    mpi_network: str = opt(
        "", "Network that MPI uses where hosts have several, such as 10.0.0.0/24.", group=HOW
    )
    oversubscribe: bool = opt(False, "Allow more ranks than cores or slots (Open MPI).", group=HOW)
    allow_run_as_root: bool = opt(False, "Allow Open MPI to run as root.", group=HOW)
    time_limit: str = opt(
        "", "End the run with exit code 7 after this long, such as 2h.", group=HOW
    )
    what_if: bool = opt(False, "Show the plan and the verdict so far; start nothing.", group=HOW)
    verify_lockfile: str = opt(
        "", "Start only if installed versions match this lockfile, on every host.", group=HOW
    )
    skip_validation: bool = opt(
        False, "Skip the environment checks; recorded, and never CLOSED.", group=HOW
    )


@dataclass(frozen=True, kw_only=True)
class SeriesOptions:
    """How the hosts are watched during a run."""

    timeseries_interval: str = opt(
        "10", "Seconds between samples of every host, at least 0.5.", group=HOW
    )
    skip_timeseries: bool = opt(False, "Take no samples of the hosts during the run.", group=HOW)
