"""What a model asks of storage: typed figures, read from one YAML file per workload.

The names of sections and parameters are DLIO's, so that `--params` of the reference tool work.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlpstorage.config import (
    Document,
    assignments,
    convert,
    load_yaml,
    parse_yaml,
    user_path,
)
from mlpstorage.core.errors import ConfigurationError, UsageError, did_you_mean
from mlpstorage.engine.dataset import MOST_FILES
from mlpstorage.engine.formats.parquet.schema import Column, Table, require_valid

if TYPE_CHECKING:
    from collections.abc import Sequence

# Upper bounds keep a slip of the finger from becoming years or petabytes; no system reaches them.
_MOST_RECORD_BYTES = 1 << 40
_MOST_SECONDS = 86_400
Count = Annotated[int, Meta(ge=0, le=10**6)]
Positive = Annotated[int, Meta(ge=1, le=10**6)]
Files = Annotated[int, Meta(ge=1, le=MOST_FILES)]
Seconds = Annotated[float, Meta(ge=0, le=_MOST_SECONDS)]
# `$` would let a newline through.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]
Shuffle = Literal["off", "seed", "random"]
FormatName = Literal[
    "npz", "npy", "tfrecord", "hdf5", "jpeg", "png", "csv", "indexed_binary", "parquet"
]
# Rows of a group where a file does not say: as many as make about this much payload.
_GROUP_BYTES = 8 << 20

# Both generations of the reference engine's parameter names are understood.
_OLD_NAMES = {
    "record_length": "record_length_bytes",
    "record_length_stdev": "record_length_bytes_stdev",
    "record_length_resize": "record_length_bytes_resize",
}


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of a workload file: frozen, and strict about its names."""


class ParquetLayout(_Section, frozen=True):
    """How a Parquet file is laid out: rows per row group, codec, and the columns.

    Without columns, a row is one sample in one binary column, `data`.
    """

    row_group_size: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    compression: Literal["none", "snappy", "gzip", "lz4", "zstd"] = "none"
    columns: tuple[Column, ...] = ()


class Dataset(_Section, frozen=True):
    """How the samples lie in files; `record_length_bytes` is the mean size of a sample in bytes."""

    format: FormatName
    record_length_bytes: Annotated[float, Meta(ge=1, le=_MOST_RECORD_BYTES)]
    record_length_bytes_stdev: Annotated[float, Meta(ge=0, le=_MOST_RECORD_BYTES)] = 0.0
    record_length_bytes_resize: Annotated[int, Meta(ge=0, le=_MOST_RECORD_BYTES)] = 0
    num_files_train: Files | None = None
    num_samples_per_file: Annotated[int, Meta(ge=1, le=10**9)] = 1
    num_subfolders_train: Count | None = None
    parquet: ParquetLayout = ParquetLayout()


class Reader(_Section, frozen=True):
    """How samples are read; `transfer_size` is the bytes of one read call.

    `decode` says whether samples are turned into arrays after they were loaded.
    """

    batch_size: Positive
    data_loader: Literal["pytorch", "tensorflow"] = "pytorch"
    read_threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    computation_threads: Count = 1
    prefetch_size: Count = 2
    transfer_size: Annotated[int, Meta(ge=4096, le=1 << 30)] = 2 << 20
    file_shuffle: Shuffle = "off"
    sample_shuffle: Shuffle = "off"
    shuffle_size: Count = 0
    odirect: bool = False
    decode: Literal["none", "full"] = "none"


class Train(_Section, frozen=True):
    """The emulated training; `computation_time` is seconds per step."""

    computation_time: Seconds
    epochs: Positive = 1
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 123


class Metric(_Section, frozen=True):
    """What is asked of the result; the window leaves out steps at both ends of an epoch."""

    au: Annotated[float, Meta(ge=0, le=1)]
    exclude_start_steps: Count = 1
    exclude_end_steps: Count = 0


class Workload(_Section, frozen=True):
    """All figures of one model on one accelerator; immutable."""

    model: Name
    accelerator: Name
    edition: Annotated[str, Meta(pattern=r"^[ -~]+\Z")]
    dataset: Dataset
    reader: Reader
    train: Train
    metric: Metric

    @property
    def record_bytes(self) -> int:
        """The mean size of a sample in whole bytes."""
        return round(self.dataset.record_length_bytes)

    @property
    def table(self) -> Table | None:
        """The schema of the data set's Parquet files; None for any other format.

        Which columns are read is no property of the data: every column is marked as read here.
        """
        dataset, layout = self.dataset, self.dataset.parquet
        if dataset.format != "parquet":
            return None
        columns = tuple(Column(c.name, c.dtype, c.size) for c in layout.columns)
        columns = columns or (Column("data", "binary", self.record_bytes),)
        rows = layout.row_group_size or max(1, _GROUP_BYTES // self.record_bytes)
        return Table(columns, min(rows, dataset.num_samples_per_file), layout.compression)

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The names of the Parquet columns that training reads; empty for any other format."""
        if self.dataset.format != "parquet":
            return ()
        return tuple(c.name for c in self.dataset.parquet.columns if c.read) or ("data",)

    @property
    def read_bytes(self) -> float:
        """The mean bytes of a sample that training reads: of a table, its read columns only."""
        columns = self.dataset.parquet.columns
        if self.dataset.format != "parquet" or not columns:
            return self.dataset.record_length_bytes
        return float(sum(c.row_bytes for c in columns if c.read))


@dataclass(frozen=True)
class ResolvedWorkload:
    """A workload, the document it came from (with sources), and what the user overrode."""

    workload: Workload
    document: Document
    overrides: dict[str, Any]


def packaged_models() -> tuple[str, ...]:
    """The names of the workloads that the package ships, sorted.

    >>> "unet3d" in packaged_models()
    True
    """
    folder = resources.files(__package__) / "workloads"
    return tuple(
        sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def resolve_workload(
    model: str,
    accelerator: str,
    params: Sequence[str] = (),
    *,
    workload_file: Path | None = None,
    defaults: Document | None = None,
    data_format: str = "",
) -> ResolvedWorkload:
    """The workload of a model on an accelerator, with the user's parameters laid over it.

    Args:
        model: Name of a packaged workload, or of the user's file.
        accelerator: One of the file's accelerators.
        params: `section.key=value` words; the strongest layer.
        workload_file: The user's own file in the same schema, instead of a packaged one.
        defaults: A layer between the file and the parameters (a trial's).
        data_format: Instead of the file's `dataset.format`, from --format.

    Raises:
        UsageError: unknown model or accelerator, or a parameter is wrong.
        MlpstorageError: the file is wrong or cannot be read.
    """
    file = load_yaml(workload_file) if workload_file else _packaged(model)
    where = str(workload_file or f"{model}.yaml")
    named = file.values.get("model")
    if workload_file and named != model:
        raise _misnamed(where, named, model)
    figures = _figures(file, accelerator, where)
    overrides = _modern(assignments(params, "--params"))
    _refuse_foreign(overrides)
    if data_format:
        chosen = assignments([f"dataset.format={data_format}"], "--format")
        overrides = overrides.layered(chosen)
    base = file.without("accelerators").layered(figures)
    for layer in (defaults, overrides):
        base = base.layered(layer) if layer else base
    base = base.layered(
        Document({"accelerator": accelerator}, {"accelerator": "--accelerator-type"})
    )
    workload = convert(_modern(base), Workload, where)
    _check_table(workload, where)
    return ResolvedWorkload(workload, base, dict(overrides.leaves()))


def _check_table(workload: Workload, where: str) -> None:
    """Columns and the size of a sample must agree, whichever of them --params changed."""
    columns = workload.dataset.parquet.columns
    if not columns:
        return
    require_valid(Table(columns, workload.dataset.parquet.row_group_size or 1))
    row = sum(column.row_bytes for column in columns)
    if row != workload.record_bytes:
        raise ConfigurationError(
            f"{where}: the columns of dataset.parquet hold {row} bytes per row, but "
            f"dataset.record_length_bytes is {workload.record_bytes}",
            why="a row of the table is one sample",
            fix=f"set dataset.record_length_bytes to {row}, or mend the columns",
        )


def _misnamed(where: str, named: object, model: str) -> UsageError | ConfigurationError:
    if not isinstance(named, str):
        return ConfigurationError(
            f"{where} does not say which model it describes", fix=f"add a line `model: {model}`"
        )
    return UsageError(f"{where} describes {named}, not {model}", fix=f"pass --model {named}")


def _refuse_foreign(overrides: Document) -> None:
    sections = ("dataset", "reader", "train", "metric")
    for name in overrides.values:
        if name not in sections:
            raise UsageError(
                f"--params: unknown section {name!r}", fix=did_you_mean(name, sections)
            )


def _packaged(model: str) -> Document:
    models = packaged_models()
    if model not in models:
        raise UsageError(f"unknown model {model!r}", fix=did_you_mean(model, models))
    text = (resources.files(__package__) / "workloads" / f"{model}.yaml").read_text("utf-8")
    return parse_yaml(text, f"{model}.yaml")


def _figures(file: Document, accelerator: str, where: str) -> Document:
    known = file.values.get("accelerators")
    listed = isinstance(known, dict) and all(isinstance(v, dict) for v in known.values())
    if not known or not listed:
        raise ConfigurationError(
            f"{where}: no accelerators", fix="add `accelerators: {h100: {edition: …, train: …}}`"
        )
    if accelerator not in known:
        raise UsageError(
            f"{file.values.get('model')} has no figures for accelerator {accelerator!r}",
            fix=did_you_mean(accelerator, known),
        )
    return file.section("accelerators", accelerator)


def _modern(document: Document) -> Document:
    """The document with the older names of dataset parameters replaced by the newer ones."""
    dataset = document.values.get("dataset")
    if not isinstance(dataset, dict) or not _OLD_NAMES.keys() & dataset.keys():
        return document
    renamed = {_OLD_NAMES.get(key, key): value for key, value in dataset.items()}
    sources = {
        "dataset." + _OLD_NAMES.get(name[8:], name[8:]) if name.startswith("dataset.") else name: at
        for name, at in document.sources.items()
    }
    return Document({**document.values, "dataset": renamed}, sources)


def workload_path(text: str) -> Path | None:
    """The user's own workload file, if one is named; messages show it as it was given."""
    if not text:
        return None
    user_path(text, "--workload-file")  # may refuse
    return Path(text).expanduser()


def default_accelerator(model: str, workload_file: Path | None) -> str:
    """The first accelerator of a workload file, for commands that only need the data's figures.

    Raises:
        UsageError: unknown model.
        NotFoundError, ConfigurationError: the file is wrong.
    """
    file = load_yaml(workload_file) if workload_file else _packaged(model)
    known = file.values.get("accelerators")
    return next(iter(known)) if isinstance(known, dict) and known else ""
