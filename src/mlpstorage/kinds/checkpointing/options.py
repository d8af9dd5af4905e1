"""The options of `mlpstorage checkpointing …`, one dataclass per command."""

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
    """Which model, over how many processes, and where its checkpoints are."""

    model: str = opt(
        MISSING,
        "Model: llama3-8b, llama3-70b, llama3-405b, llama3-1t, or of --workload-file.",
        short="-m",
        group=WHAT,
    )
    num_processes: int = opt(
        MISSING, "Processes over all hosts: one per emulated accelerator.", short="-np", group=WHAT
    )
    workload_file: str = opt("", "Your own model file (YAML, same schema).", group=WHAT)
    params: tuple[str, ...] = opt(
        (), "Parameters of the workload, as section.key=value.", short="-p", group=WHAT, many=True
    )
    accelerator_type: str = opt(
        "", "Emulated accelerator, whose memory must hold the model.", short="-at", group=WHAT
    )
    checkpoint_subset: bool = opt(
        False, "Run the first processes of a larger model only.", group=WHAT
    )
    num_checkpoints_write: int = opt(
        -1, "Checkpoints to write, 0 for none; 10 by default.", short="-ncw", group=WHAT
    )
    num_checkpoints_read: int = opt(
        -1, "Checkpoints to read, 0 for none; 10 by default.", short="-ncr", group=WHAT
    )
    checkpoint_folder: str = opt(
        "",
        "Directory of the checkpoints; the model's name is appended.",
        short="-cf",
        group=WHERE,
    )


@dataclass(frozen=True, kw_only=True)
class DatasizeOptions(ClusterOptions, WorkloadOptions):
    """Options of `checkpointing datasize`."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(SeriesOptions, LaunchOptions, WorkloadOptions):
    """Options of `checkpointing run`."""

    engine: str = opt("native", "What writes and reads: native, or dlio.", group=HOW)
    dlio_path: str = opt(
        "", "Directory of a DLIO source tree that has a checkpoint workload.", group=HOW
    )
    drop_caches: str = opt("auto", "Before each read: auto, system, files or off.", group=HOW)
    verify: str = opt(
        "stamps",
        "What of the data read is compared: stamps, full (reads twice) or off.",
        group=HOW,
    )
    loops: int = opt(1, "Measured runs; more than one are a set.", group=HOW)
    split: bool = opt(
        False, "Write in one run, and read in another that begins at once.", group=HOW
    )
    closed: bool = opt(False, "Judge by the rules of the CLOSED division.", group=JUDGE)
    open: bool = opt(False, "Judge by the rules of the OPEN division (the default).", group=JUDGE)
    allow_invalid_params: bool = opt(
        False, "Run although the plan is INVALID, and exit 0.", short="-aip", group=JUDGE
    )


@dataclass(frozen=True, kw_only=True)
class ConfigviewOptions(RunOptions):
    """Options of `checkpointing configview`: those of `run`."""
