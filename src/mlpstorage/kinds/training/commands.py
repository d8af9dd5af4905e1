"""The commands of `mlpstorage training`: each turns options into an answer or measurements."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlpstorage.config import Document
from mlpstorage.core.errors import UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import GIB, format_bytes
from mlpstorage.engine.dataset import MOST_FILES
from mlpstorage.kinds.clients import asked_clients, checked_count, clients_of, free_bytes
from mlpstorage.kinds.repetition import Repetition, gap_of_a_run, measured_runs
from mlpstorage.kinds.training.datagen import TrainingDatagen, checked_processes
from mlpstorage.kinds.training.dataset_choice import (
    MOST_ACCELERATORS,
    data_folder,
    dataset_spec,
    fitting_trial,
    total_bytes,
)
from mlpstorage.kinds.training.reference import NATIVE, ReferenceRun, engine_options
from mlpstorage.kinds.training.reference_datagen import ReferenceDatagen
from mlpstorage.kinds.training.run import TrainingRun
from mlpstorage.kinds.training.sizing import (
    needed_bytes_per_second,
    size_dataset,
    with_files,
)
from mlpstorage.kinds.training.workload import (
    default_accelerator,
    resolve_workload,
    workload_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpstorage.kinds.clients import Clients
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.kinds.training.options import (
        ConfigviewOptions,
        DatagenOptions,
        DatasizeOptions,
        RunOptions,
    )
    from mlpstorage.kinds.training.sizing import (
        Sizing,
    )
    from mlpstorage.kinds.training.workload import (
        ResolvedWorkload,
    )


MOST_LOOPS = 10_000


def datasize(options: DatasizeOptions, _sources: Mapping[str, str]) -> Answer:
    """The least valid data set for a number of accelerators, and the commands to use next."""
    checked_count(options.max_accelerators, "--max-accelerators", MOST_ACCELERATORS)
    resolved = resolve_workload(
        options.model,
        options.accelerator_type,
        options.params,
        workload_file=workload_path(options.workload_file),
        data_format=options.format,
    )
    workload = resolved.workload
    clients = asked_clients(options)
    sizing = size_dataset(workload, options.max_accelerators, clients.sizing_bytes)
    if workload.dataset.num_files_train:
        chosen = workload.dataset.num_files_train
        sizing = with_files(workload, options.max_accelerators, clients.sizing_bytes, chosen)
    if sizing.files > MOST_FILES:
        raise UsageError(
            f"{sizing.files} files would be needed; a data set has at most {MOST_FILES}",
            why=f"the {sizing.binds} of {options.max_accelerators} accelerators decide",
            fix="plan for fewer accelerators or less memory, or put more samples into a file: "
            "--params dataset.num_samples_per_file=N",
        )
    true_bytes = total_bytes(dataset_spec(workload, sizing.files))
    folder = data_folder(options.data_dir, workload.model) if options.data_dir else None
    free = free_bytes(folder) if folder else None
    commands = _next_commands(options, sizing)
    rate = needed_bytes_per_second(workload)
    document: dict[str, Any] = {
        "model": workload.model,
        "accelerator": workload.accelerator,
        "edition": workload.edition,
        "max_accelerators": options.max_accelerators,
        "num_client_hosts": clients.count,
        "client_memory_bytes": clients.sizing_bytes,
        "samples_by_steps": sizing.by_steps,
        "samples_by_memory": sizing.by_memory,
        "binds": sizing.binds,
        "num_samples_train": sizing.samples,
        "num_files_train": sizing.files,
        "num_subfolders_train": sizing.subfolders,
        "total_disk_bytes": true_bytes,
        "free_bytes": free,
        "bytes_per_second_per_accelerator": rate,
        "commands": commands,
    }
    sections = (
        _size_section(document, sizing, clients, options.max_accelerators),
        Section("next", lines=tuple(commands)),
    )
    return Answer(sections, document)


def _size_section(
    document: dict[str, Any], sizing: Sizing, clients: Clients, accelerators: int
) -> Section:
    rate = document["bytes_per_second_per_accelerator"]
    free, needed = document["free_bytes"], document["total_disk_bytes"]
    marks = {sizing.binds: "<- decides"}
    room = () if free is None else (Row("free", format_bytes(free), _room(free, needed)),)
    return Section(
        f"training data set: {document['model']} for {accelerators} × {document['accelerator']}",
        rows=(
            Row("by 500 steps", f"{sizing.by_steps} samples", marks.get("steps", "")),
            Row(
                "by 5 × memory",
                f"{sizing.by_memory} samples",
                f"{clients.count} × {_memory(clients)}  {marks.get('memory', '')}".rstrip(),
            ),
            Row("files", str(sizing.files), f"{sizing.samples} samples"),
            Row("subfolders", str(sizing.subfolders)),
            Row("size", format_bytes(needed), f"{needed} bytes"),
            *room,
            Row(
                "each accelerator",
                f"{rate / GIB:.2f} GiB/s",
                f"{rate * accelerators / GIB:.2f} GiB/s for all",
            ),
        ),
    )


def _memory(clients: Clients) -> str:
    whose = "as you say" if clients.declared_bytes is not None else "of the largest host"
    if not clients.hosts and clients.declared_bytes is None:
        whose = "as this host has"
    return f"{format_bytes(clients.sizing_bytes / clients.count)} {whose}"


def _room(free: int, needed: int) -> str:
    return "enough" if free >= needed else f"{format_bytes(needed - free)} too little"


def _next_commands(options: DatasizeOptions, sizing: Sizing) -> list[str]:
    """The datagen and run commands that go with this size; a test parses and runs them."""
    own = [word for word in options.params if not word.startswith("dataset.num_files_train=")]
    own = [word for word in own if not word.startswith("dataset.num_subfolders_train=")]
    common = ["--model", options.model]
    if options.workload_file:
        common += ["--workload-file", options.workload_file]
    common += ["--accelerator-type", options.accelerator_type]
    if options.format:
        common += ["--format", options.format]
    common += ["--data-dir", options.data_dir or "DATA_DIR"]
    if options.results_dir != "results":
        common += ["--results-dir", options.results_dir]
    if options.hosts:
        common += ["--hosts", ",".join(options.hosts)]
    elif options.num_client_hosts:
        common += ["--num-client-hosts", str(options.num_client_hosts)]
    if options.client_host_memory_in_gb:
        common += ["--client-host-memory-in-gb", options.client_host_memory_in_gb]
    size = [f"dataset.num_files_train={sizing.files}"]
    if sizing.subfolders:
        size.append(f"dataset.num_subfolders_train={sizing.subfolders}")
    generate = ["mlpstorage", "training", "datagen", *common, "--params", *own, *size]
    accelerators = ["--num-accelerators", str(options.max_accelerators)]
    run = ["mlpstorage", "training", "run", *common, *accelerators, "--params", *own, *size]
    return [shlex.join(generate), shlex.join(run)]


def datagen(options: DatagenOptions, _sources: Mapping[str, str]) -> Sequence[Measurement]:
    """One generation of a data set."""
    file = workload_path(options.workload_file)
    accelerator = options.accelerator_type or default_accelerator(options.model, file)
    resolved = resolve_workload(
        options.model,
        accelerator,
        options.params,
        workload_file=file,
        data_format=options.format,
    )
    folder = data_folder(options.data_dir, options.model)
    clients = clients_of(options, here=False)
    files = resolved.workload.dataset.num_files_train
    if options.trial:
        files = _trial_size(options, resolved, folder)
    if not files:
        raise UsageError(
            "the number of files is not given",
            why="datagen makes exactly the data set that is asked for",
            fix="use the command that `mlpstorage training datasize` prints: "
            "--params dataset.num_files_train=N, or --trial",
        )
    processes = checked_processes(options.num_processes, clients.count, files)
    options = engine_options(options)
    kind = TrainingDatagen if options.engine == NATIVE else ReferenceDatagen
    return [kind(options, resolved, files, folder, processes, force=options.force)]


def _trial_size(options: DatagenOptions, resolved: ResolvedWorkload, folder: Path) -> int:
    count = checked_count(options.num_accelerators, "--num-accelerators", MOST_ACCELERATORS)
    return fitting_trial(resolved.workload, count, folder)


def run(options: RunOptions, _sources: Mapping[str, str]) -> Sequence[Measurement] | Repetition:
    """The benchmark, once, or a set of a warm-up and `--loops` measured runs."""
    count = checked_count(options.loops, "--loops", MOST_LOOPS)
    options = engine_options(options)
    kind = TrainingRun if options.engine == NATIVE else ReferenceRun
    if count == 1:
        return [kind(options)]
    return Repetition(
        make=lambda turn: kind(options, shuffle_seed=turn.seed, repeat=turn.number - 1),
        roles=measured_runs(count, warm_up=not options.no_warm_up),
        longest_gap=gap_of_a_run,
    )


def configview(options: ConfigviewOptions, sources: Mapping[str, str]) -> Answer:
    """Every value of options and workload, and the layer it came from."""
    resolved = resolve_workload(
        options.model,
        options.accelerator_type,
        options.params,
        workload_file=workload_path(options.workload_file),
        data_format=options.format,
    )
    import msgspec

    workload = msgspec.to_builtins(resolved.workload)
    sections = {name: part for name, part in workload.items() if isinstance(part, dict)}
    values = dict(Document(sections, {}).leaves())
    origin = resolved.document.sources
    rows = tuple(Row(n, _shown(v), origin.get(n, "default")) for n, v in values.items())
    chosen = {name: value for name, value in asdict(options).items() if name in sources}
    given = tuple(Row(n, _shown(v), sources[n]) for n, v in sorted(chosen.items()))
    title = f"{workload['model']} on {workload['accelerator']} (edition {workload['edition']})"
    return Answer(
        (Section(title, rows=rows), Section("options", rows=given)),
        {
            "workload": workload,
            "sources": {name: origin.get(name, "default") for name in values},
            "options": {n: {"value": v, "source": sources[n]} for n, v in chosen.items()},
        },
    )


def _shown(value: Any) -> str:  # noqa: ANN401 (an option's value)
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        # The columns of a table: hundreds of lines that the workload file shows better.
        return f"{len(value)} columns, {sum(column['read'] for column in value)} of them read"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
