"""The commands of `mlpstorage checkpointing`: each turns options into an answer or measurements."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import GIB, format_bytes
from mlpstorage.kinds.checkpointing.choice import (
    asked_workload,
    checked_processes,
    checkpoint_folder,
    ranks_per_host,
)
from mlpstorage.kinds.checkpointing.layout import sizes_of
from mlpstorage.kinds.checkpointing.rules import MEMORY_FACTOR, MOST_GAP_SECONDS
from mlpstorage.kinds.checkpointing.workload import layout_of
from mlpstorage.kinds.clients import asked_clients, checked_count, free_bytes
from mlpstorage.kinds.repetition import READ, WRITE, Repetition, measured_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpstorage.kinds.checkpointing.layout import Layout, Sizes
    from mlpstorage.kinds.checkpointing.options import (
        ConfigviewOptions,
        DatasizeOptions,
        RunOptions,
    )
    from mlpstorage.kinds.checkpointing.workload import Workload
    from mlpstorage.kinds.measurement import Measurement

MOST_LOOPS = 10_000
# How far a published size may be from the derived one before it is called different.
_ROUNDING = 0.01


def datasize(options: DatasizeOptions, _sources: Mapping[str, str]) -> Answer:
    """The sizes of a checkpoint in all, per process and per host, and the command to use next."""
    workload = asked_workload(options).workload
    layout = layout_of(workload, checked_processes(options.num_processes))
    sizes = sizes_of(layout)
    clients = asked_clients(options)
    per_host = ranks_per_host(clients, options.num_processes)
    memory = clients.sizing_bytes // clients.count
    command = _next_command(options)
    writes = workload.checkpoint.num_checkpoints_write
    folder = options.checkpoint_folder or workload.checkpoint.checkpoint_folder
    document: dict[str, Any] = {
        "model": workload.model.name,
        "edition": workload.edition,
        "num_processes": layout.processes,
        "num_client_hosts": clients.count,
        "parameters": sizes.parameters,
        "parallelism": {
            "tensor": layout.tensor,
            "pipeline": layout.pipeline,
            "data": layout.data,
            "zero_stage": layout.zero_stage,
        },
        "mode": workload.checkpoint.mode,
        "model_bytes": sizes.model_bytes,
        "optimizer_bytes": sizes.optimizer_bytes,
        "checkpoint_bytes": sizes.total_bytes,
        "checkpoint_GiB": sizes.total_bytes / GIB,
        "files": sizes.files,
        "least_rank_bytes": sizes.least_rank_bytes,
        "most_rank_bytes": sizes.most_rank_bytes,
        "bytes_per_host": sizes.total_bytes * max(per_host) // layout.processes,
        "client_memory_bytes": memory,
        "num_checkpoints_write": writes,
        "total_disk_bytes": writes * sizes.total_bytes,
        "free_bytes": free_bytes(checkpoint_folder(options, workload)) if folder else None,
        "published_size": workload.published.size if workload.published else None,
        "published_note": _published_note(workload, sizes),
        "commands": [command],
    }
    return Answer((_size_section(document, layout), Section("next", lines=(command,))), document)


def _published_note(workload: Workload, sizes: Sizes) -> str:
    """What to know of the published size, where it is not the derived one in GiB."""
    published = workload.published
    if published is None or workload.checkpoint.mode == "subset":
        return ""
    off = published.gib / (sizes.total_bytes / GIB) - 1
    differs = f"{100 * off:+.0f} % against the derived size" if abs(off) > _ROUNDING else ""
    if not differs and not published.note:
        return "in GiB"
    return ": ".join(part for part in (differs, published.note) if part)


def _size_section(document: dict[str, Any], layout: Layout) -> Section:
    free, needed = document["free_bytes"], document["total_disk_bytes"]
    memory, on_host = document["client_memory_bytes"], document["bytes_per_host"]
    enough = on_host >= MEMORY_FACTOR * memory
    published = document["published_size"]
    return Section(
        f"checkpoint of {document['model']} from {layout.processes} processes",
        rows=(
            Row("parameters", f"{document['parameters'] / 1e9:.3f} billion"),
            Row(
                "cut",
                f"{layout.tensor} × {layout.pipeline} × {layout.data}",
                f"tensor × pipeline × data, ZeRO stage {layout.zero_stage}",
            ),
            Row("model", format_bytes(document["model_bytes"]), f"{document['model_bytes']} bytes"),
            Row(
                "optimizer",
                format_bytes(document["optimizer_bytes"]),
                f"{document['optimizer_bytes']} bytes",
            ),
            Row(
                "checkpoint",
                f"{document['checkpoint_GiB']:.1f} GiB",
                f"{document['checkpoint_bytes']} bytes in {document['files']} files",
            ),
            *((Row("published", published, document["published_note"]),) if published else ()),
            Row(
                "each process",
                format_bytes(document["most_rank_bytes"]),
                f"at most; {format_bytes(document['least_rank_bytes'])} at least",
            ),
            Row(
                "each host",
                format_bytes(on_host),
                f"{on_host / memory:.1f} × its memory: caches "
                f"{'need not' if enough else 'have to'} be dropped before reading",
            ),
            Row(
                "disk",
                format_bytes(needed),
                f"for {document['num_checkpoints_write']} checkpoints",
            ),
            *(
                ()
                if free is None
                else (
                    Row(
                        "free",
                        format_bytes(free),
                        "enough" if free >= needed else f"{format_bytes(needed - free)} too little",
                    ),
                )
            ),
        ),
    )


def _next_command(options: DatasizeOptions) -> str:
    """The run command that goes with this size; a test parses it."""
    words = ["mlpstorage", "checkpointing", "run", "--model", options.model]
    if options.workload_file:
        words += ["--workload-file", options.workload_file]
    words += ["--num-processes", str(options.num_processes)]
    words += ["--checkpoint-folder", options.checkpoint_folder or "CHECKPOINT_FOLDER"]
    if options.checkpoint_subset:
        words += ["--checkpoint-subset"]
    if options.accelerator_type:
        words += ["--accelerator-type", options.accelerator_type]
    for count, flag in (
        (options.num_checkpoints_write, "--num-checkpoints-write"),
        (options.num_checkpoints_read, "--num-checkpoints-read"),
    ):
        words += [flag, str(count)] if count >= 0 else []
    if options.results_dir != "results":
        words += ["--results-dir", options.results_dir]
    if options.hosts:
        words += ["--hosts", ",".join(options.hosts)]
    if options.client_host_memory_in_gb:
        words += ["--client-host-memory-in-gb", options.client_host_memory_in_gb]
    if options.params:
        words += ["--params", *options.params]
    return shlex.join(words)


def run(options: RunOptions, _sources: Mapping[str, str]) -> Sequence[Measurement] | Repetition:
    """The benchmark, once, or a set: `--loops` times, or writing and reading in a run each.

    Raises:
        UsageError: nothing would be written, or nothing read, with `--split`.
    """
    from mlpstorage.kinds.checkpointing.run import CheckpointRun

    count = checked_count(options.loops, "--loops", MOST_LOOPS)
    if options.split:
        if 0 in (options.num_checkpoints_write, options.num_checkpoints_read):
            raise UsageError(
                "--split needs checkpoints to write and to read", fix="leave --split out"
            )
        return Repetition(
            make=lambda turn: CheckpointRun(_phase_of(options, turn.role), turn.seed),
            roles=(WRITE, READ) * count,
            longest_gap=lambda _durations: MOST_GAP_SECONDS,
        )
    if count == 1:
        return [CheckpointRun(options)]
    return Repetition(
        make=lambda turn: CheckpointRun(options, turn.seed), roles=measured_runs(count)
    )


def _phase_of(options: RunOptions, role: str) -> RunOptions:
    if role == WRITE:
        return replace(options, num_checkpoints_read=0)
    return replace(options, num_checkpoints_write=0)


def configview(options: ConfigviewOptions, sources: Mapping[str, str]) -> Answer:
    """Every value of options and workload, and the layer it came from."""
    import msgspec

    resolved = asked_workload(options)
    layout_of(resolved.workload, checked_processes(options.num_processes))
    workload = msgspec.to_builtins(resolved.workload)
    values = dict(_leaves(workload, ""))
    origin = resolved.document.sources
    rows = tuple(Row(n, str(v), origin.get(n, "default")) for n, v in values.items())
    chosen = {name: value for name, value in asdict(options).items() if name in sources}
    given = tuple(Row(n, _shown(v), sources[n]) for n, v in sorted(chosen.items()))
    title = f"{resolved.workload.model.name} (edition {resolved.workload.edition})"
    return Answer(
        (Section(title, rows=rows), Section("options", rows=given)),
        {
            "workload": workload,
            "sources": {name: origin.get(name, "default") for name in values},
            "options": {n: {"value": v, "source": sources[n]} for n, v in chosen.items()},
        },
    )


def _leaves(values: Mapping[str, Any], above: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        full = f"{above}{name}"
        found += _leaves(value, f"{full}.") if isinstance(value, dict) else [(full, value)]
    return found


def _shown(value: Any) -> str:  # noqa: ANN401 (an option's value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
