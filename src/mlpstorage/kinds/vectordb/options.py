"""The options of `mlpstorage vectordb …`, one dataclass per command."""

from __future__ import annotations

from dataclasses import dataclass

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
class DataOptions:
    """Which vectors, and where they are."""

    scale: str = opt(
        "tiny",
        "Scale: tiny, dev, small, closed-1m, closed-10m, closed-100m, or of --workload-file.",
        short="-m",
        group=WHAT,
    )
    config: str = opt(
        "", "A configuration of the reference tool instead: default or 10m.", group=WHAT
    )
    workload_file: str = opt("", "Your own scale (YAML, same schema).", group=WHAT)
    num_vectors: int = opt(0, "Vectors, instead of the scale's.", group=WHAT)
    dimension: int = opt(0, "Numbers per vector, instead of the scale's.", group=WHAT)
    metric_type: str = opt("", "COSINE, L2 or IP, instead of the scale's.", group=WHAT)
    distribution: str = opt(
        "", "clustered, uniform, normal or zipfian, instead of the scale's.", group=WHAT
    )
    seed: str = opt("", "Seed of the vectors, instead of the scale's.", group=WHAT)
    dataset: str = opt(
        "",
        "Real vectors instead: a file .hdf5 (ann-benchmarks), .fbin, .u8bin, .i8bin, .fvecs, "
        ".npy or .parquet.",
        group=WHAT,
    )
    dataset_queries: str = opt(
        "", "File of queries for --dataset; else some of its vectors are held out.", group=WHAT
    )
    params: tuple[str, ...] = opt(
        (),
        "Parameters: dataset.key=value, search.key=value; index.key=value and query.key=value are "
        "the backend's.",
        short="-p",
        group=WHAT,
        many=True,
    )
    data_dir: str = opt(
        "vectors", "Directory of the data sets; the scale's name is appended.", short="-dd",
        group=WHERE,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """Which engine, which index, and where they are."""

    vdb_engine: str = opt("zvec", "Backend: see `vectordb datasize` for all of them.", group=WHAT)
    index_type: str = opt("", "Index of the backend; its first by default.", group=WHAT)


@dataclass(frozen=True, kw_only=True)
class DatasizeOptions(DataOptions, BackendOptions, ClusterOptions):
    """Options of `vectordb datasize`."""

    num_shards: int = opt(1, "Shards; they part the vectors and do not multiply them.", group=WHAT)


@dataclass(frozen=True, kw_only=True)
class DatagenOptions(DataOptions, LaunchOptions):
    """Options of `vectordb datagen`."""

    num_processes: int = opt(
        0,
        "Generating processes over all hosts; one per usable CPU by default.",
        short="-np",
        group=HOW,
    )
    gt_queries: int = opt(0, "Queries with exact neighbours, instead of the scale's.", group=WHAT)
    query_pool: int = opt(0, "Queries in all, instead of the scale's.", group=WHAT)
    vector_dtype: str = opt("FLOAT_VECTOR", "Type of the vectors: FLOAT_VECTOR.", group=WHAT)
    num_shards: int = opt(1, "Without effect here: vectors are made in one file.", group=HOW)
    batch_size: int = opt(
        1000, "Without effect here: `run` loads, see its --load-batch-size.", group=HOW
    )
    chunk_size: int = opt(
        10_000, "Without effect here: the data do not depend on how they are made.", group=HOW
    )
    force: bool = opt(False, "Replace another data set that is in the way.", group=HOW)


@dataclass(frozen=True, kw_only=True)
class RunOptions(DataOptions, BackendOptions, SeriesOptions, LaunchOptions):
    """Options of `vectordb run`."""

    collection: str = opt("", "Name of the collection; by engine and index if empty.", group=WHERE)
    storage_root: str = opt(
        "", "Where an embedded engine keeps its index; beside the data if empty.", group=WHERE
    )
    host: str = opt("127.0.0.1", "Host of a database server.", group=WHERE)
    port: int = opt(0, "Port of a database server; the engine's usual one by default.", group=WHERE)
    num_query_processes: str = opt(
        "", "Clients of each point, such as 1,2,4,8; the scale's by default.", group=HOW
    )
    batch_size: int = opt(1, "Queries per request.", group=HOW)
    load_batch_size: int = opt(0, "Vectors per load call; a block of 16384 by default.", group=HOW)
    search_limit: int = opt(0, "Neighbours per query (k), instead of the scale's.", group=WHAT)
    target_recall: str = opt("", "Recall to calibrate for, instead of the scale's.", group=WHAT)
    runtime: str = opt("", "Measured seconds of each point, instead of the scale's.", group=HOW)
    queries: int = opt(0, "End each point after so many queries instead of --runtime.", group=HOW)
    ramp: str = opt("", "Seconds before each measured window, not counted.", group=HOW)
    report_count: int = opt(
        100, "Without effect: progress is shown by time, not by batches.", group=HOW
    )
    arrivals: str = opt(
        "closed",
        "closed: each client asks again when it is answered; open: at random times (--rates).",
        group=HOW,
    )
    rates: str = opt(
        "50%,70%,80%,90%",
        "Open loop: requests/s over all clients, or shares of the closed loop's most.",
        group=HOW,
    )
    cache_state: str = opt("cold", "State of caches before each point: cold or warm.", group=HOW)
    memory_cap: str = opt(
        "",
        "Most memory of the engine with its page cache, as a size or as a share of the index "
        "(25%); needs the right to make a control group.",
        group=HOW,
    )
    rebuild: bool = opt(False, "Load and index anew, although there is a collection.", group=HOW)
    loops: int = opt(1, "Runs; more than one are a set.", group=HOW)
    closed: bool = opt(False, "Judge by the rules of the CLOSED division.", group=JUDGE)
    open: bool = opt(False, "Judge by the rules of the OPEN division (the default).", group=JUDGE)
    allow_invalid_params: bool = opt(
        False, "Run although the plan is INVALID, and exit 0.", short="-aip", group=JUDGE
    )
