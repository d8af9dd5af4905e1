"""What a model's checkpoint is: typed figures, read from one YAML file per model.

The names of sections and parameters are DLIO's, so that `--params` of the reference tool work.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlpstorage.config import assignments, convert, load_yaml, parse_yaml
from mlpstorage.core.errors import ConfigurationError, UsageError, did_you_mean
from mlpstorage.kinds.checkpointing.layout import ALIGNMENT, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.config import Document

# Upper bounds keep a slip of the finger from becoming years or petabytes; no system reaches them.
MOST_PROCESSES = 65_536
Positive = Annotated[int, Meta(ge=1, le=10**6)]
Size = Annotated[int, Meta(ge=1, le=10**7)]
Threads = Annotated[int, Meta(ge=1, le=256)]
Checkpoints = Annotated[int, Meta(ge=0, le=10_000)]
# `$` would let a newline through.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]
ItemType = Literal["fp8", "fp16", "bf16", "fp32", "fp64"]
_ITEM_BYTES = {"fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
_SECTIONS = ("model", "checkpoint")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of a workload file: frozen, and strict about its names."""


class Transformer(_Section, frozen=True):
    """The shape of the model's layers."""

    hidden_size: Size
    ffn_hidden_size: Size
    num_attention_heads: Positive
    num_kv_heads: Positive
    vocab_size: Annotated[int, Meta(ge=1, le=10**9)]


class Parallelism(_Section, frozen=True):
    """How the model is cut; `data` is how many copies the published run has."""

    tensor: Positive = 1
    pipeline: Positive = 1
    data: Positive = 1
    zero_stage: Literal[1, 2, 3] = 1


class Model(_Section, frozen=True):
    """The model whose state is written."""

    name: Name
    num_layers: Annotated[int, Meta(ge=1, le=10_000)]
    transformer: Transformer
    parallelism: Parallelism
    model_datatype: ItemType = "fp16"
    optimizer_datatype: ItemType = "fp32"


class Checkpoint(_Section, frozen=True):
    """How checkpoints are written and read.

    `block_size` is the bytes of one call, of which `write_threads` or `read_threads` run at a time
    in each rank; `odirect` bypasses the page cache; `recovery_rank_shift` lets each rank read what
    another host has written.
    """

    num_checkpoints_write: Checkpoints = 10
    num_checkpoints_read: Checkpoints = 10
    time_between_checkpoints: Annotated[float, Meta(ge=0, le=86_400)] = 5.0
    fsync: bool = True
    mode: Literal["default", "subset"] = "default"
    recovery_rank_shift: bool = True
    checkpoint_folder: str = ""
    write_threads: Threads = 4
    read_threads: Threads = 4
    block_size: Annotated[int, Meta(ge=4096, le=1 << 30)] = 8 << 20
    odirect: bool = True


class Processes(_Section, frozen=True):
    """How many processes CLOSED asks for, and of what OPEN takes any multiple."""

    closed: Positive
    step: Positive


class Published(_Section, frozen=True):
    """The size that was published, as it was written and in GiB; a note where it differs."""

    size: str
    gib: Annotated[float, Meta(gt=0)]
    note: str = ""


class Workload(_Section, frozen=True):
    """All figures of one model; immutable."""

    edition: Annotated[str, Meta(pattern=r"^[ -~]+\Z")]
    model: Model
    checkpoint: Checkpoint = Checkpoint()
    processes: Processes | None = None
    published: Published | None = None


@dataclass(frozen=True)
class ResolvedWorkload:
    """A workload, the document it came from (with sources), and what the user overrode."""

    workload: Workload
    document: Document
    overrides: dict[str, Any]


def packaged_models() -> tuple[str, ...]:
    """The names of the workloads that the package ships, sorted.

    >>> packaged_models()
    ('llama3-1t', 'llama3-405b', 'llama3-70b', 'llama3-8b')
    """
    folder = resources.files(__package__) / "workloads"
    return tuple(
        sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def resolve_workload(
    model: str,
    params: Sequence[str] = (),
    *,
    workload_file: Path | None = None,
    flags: Document | None = None,
) -> ResolvedWorkload:
    """The workload of a model, with the user's parameters laid over it.

    Args:
        model: Name of a packaged workload, or of the user's file.
        params: `section.key=value` words.
        workload_file: The user's own file in the same schema, instead of a packaged one.
        flags: Values that flags of their own give; the strongest layer.

    Raises:
        UsageError: unknown model, or a parameter is wrong.
        MlpstorageError: the file is wrong or cannot be read.
    """
    file = load_yaml(workload_file) if workload_file else _packaged(model)
    where = str(workload_file or f"{model}.yaml")
    overrides = assignments(params, "--params")
    for name in overrides.values:
        if name not in _SECTIONS:
            raise UsageError(
                f"--params: unknown section {name!r}", fix=did_you_mean(name, _SECTIONS)
            )
    document = file.layered(overrides)
    document = document.layered(flags) if flags else document
    workload = convert(document, Workload, where)
    if workload.model.name != model:
        raise UsageError(
            f"{where} describes {workload.model.name}, not {model}",
            fix=f"pass --model {workload.model.name}",
        )
    _check_shape(workload.model, where)
    _check_block(workload.checkpoint.block_size, document, where)
    return ResolvedWorkload(workload, document, dict(overrides.leaves()))


def _packaged(model: str) -> Document:
    models = packaged_models()
    if model not in models:
        raise UsageError(f"unknown model {model!r}", fix=did_you_mean(model, models))
    text = (resources.files(__package__) / "workloads" / f"{model}.yaml").read_text("utf-8")
    return parse_yaml(text, f"{model}.yaml")


def _check_shape(model: Model, where: str) -> None:
    """Refuse what no training could have written."""
    cut, shape = model.parallelism, model.transformer
    if cut.zero_stage == 3 and cut.pipeline > 1:  # noqa: PLR2004 (the stage that cuts the model)
        raise ConfigurationError(
            f"{where}: model.parallelism combines zero_stage 3 with {cut.pipeline} pipeline stages",
            why="ZeRO stage 3 cuts the whole model over all ranks",
            fix="use zero_stage 1 or 2, or pipeline 1",
        )
    if cut.pipeline > model.num_layers:
        raise ConfigurationError(
            f"{where}: {cut.pipeline} pipeline stages for {model.num_layers} layers",
            fix="lower model.parallelism.pipeline, or raise model.num_layers",
        )
    if shape.num_attention_heads > shape.hidden_size:
        raise ConfigurationError(
            f"{where}: {shape.num_attention_heads} heads in a hidden size of {shape.hidden_size}",
            fix="lower model.transformer.num_attention_heads",
        )


def _check_block(block_bytes: int, document: Document, where: str) -> None:
    """Refuse a block that direct I/O cannot move."""
    if block_bytes % ALIGNMENT:
        at = document.sources.get("checkpoint.block_size", where)
        raise ConfigurationError(
            f"{at}: checkpoint.block_size is {block_bytes}",
            fix=f"give it a multiple of {ALIGNMENT}",
        )


def layout_of(workload: Workload, processes: int) -> Layout:
    """How the checkpoint lies when so many processes run.

    In the default mode the number of copies follows from the processes; in subset mode the first
    processes of the published layout run.

    Raises:
        UsageError: the processes do not make up whole copies of the model, or are too many.
    """
    model, cut = workload.model, workload.model.parallelism
    parts = cut.tensor * cut.pipeline
    if workload.checkpoint.mode == "subset":
        copies = cut.data
        if processes > parts * copies:
            raise UsageError(
                f"--num-processes is {processes}, but the whole of {model.name} has "
                f"{parts * copies}",
                fix="leave --checkpoint-subset out, or start fewer processes",
            )
    else:
        copies, rest = divmod(processes, parts)
        if rest or not copies:
            raise UsageError(
                f"--num-processes is {processes}: {model.name} is cut into {parts} parts "
                f"(tensor {cut.tensor} × pipeline {cut.pipeline})",
                why="every copy of the model needs all of its parts",
                fix=f"start a multiple of {parts} processes"
                f"{f' ({workload.processes.closed} in CLOSED)' if workload.processes else ''}, "
                "or declare --checkpoint-subset: the first processes of the whole",
            )
    return Layout(
        num_layers=model.num_layers,
        tensor=cut.tensor,
        pipeline=cut.pipeline,
        data=copies,
        zero_stage=cut.zero_stage,
        model_item_bytes=_ITEM_BYTES[model.model_datatype],
        optimizer_item_bytes=_ITEM_BYTES[model.optimizer_datatype],
        processes=processes,
        **msgspec.structs.asdict(model.transformer),
    )


def accelerator_memory_bytes(accelerator: str) -> int:
    """The memory of one accelerator in bytes.

    >>> accelerator_memory_bytes("b200")
    180000000000

    Raises:
        UsageError: it is not in the table.
    """
    text = (resources.files(__package__) / "accelerators.yaml").read_text("utf-8")
    table = parse_yaml(text, "accelerators.yaml").values
    if accelerator not in table:
        raise UsageError(
            f"unknown accelerator {accelerator!r}", fix=did_you_mean(accelerator, table)
        )
    return int(table[accelerator]) * 10**9
