"""The commands of `mlpstorage vectordb`: each turns options into an answer or measurements."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.clients import asked_clients, checked_count, free_bytes
from mlpstorage.kinds.repetition import Repetition, measured_runs
from mlpstorage.kinds.vectordb.backends import BACKENDS, backend_named
from mlpstorage.kinds.vectordb.dataset_choice import data_folder, resolved_data
from mlpstorage.kinds.vectordb.sizing import (
    MEMORY_FACTOR,
    dataset_bytes,
    size_index,
    truth_hours,
)
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpstorage.core.run import Turn
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.kinds.vectordb.options import DatagenOptions, DatasizeOptions, RunOptions
    from mlpstorage.kinds.vectordb.sizing import Sizing
    from mlpstorage.kinds.vectordb.workload import Workload

_MOST_LOOPS = 10_000
_MOST_SHARDS = 1_000_000


def datasize(options: DatasizeOptions, _sources: Mapping[str, str]) -> Answer:
    """Memory, disk, peak disk and hours, of the data and of every backend's index."""
    checked_count(options.num_shards, "--num-shards", _MOST_SHARDS)
    resolved = resolved_data(options)
    workload = resolved.workload
    chosen = backend_named(options.vdb_engine)
    chosen.index(options.index_type)
    resolved.build_parameters(chosen.index(options.index_type), chosen.name)
    cores = usable_cpus()
    sizings = [
        size_index(b, index, workload, workload.index if b is chosen else {}, cores)
        for b in BACKENDS
        for index in b.indexes
    ]
    clients = asked_clients(options)
    raw = workload.dataset.num_vectors * workload.dataset.dimension * 4
    folder = data_folder(options, workload)
    commands = _next_commands(options)
    document: dict[str, Any] = {
        "scale": workload.model,
        "num_vectors": workload.dataset.num_vectors,
        "dimension": workload.dataset.dimension,
        "raw_bytes": raw,
        "dataset_bytes": dataset_bytes(workload),
        "truth_hours": truth_hours(workload, cores),
        "cores": cores,
        "client_memory_bytes": clients.sizing_bytes,
        "exceeds_memory": raw >= MEMORY_FACTOR * clients.sizing_bytes,
        "free_bytes": free_bytes(folder),
        "backends": [asdict(sizing) for sizing in sizings],
        "commands": commands,
    }
    sections = (
        _data_section(document, workload),
        _backend_section(sizings),
        Section("next", lines=tuple(commands)),
    )
    return Answer(sections, document)


def _data_section(document: dict[str, Any], workload: Workload) -> Section:
    data = workload.dataset
    enough = document["exceeds_memory"]
    memory = format_bytes(document["client_memory_bytes"])
    return Section(
        f"vectors: {document['scale']}, {data.num_vectors} × {data.dimension}",
        rows=(
            Row("vectors", format_bytes(document["raw_bytes"]), data.distribution),
            Row("all files", format_bytes(document["dataset_bytes"]), "with queries and truth"),
            Row("free", format_bytes(document["free_bytes"])),
            Row(
                "exact neighbours",
                format_seconds(3600 * document["truth_hours"]),
                f"of {data.gt_queries} queries, on {document['cores']:g} cores",
            ),
            Row(
                "memory",
                memory,
                f"the vectors are {'' if enough else 'not '}{MEMORY_FACTOR} × as large"
                + ("" if enough else ": CLOSED needs --memory-cap"),
            ),
        ),
    )


def _backend_section(sizings: Sequence[Sizing]) -> Section:
    body = tuple(
        (
            f"{sizing.backend} {sizing.index}",
            format_bytes(sizing.memory_bytes),
            format_bytes(sizing.disk_bytes),
            format_bytes(sizing.build_disk_bytes),
            format_seconds(3600 * sizing.build_hours),
        )
        for sizing in sizings
    )
    head = ("backend", "memory", "disk", "peak disk", "build, about")
    return Section("indexes", table=Table(head, body))


def _next_commands(options: DatasizeOptions) -> list[str]:
    """The datagen and run commands that go with this size; a test parses them."""
    words: list[str] = []
    for flag, value in (
        ("--config", options.config),
        ("--scale", "" if options.config else options.scale),
        ("--workload-file", options.workload_file),
        ("--num-vectors", str(options.num_vectors or "")),
        ("--dimension", str(options.dimension or "")),
        ("--metric-type", options.metric_type),
        ("--distribution", options.distribution),
        ("--seed", options.seed),
        ("--dataset", options.dataset),
        ("--dataset-queries", options.dataset_queries),
        ("--data-dir", options.data_dir),
        ("--results-dir", options.results_dir if options.results_dir != "results" else ""),
        ("--hosts", ",".join(options.hosts)),
    ):
        words += [flag, value] if value else []
    engine = ["--vdb-engine", options.vdb_engine]
    engine += ["--index-type", options.index_type] if options.index_type else []
    params = ["--params", *options.params] if options.params else []
    start = ["mlpstorage", "vectordb"]
    return [
        shlex.join([*start, "datagen", *words, *params]),
        shlex.join([*start, "run", *words, *engine, *params]),
    ]


def datagen(options: DatagenOptions, _sources: Mapping[str, str]) -> Sequence[Measurement]:
    """One generation of a data set."""
    from mlpstorage.kinds.vectordb.datagen import VectorDatagen

    return [VectorDatagen(options)]


def run(options: RunOptions, _sources: Mapping[str, str]) -> Sequence[Measurement] | Repetition:
    """The benchmark, once, or a set of `--loops` runs."""
    from mlpstorage.kinds.vectordb.run import VectorRun

    count = checked_count(options.loops, "--loops", _MOST_LOOPS)
    if count == 1:
        return [VectorRun(options)]
    return Repetition(
        make=lambda turn: VectorRun(_of_turn(options, turn), seed=turn.seed),
        roles=measured_runs(count),
    )


def _of_turn(options: RunOptions, turn: Turn) -> RunOptions:
    """The later runs of a set search what the first has built."""
    return options if turn.number == 1 else replace(options, rebuild=False)
