"""The benchmark kinds: what each is called and where its commands live.

Nothing heavy is imported here: help and completion read this page alone.
"""

from __future__ import annotations

from mlpstorage.core.commands import command_group

KINDS = (
    command_group(
        "training",
        "Training: how many emulated accelerators can storage feed?",
        "mlpstorage.kinds.training",
        datasize="Work out the least valid data set, and the commands to use next.",
        datagen="Generate a data set, or go on where a killed generation stopped.",
        run="Run the benchmark on a generated data set.",
        configview="Show every value and where it came from.",
    ),
    command_group(
        "checkpointing",
        "Checkpoints of large models: how fast written and read back?",
        "mlpstorage.kinds.checkpointing",
        datasize="Work out how large a checkpoint is, in all, per process and per host.",
        run="Write checkpoints, and read them back.",
        configview="Show every value and where it came from.",
    ),
    command_group(
        "vectordb",
        "Vector search: how many queries per second, at what recall?",
        "mlpstorage.kinds.vectordb",
        datasize="Work out memory, disk and hours, for every backend.",
        datagen="Make vectors, queries and their exact neighbours, or go on with them.",
        run="Load and index if needed, then search with more and more clients.",
    ),
    command_group(
        "kvcache",
        "KV cache of LLM inference: how many users can storage serve?",
        "mlpstorage.kinds.kvcache",
        datasize="Work out space, memory, time, and what the plan's hits and bytes will be.",
        run="Fill a cache, and serve users from it.",
    ),
)
