"""The scales of vector search: typed figures, one YAML file each, and what the user laid over."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlpstorage.config import Document, assignments, convert, load_yaml, parse_yaml, user_path
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.kinds.vectordb.backends.interface import checked_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpstorage.kinds.vectordb.backends.interface import IndexType

MOST_VECTORS = 2**31 - 1  # ids of the big-ann layout are int32
MOST_DIMENSION = 65_536
MOST_CLIENTS = 100_000
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
# Which flag gives which figure.
_FLAGS = {
    "dataset.num_vectors": "--num-vectors",
    "dataset.dimension": "--dimension",
    "dataset.metric": "--metric-type",
    "dataset.distribution": "--distribution",
    "dataset.seed": "--seed",
    "dataset.gt_queries": "--gt-queries",
    "dataset.query_pool": "--query-pool",
    "search.k": "--search-limit",
    "search.target_recall": "--target-recall",
    "search.steady_seconds": "--runtime",
    "search.ramp_seconds": "--ramp",
    "search.concurrency": "--num-query-processes",
}
_SECTIONS = ("dataset", "search", "index", "query")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of a workload file: frozen, and strict about its names."""


class Dataset(_Section, frozen=True):
    """The vectors: how many, of which kind, and how many queries go with them."""

    num_vectors: Annotated[int, Meta(ge=100, le=MOST_VECTORS)]
    dimension: Annotated[int, Meta(ge=2, le=MOST_DIMENSION)]
    metric: Literal["cosine", "l2", "ip"] = "cosine"
    distribution: Literal["clustered", "uniform", "normal", "zipfian"] = "clustered"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 42
    query_pool: Annotated[int, Meta(ge=1, le=10**8)] = 100_000
    gt_queries: Annotated[int, Meta(ge=1, le=10**6)] = 10_000
    gt_neighbours: Annotated[int, Meta(ge=1, le=10_000)] = 100


class SearchFigures(_Section, frozen=True):
    """How it is searched: neighbours, the recall to reach, the clients, and the times.

    `steady_seconds` is the measured window of each point of the sweep; `slo_ms` the p99 latency
    that the score must keep.
    """

    k: Annotated[int, Meta(ge=1, le=1000)] = 10
    target_recall: Annotated[float, Meta(ge=0, le=1)] = 0.95
    concurrency: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=MOST_CLIENTS)], ...], Meta(min_length=1, max_length=64)
    ] = (1,)
    ramp_seconds: Seconds = 5.0
    steady_seconds: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    slo_ms: Annotated[float, Meta(gt=0, le=3.6e6)] = 20.0
    calibration_queries: Annotated[int, Meta(ge=10, le=10**6)] = 1000


class Workload(_Section, frozen=True):
    """All figures of one scale; `index` and `query` are parameters of the backend's index."""

    model: Name
    edition: str
    dataset: Dataset
    search: SearchFigures
    closed: bool = False
    index: dict[str, Any] = {}
    query: dict[str, Any] = {}


@dataclass(frozen=True)
class ResolvedWorkload:
    """A workload, the document it came from (with sources), and what the user overrode."""

    workload: Workload
    document: Document
    overrides: dict[str, Any]

    def build_parameters(self, index: IndexType, backend: str) -> dict[str, int]:
        """The parameters of building, all of them.

        Raises:
            UsageError: one is unknown, or out of its range.
        """
        return checked_parameters(self.workload.index, index.build, "index", backend)

    def search_parameters(self, index: IndexType, backend: str) -> dict[str, int]:
        """The parameters of searching but the effort.

        Raises:
            UsageError: one is unknown, or out of its range.
        """
        others = {k: v for k, v in self.workload.query.items() if k != index.effort.name}
        return checked_parameters(others, index.search, "query", backend)

    def fixed_effort(self, index: IndexType, backend: str) -> int | None:
        """The effort that the user has fixed; None to calibrate."""
        name = index.effort.name
        given = {k: v for k, v in self.workload.query.items() if k == name}
        return checked_parameters(given, (index.effort,), "query", backend)[name] if given else None


def packaged_scales() -> tuple[str, ...]:
    """The names of the scales that the package ships, sorted.

    >>> "tiny" in packaged_scales()
    True
    """
    folder = resources.files(__package__) / "workloads"
    return tuple(
        sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def resolve_workload(
    scale: str,
    flags: Mapping[str, Any] | None = None,
    params: Sequence[str] = (),
    *,
    workload_file: Path | None = None,
) -> ResolvedWorkload:
    """The figures of a scale, with flags and then parameters laid over them.

    Args:
        scale: Name of a packaged scale, or of the user's file.
        flags: Dotted names with the values that flags gave.
        params: `section.key=value` words; the strongest layer.
        workload_file: The user's own file in the same schema.

    Raises:
        UsageError: unknown scale, or a value is wrong.
        MlpstorageError: the file is wrong or cannot be read.
    """
    file = load_yaml(workload_file) if workload_file else _packaged(scale)
    where = str(workload_file or f"{scale}.yaml")
    overrides = _of_flags(flags or {})
    own = assignments(params, "--params")
    for name in own.values:
        if name not in _SECTIONS:
            raise UsageError(
                f"--params: unknown section {name!r}", fix=did_you_mean(name, _SECTIONS)
            )
    overrides = overrides.layered(own)
    document = file.layered(overrides)
    return ResolvedWorkload(convert(document, Workload, where), document, dict(overrides.leaves()))


def _of_flags(flags: Mapping[str, Any]) -> Document:
    values: dict[str, dict[str, Any]] = {}
    for dotted, value in flags.items():
        section, _, name = dotted.partition(".")
        values.setdefault(section, {})[name] = value
    return Document(values, {dotted: _FLAGS[dotted] for dotted in flags})


def _packaged(scale: str) -> Document:
    scales = packaged_scales()
    if scale not in scales:
        raise UsageError(f"unknown scale {scale!r}", fix=did_you_mean(scale, scales))
    text = (resources.files(__package__) / "workloads" / f"{scale}.yaml").read_text("utf-8")
    return parse_yaml(text, f"{scale}.yaml")


def workload_path(text: str) -> Path | None:
    """The user's own workload file, if one is named."""
    return user_path(text, "--workload-file") if text else None
