"""Which data set a command means: its spec, its folder, and whether it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.config import user_path
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.vectordb.workload import resolve_workload, workload_path

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.engine.vectors.manifest import VectorManifest, VectorSpec
    from mlpstorage.kinds.vectordb.options import DataOptions
    from mlpstorage.kinds.vectordb.workload import ResolvedWorkload, Workload

_HELD_OUT_SHARE = 10
_MOST_HELD_OUT = 10_000


def resolved_data(options: DataOptions, more: dict[str, Any] | None = None) -> ResolvedWorkload:
    """The workload of a command: the scale, what its flags say, and its parameters.

    Raises:
        UsageError: a flag or parameter is wrong.
    """
    if options.config and options.scale != "tiny":
        raise UsageError("--config and --scale exclude each other", fix="leave one of them out")
    flags: dict[str, Any] = {
        "dataset.num_vectors": options.num_vectors,
        "dataset.dimension": options.dimension,
        "dataset.metric": options.metric_type.lower(),
        "dataset.distribution": options.distribution,
    }
    given = {name: value for name, value in flags.items() if value} | (more or {})
    if options.seed:
        given["dataset.seed"] = number_of(options.seed, "--seed")
    return resolve_workload(
        options.config or options.scale,
        given,
        options.params,
        workload_file=workload_path(options.workload_file),
    )


def number_of(text: str, option: str) -> int:
    """The whole number that a word is.

    Raises:
        UsageError: it is none.
    """
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}", fix="give a whole number") from error


def spec_of(options: DataOptions, workload: Workload) -> VectorSpec:
    """The data set that a command asks for.

    Raises:
        MlpstorageError: a file of real vectors is missing, damaged, or does not fit.
    """
    from mlpstorage.engine.vectors.manifest import VectorSpec

    data = workload.dataset
    if options.dataset:
        return _real_spec(options, workload)
    if data.gt_queries > data.query_pool:
        raise UsageError(
            f"dataset.gt_queries is {data.gt_queries}, more than the pool of {data.query_pool}",
            fix="lower it, or raise dataset.query_pool",
        )
    return VectorSpec(
        vectors=data.num_vectors,
        dimension=data.dimension,
        metric=data.metric,
        distribution=data.distribution,
        seed=data.seed,
        queries=data.query_pool,
        truth_queries=data.gt_queries,
        neighbours=min(data.gt_neighbours, data.num_vectors),
    )


def _real_spec(options: DataOptions, workload: Workload) -> VectorSpec:
    """The spec of real vectors: sizes are the file's, the first ones if fewer are asked for."""
    from mlpstorage.engine.vectors.files import hdf5_metric, open_vectors
    from mlpstorage.engine.vectors.manifest import VectorSpec

    path = user_path(options.dataset, "--dataset")
    base = open_vectors(path)
    hdf5 = path.suffix.lower() in {".hdf5", ".h5"}
    queries_path, count = "", base.count
    if options.dataset_queries:
        queries_path = str(user_path(options.dataset_queries, "--dataset-queries"))
        queries = open_vectors(user_path(options.dataset_queries, "--dataset-queries"))
    elif hdf5:
        queries = open_vectors(path, part="test")
    else:
        held_out = min(base.count // _HELD_OUT_SHARE, _MOST_HELD_OUT)
        queries, count = None, base.count - held_out
    vectors = min(options.num_vectors or count, count)
    wanted = options.dimension or base.dimension
    dimensions = {base.dimension, wanted, queries.dimension if queries else wanted}
    if len(dimensions) > 1 or vectors < 1:
        raise ConfigurationError(
            f"the vectors of {path} have {base.dimension} numbers, the queries "
            f"{queries.dimension if queries else base.dimension}; --dimension is {wanted}",
            fix="name files of the same dimension",
        )
    named = hdf5_metric(path) if hdf5 else ""
    pool = queries.count if queries else base.count - count
    return VectorSpec(
        vectors=vectors,
        dimension=base.dimension,
        metric=options.metric_type.lower() or named or workload.dataset.metric,
        distribution="",
        seed=0,
        queries=pool,
        truth_queries=min(workload.dataset.gt_queries, pool),
        neighbours=min(workload.dataset.gt_neighbours, vectors),
        source=str(path),
        source_queries=queries_path,
    )


def scale_name(options: DataOptions, workload: Workload) -> str:
    """What the data set is called: the scale, or the file of real vectors."""
    if not options.dataset:
        return workload.model
    stem = user_path(options.dataset, "--dataset").stem
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in stem).lstrip(".-") or "real"


def data_folder(options: DataOptions, workload: Workload) -> Path:
    """Where the data set of a command is."""
    return user_path(options.data_dir, "--data-dir") / scale_name(options, workload)


def require_spec(manifest: VectorManifest, wanted: VectorSpec, folder: Path) -> None:
    """Check that a folder holds the data set that a run asks for.

    Raises:
        ConfigurationError: it holds another, such as one of another dimension.
    """
    held = manifest.spec
    names = ("vectors", "dimension", "metric", "distribution", "seed", "source")
    differing = [n for n in names if getattr(held, n) != getattr(wanted, n)]
    if differing:
        told = ", ".join(
            f"{n} {getattr(held, n)} instead of {getattr(wanted, n)}" for n in differing
        )
        raise ConfigurationError(
            f"{folder} holds a data set of {told}",
            why="the run was asked to search other vectors",
            fix="give the options that datagen was given, or another --data-dir",
        )
