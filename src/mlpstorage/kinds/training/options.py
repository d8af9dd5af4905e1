"""The options of `mlpstorage training …`, one dataclass per command."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.core.options import opt
from mlpstorage.kinds.options import (
    HOW,
    JUDGE,
    WHAT,
    WHERE,
    ClusterOptions,
    LaunchOptions,
    SeriesOptions,
)


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """Which workload, and where its data are."""

    model: str = opt(
        MISSING,
        "Workload: unet3d, resnet50, cosmoflow, retinanet, dlrm, flux, or of --workload-file.",
        short="-m",
        group=WHAT,
    )
    workload_file: str = opt("", "Your own workload file (YAML, same schema).", group=WHAT)
    format: str = opt(
        "", "Format of the data files instead of the workload's: parquet, npz, hdf5, …", group=WHAT
    )
    params: tuple[str, ...] = opt(
        (), "Parameters of the workload, as section.key=value.", short="-p", group=WHAT, many=True
    )
    data_dir: str = opt(
        "", "Directory of the data sets; the model's name is appended.", short="-dd", group=WHERE
    )


@dataclass(frozen=True, kw_only=True)
class EngineOptions(LaunchOptions):
    """Who reads and writes the data: this program, or DLIO in its place."""

    engine: str = opt("native", "Who reads and writes the data: native or dlio.", group=HOW)
    dlio_path: str = opt(
        "", "Directory that holds another dlio_benchmark than the installed one.", group=HOW
    )
    dlio_stock: bool = opt(
        False, "Leave DLIO's formatting of all samples for each one as it is (slow).", group=HOW
    )
    dlio_start_method: str = opt(
        "fork", "How DLIO starts the workers of PyTorch's loader: fork or spawn.", group=HOW
    )


@dataclass(frozen=True, kw_only=True)
class DatasizeOptions(ClusterOptions, WorkloadOptions):
    """Options of `training datasize`."""

    accelerator_type: str = opt(
        MISSING, "Emulated accelerator: a100, h100, b200, mi355.", short="-g", group=WHAT
    )
    max_accelerators: int = opt(
        MISSING, "The most accelerators you will run with.", short="-ma", group=WHAT
    )


@dataclass(frozen=True, kw_only=True)
class DatagenOptions(EngineOptions, WorkloadOptions):
    """Options of `training datagen`."""

    accelerator_type: str = opt(
        "",
        "Accelerator whose figures to use; any of the model's by default.",
        short="-g",
        group=WHAT,
    )
    num_processes: int = opt(
        0,
        "Generating processes over all hosts; one per usable CPU by default.",
        short="-np",
        group=HOW,
    )
    trial: bool = opt(False, "Generate the small data set of a trial.", group=WHAT)
    num_accelerators: int = opt(
        1, "Accelerators of the trial to generate for.", short="-na", group=WHAT
    )
    force: bool = opt(False, "Delete another data set that is in the way.", group=HOW)


@dataclass(frozen=True, kw_only=True)
class RunOptions(SeriesOptions, EngineOptions, WorkloadOptions):
    """Options of `training run`."""

    accelerator_type: str = opt(
        MISSING, "Emulated accelerator: a100, h100, b200, mi355.", short="-g", group=WHAT
    )
    num_accelerators: int = opt(
        MISSING, "Emulated accelerators over all hosts: one process each.", short="-na", group=WHAT
    )
    trial: bool = opt(
        False, "A small run of about a minute; generates its data; never a valid size.", group=WHAT
    )
    drop_caches: str = opt("auto", "Before each epoch: auto, system, files or off.", group=HOW)
    loops: int = opt(
        1, "Measured runs; more than one are a set, with a warm-up run before them.", group=HOW
    )
    no_warm_up: bool = opt(False, "Leave the warm-up run of --loops out.", group=HOW)
    closed: bool = opt(False, "Judge by the rules of the CLOSED division.", group=JUDGE)
    open: bool = opt(False, "Judge by the rules of the OPEN division (the default).", group=JUDGE)
    allow_invalid_params: bool = opt(
        False, "Run although the plan is INVALID, and exit 0.", short="-aip", group=JUDGE
    )


@dataclass(frozen=True, kw_only=True)
class ConfigviewOptions(RunOptions):
    """Options of `training configview`: those of `run`."""
