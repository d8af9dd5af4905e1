"""Workload files: the published figures, strictness, and where values come from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest

from mlpstorage.core.errors import ConfigurationError, MlpstorageError, UsageError
from mlpstorage.engine.formats import FORMAT_NAMES
from mlpstorage.kinds.training.workload import Dataset, packaged_models, resolve_workload

if TYPE_CHECKING:
    from pathlib import Path

MINE = """\
model: mine
dataset: {format: npz, record_length_bytes: 1000}
reader: {batch_size: 2}
metric: {au: 0.5}
accelerators:
  fast: {edition: "own", train: {computation_time: 0.001}}
"""


@pytest.mark.parametrize(
    ("model", "accelerator", "batch", "seconds", "au", "edition"),
    [
        ("unet3d", "a100", 7, 0.636, 0.90, "2.0"),
        ("unet3d", "h100", 7, 0.323, 0.90, "2.0"),
        ("unet3d", "b200", 7, 0.162, 0.90, "3.0"),
        ("resnet50", "a100", 400, 0.435, 0.90, "2.0"),
        ("resnet50", "h100", 400, 0.224, 0.90, "2.0"),
        ("cosmoflow", "a100", 1, 0.00551, 0.70, "2.0"),
        ("cosmoflow", "h100", 1, 0.00350, 0.70, "2.0"),
        ("retinanet", "b200", 24, 0.04755, 0.85, "3.0"),
        ("retinanet", "mi355", 32, 0.0634, 0.85, "3.0"),
        ("retinanet", "h100", 16, 0.180, 0.85, "3.0-preview"),
        ("retinanet", "a100", 16, 0.210, 0.85, "3.0-preview"),
        ("dlrm", "b200", 16_384, 0.000375, 0.70, "3.0"),
        ("dlrm", "mi355", 16_384, 0.0005625, 0.70, "3.0"),
        ("dlrm", "h100", 8192, 0.005, 0.70, "3.0-preview"),
        ("dlrm", "a100", 8192, 0.007, 0.70, "3.0-preview"),
        ("flux", "b200", 48, 1.35, 0.90, "3.0"),
        ("flux", "mi355", 72, 2.025, 0.90, "3.0"),
        ("flux", "h100", 8, 0.850, 0.80, "3.0-preview"),
        ("flux", "a100", 8, 1.100, 0.80, "3.0-preview"),
    ],
)
def test_published_figures(
    model: str, accelerator: str, batch: int, seconds: float, au: float, edition: str
) -> None:
    """Each packaged workload has the published figures of its accelerators."""
    workload = resolve_workload(model, accelerator).workload
    assert workload.reader.batch_size == batch
    assert workload.train.computation_time == seconds
    assert workload.metric.au == au
    assert workload.edition == edition


def test_every_packaged_file_is_whole() -> None:
    """Every accelerator of every packaged file resolves."""
    models = {"unet3d", "resnet50", "cosmoflow", "retinanet", "dlrm", "flux"}
    assert models == set(packaged_models())


@pytest.mark.parametrize("accelerator", ["a100", "b200", "h100", "mi355"])
def test_retinanet_reads_the_same_pictures_on_every_accelerator(accelerator: str) -> None:
    """Its data set and reading are those of v3.0; how many files there are is worked out."""
    workload = resolve_workload("retinanet", accelerator).workload
    assert (workload.dataset.format, workload.record_bytes) == ("jpeg", 322_957)
    assert workload.dataset.record_length_bytes_stdev == 0
    assert workload.dataset.num_samples_per_file == 1
    assert workload.dataset.num_files_train is None
    assert (workload.reader.read_threads, workload.train.epochs) == (8, 8)
    assert (workload.reader.file_shuffle, workload.reader.sample_shuffle) == ("seed", "seed")


def test_dlrm_reads_forty_columns_of_two_hundred() -> None:
    """Its table is the published one: 761 bytes per row, of which training reads 160."""
    workload = resolve_workload("dlrm", "b200").workload
    columns = workload.dataset.parquet.columns
    assert [column.name for column in columns] == [f"feature_{n:03}" for n in range(200)]
    kinds = Counter(column.dtype for column in columns)
    assert kinds == {"float32": 56, "float16": 50, "float64": 49, "int8": 45}
    read = Counter(column.dtype for column in columns if column.read)
    assert read == {"float32": 27, "float16": 4, "float64": 5, "int8": 4}
    assert (workload.record_bytes, workload.read_bytes) == (761, 160)
    assert workload.table is not None
    assert (workload.table.row_group_rows, workload.table.compression) == (6144, "none")
    assert workload.dataset.num_samples_per_file == 768 * 6144
    assert workload.read_columns[:3] == ("feature_011", "feature_017", "feature_018")
    assert (workload.reader.read_threads, workload.train.epochs) == (4, 1)


def test_flux_reads_five_lists() -> None:
    """Its table is the published one: 541,208 numbers of 4 bytes per row, all read."""
    workload = resolve_workload("flux", "mi355").workload
    sizes = {column.name: column.size for column in workload.dataset.parquet.columns}
    assert sizes == {
        "t5_encodings": 524_328, "clip_encodings": 409, "mean": 8232, "logvar": 8232,
        "timestamp": 7,
    }  # fmt: skip
    assert workload.record_bytes == workload.read_bytes == 2_164_832
    assert workload.dataset.num_samples_per_file == 288
    assert (workload.reader.read_threads, workload.train.epochs) == (8, 1)


@pytest.mark.parametrize("model", ["unet3d", "resnet50", "cosmoflow", "retinanet"])
def test_any_model_can_be_a_table_of_one_column(model: str) -> None:
    """--format parquet puts each sample into one binary column, and says where that came from."""
    resolved = resolve_workload(model, "h100", data_format="parquet")
    workload = resolved.workload
    assert workload.table is not None
    (column,) = workload.table.columns
    assert (column.name, column.dtype, column.size) == ("data", "binary", workload.record_bytes)
    assert 1 <= workload.table.row_group_rows <= workload.dataset.num_samples_per_file
    assert workload.read_bytes == workload.dataset.record_length_bytes
    assert workload.read_columns == ("data",)
    assert resolved.overrides == {"dataset.format": "parquet"}
    assert resolved.document.sources["dataset.format"] == "--format"


def test_a_table_can_be_any_other_format() -> None:
    """A row of dlrm is a sample of as many bytes in another format."""
    workload = resolve_workload("dlrm", "b200", data_format="indexed_binary").workload
    assert (workload.table, workload.read_columns, workload.read_bytes) == (None, (), 761)


def test_columns_and_sample_size_must_agree() -> None:
    """A changed sample size that the columns do not have is refused with the right number."""
    with pytest.raises(ConfigurationError, match="761 bytes per row") as caught:
        resolve_workload("dlrm", "b200", ["dataset.record_length_bytes=800"])
    assert "set dataset.record_length_bytes to 761" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("[{name: a, dtype: float32}, {name: a, dtype: float32}]", "'a' is named twice"),
        ("[{name: a, dtype: float33}]", "float33"),
        ("[{name: a, dtype: float32, read: false}]", "no parquet column is read"),
        ("[{name: a, dtype: float32, size: 0}]", "size 0"),
        ("[{name: a, dtype: float32, bytes: 4}]", "bytes"),
    ],
)
def test_wrong_columns_are_refused(tmp_path: Path, columns: str, says: str) -> None:
    """A table that no file can have, or no training can read, is refused by name."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        MINE.replace(
            "{format: npz, record_length_bytes: 1000}",
            f"{{format: parquet, record_length_bytes: 8, parquet: {{columns: {columns}}}}}",
        )
    )
    with pytest.raises(MlpstorageError, match=says):
        resolve_workload("mine", "fast", workload_file=path)


def test_the_formats_of_workloads_are_those_of_the_engine() -> None:
    """Every format that the engine has can be asked for, and no other."""
    assert get_args(get_type_hints(Dataset)["format"]) == FORMAT_NAMES


def test_parameters_are_the_strongest_layer_and_remembered() -> None:
    """A value of --params wins, and its source says so; the file's values name file and line."""
    resolved = resolve_workload("unet3d", "h100", ["reader.read_threads=16"])
    assert resolved.workload.reader.read_threads == 16
    assert resolved.overrides == {"reader.read_threads": 16}
    assert resolved.document.sources["reader.read_threads"] == "--params"
    assert resolved.document.sources["reader.batch_size"].startswith("unet3d.yaml:")


def test_the_older_names_of_the_reference_engine_are_understood() -> None:
    """`dataset.record_length` of DLIO 2.0.0 sets the same figure as `record_length_bytes`."""
    old = resolve_workload("unet3d", "h100", ["dataset.record_length=1000"]).workload
    new = resolve_workload("unet3d", "h100", ["dataset.record_length_bytes=1000"]).workload
    assert old.dataset == new.dataset
    assert old.record_bytes == 1000


@pytest.mark.parametrize(
    ("word", "says", "advises"),
    [
        ("reader.read_thread=4", "reader.read_thread", "did you mean read_threads?"),
        ("readr.read_threads=4", "'readr'", "did you mean reader?"),
        ("reader.read_threads=-4", "reader.read_threads is -4", "a whole number >= 1"),
        ("reader.read_threads=many", "reader.read_threads is 'many'", "a whole number"),
        (
            "reader.file_shuffle=sometimes",
            "reader.file_shuffle is 'sometimes'",
            "one of: off, random, seed",
        ),
        ("reader.read_threads", "'reader.read_threads'", "section.key=value"),
        ("metric.au=1.5", "metric.au is 1.5", "<= 1"),
    ],
)
def test_wrong_parameters_name_key_value_and_remedy(word: str, says: str, advises: str) -> None:
    """A parameter that is unknown, of a wrong type or out of range is refused by name."""
    with pytest.raises(MlpstorageError) as caught:
        resolve_workload("unet3d", "h100", [word])
    assert says in caught.value.what
    assert advises in caught.value.fix
    assert caught.value.exit_code in {2, 5}


def test_unknown_model_and_accelerator_name_the_nearest() -> None:
    """A mistyped model or accelerator is answered with the right one."""
    with pytest.raises(UsageError, match="unet3") as caught:
        resolve_workload("unet3", "h100")
    assert caught.value.fix == "did you mean unet3d?"
    with pytest.raises(UsageError) as caught:
        resolve_workload("unet3d", "x9")
    assert caught.value.fix == "use one of: a100, h100, b200"


def test_own_file_is_read_in_the_same_schema(tmp_path: Path) -> None:
    """A user's workload file works like a packaged one."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    workload = resolve_workload("mine", "fast", workload_file=path).workload
    assert (workload.record_bytes, workload.train.epochs) == (1000, 1)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("batch_size: 2", "batch_size: two", "reader.batch_size is 'two'"),
        ("batch_size: 2", "batch_sise: 2", "unknown parameter reader.batch_sise"),
        ("batch_size: 2", "batch_size: 2, batch_size: 3", "stands twice"),
        ("batch_size: 2", "read_threads: 2", "reader.batch_size is missing"),
        ("model: mine", "model: [mine", "not valid YAML"),
        ("format: npz", "format: zip", "dataset.format is 'zip'"),
        ('edition: "own", ', "", "edition is missing"),
    ],
)
def test_mistakes_in_own_file_name_file_line_and_key(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    """Every mistake in a workload file is one message that names the file."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        resolve_workload("mine", "fast", workload_file=path)
    assert says in caught.value.what
    assert str(path) in caught.value.what


def test_own_file_for_another_model_is_refused(tmp_path: Path) -> None:
    """The file must describe the model that is asked for."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    with pytest.raises(UsageError, match="describes mine, not yours"):
        resolve_workload("yours", "fast", workload_file=path)
