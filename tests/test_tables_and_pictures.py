"""retinanet, dlrm and flux from the installed command, and what may be wrong with tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpstorage.kinds.training.workload import resolve_workload

if TYPE_CHECKING:
    from conftest import Done, Program

# Files and samples per file: enough for a few steps of four accelerators.
SMALL = {"retinanet": (400, 1), "dlrm": (4, 36_864), "flux": (4, 48)}
BATCH = {"retinanet": 24, "dlrm": 16_384, "flux": 12}


def words(model: str, *more: str) -> list[str]:
    """The options of a small data set of a published model."""
    files, samples = SMALL[model]
    return [
        "--model", model, "-g", "b200", "--data-dir", "data", "-p",
        f"dataset.num_files_train={files}", f"dataset.num_samples_per_file={samples}", *more,
    ]  # fmt: skip


def run(program: Program, model: str, ranks: int, *more: str) -> Done:
    """One epoch on the small data set."""
    changed = [f"reader.batch_size={BATCH[model]}", "train.epochs=1", "train.computation_time=0.01"]
    return program(
        "training", "run", *words(model, *changed), "-na", str(ranks), "--json", "-aip", *more
    )


def chunk_bytes(folder: Path, columns: tuple[str, ...]) -> int:
    """The sum of the column chunks of these columns over all files, as pyarrow finds them."""
    return sum(
        chunk.total_compressed_size
        for path in folder.glob("*.parquet")
        for metadata in [pq.read_metadata(path)]
        for group in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
        if chunk.path_in_schema.split(".")[0] in columns
    )


@pytest.mark.parametrize("model", list(SMALL))
def test_the_published_models_run(program: Program, mpirun: list[str], model: str) -> None:
    """With 1 and 4 accelerators, local and by MPI, the bytes read are those of the samples."""
    made = program("training", "datagen", *words(model), "-np", "2")
    assert made.code == 0, made.err
    columns = resolve_workload(model, "b200").workload.read_columns
    folder = program.home / "data" / model / "train"
    if columns:
        expected = chunk_bytes(folder, columns)
    else:
        expected = sum(path.stat().st_size for path in folder.iterdir())
    files, samples = SMALL[model]
    for ranks, how in ((1, ["--exec-type", "local"]), (4, ["--exec-type", "local"]), (4, mpirun)):
        done = run(program, model, ranks, *how)
        assert done.code == 0, done.err
        summary = done.json["summary"]
        assert summary["format"] == ("parquet" if columns else "jpeg")
        assert summary["decode"] == "none"
        assert summary["metric"]["train_au_mean_percentage"] > 0
        step = BATCH[model] * ranks
        share = files * samples // step * step / (files * samples)
        # At the borders of ranks, row groups are read twice.
        borders = (ranks - 1) / (files * samples / (6144 if model == "dlrm" else 24))
        (read,) = summary["read_bytes_per_epoch"]
        low, high = share * 0.98, share + 0.02 + (borders if columns else 0)
        assert low <= read / expected <= high


@pytest.mark.parametrize("model", list(SMALL))
def test_the_published_models_are_sized_and_shown(program: Program, model: str) -> None:
    """The size that datasize tells is the files' own, and configview names every source."""
    sized = program(
        "training", "datasize", "-m", model, "-g", "mi355", "-ma", "8", "-cm", "64", "--json"
    )
    assert sized.code == 0, sized.err
    samples = sized.json["num_samples_train"]
    record = resolve_workload(model, "mi355").workload.record_bytes
    assert 1 <= sized.json["total_disk_bytes"] / (samples * record) < 1.03
    shown = program("training", "configview", "-m", model, "-g", "h100", "-na", "1", "--json")
    assert shown.json["workload"]["edition"] == "3.0-preview"
    assert shown.json["sources"]["dataset.format"].startswith(f"{model}.yaml:")


@pytest.mark.parametrize("decode", ["none", "full"])
def test_any_workload_as_parquet(program: Program, decode: str) -> None:
    """--format parquet generates and reads tables of one column; results state the decoding."""
    params = ["--format", "parquet", "--params", "dataset.num_samples_per_file=10"]
    made = program.datagen(24, *params)
    assert made.code == 0, made.err
    done = program.run(24, *params, f"reader.decode={decode}", "-aip", ranks=2)
    assert done.code == 0, done.err
    summary = done.json["summary"]
    assert (summary["format"], summary["decode"]) == ("parquet", decode)
    seconds = summary["decode_cpu_seconds_per_epoch"]
    assert all(seconds) == (decode == "full")
    (file,) = Path(done.json["result_dir"]).glob("*_metadata.json")
    metadata = json.loads(file.read_text())
    assert metadata["override_parameters"]["dataset.format"] == "parquet"


@pytest.fixture
def table(program: Program) -> Path:
    """A file of a small dlrm data set, to be spoilt."""
    made = program("training", "datagen", *words("dlrm"), "-np", "2")
    assert made.code == 0, made.err
    return program.home / "data/dlrm/train/img_1_of_4.parquet"


def refused(program: Program, path: Path, *says: str) -> None:
    """The run is refused before any work, in words that name the file and the remedy."""
    manifest = program.home / "data/dlrm/mlpstorage-manifest.json"
    assert manifest.exists()
    done = run(program, "dlrm", 1)
    assert done.code in {3, 5}, done.err
    assert str(path) in done.err
    assert "fix:" in done.err
    assert "Traceback" not in done.err
    for text in says:
        assert text in done.err


def same_size(path: Path, data: bytes) -> None:
    """Replace a file's contents and keep its length, which is looked at first."""
    size = path.stat().st_size
    assert len(data) <= size
    path.write_bytes(bytes(size - len(data)) + data)


def parquet(table: pa.Table) -> bytes:
    """A Parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_a_file_without_its_footer(program: Program, table: Path) -> None:
    """A Parquet file whose end was overwritten is named."""
    same_size(table, bytes(100))
    refused(program, table, "footer")


def test_a_file_with_another_schema(program: Program, table: Path) -> None:
    """A Parquet file without the columns is named, with the column that is missing."""
    same_size(table, parquet(pa.table({"price": [1.0, 2.0]})))
    refused(program, table, "has no column 'feature_000'", "it has price")


def test_a_file_without_rows(program: Program, table: Path) -> None:
    """A Parquet file with no rows is named."""
    same_size(table, parquet(pa.table({"feature_000": pa.array([], pa.float16())})))
    refused(program, table, "has no rows")


def test_a_file_of_another_format(program: Program, table: Path) -> None:
    """A file that is no Parquet file at all is named."""
    same_size(table, b"\x93NUMPY")
    refused(program, table, "parquet")


def test_a_data_set_of_another_format(program: Program) -> None:
    """A run on Parquet over a data set of another format says which it is."""
    assert program.datagen(24).code == 0
    done = program.run(24, "--format", "parquet")
    assert done.code == 5
    assert "format npz, not parquet" in done.err


def test_a_table_with_other_row_groups(program: Program) -> None:
    """A run that asks for another layout than the data set has says what differs."""
    params = ["--format", "parquet", "-p", "dataset.num_samples_per_file=100"]
    assert program.datagen(24, *params, "dataset.parquet.row_group_size=10").code == 0
    done = program.run(24, *params, "dataset.parquet.row_group_size=20", "-aip")
    assert done.code == 5
    assert "row groups of 10 rows, not 20" in done.err


def test_an_unknown_codec(program: Program) -> None:
    """A codec that does not exist is refused with those that do."""
    done = program.datagen(4, "--format", "parquet", "-p", "dataset.parquet.compression=brotli")
    assert done.code == 2
    assert "dataset.parquet.compression is 'brotli'" in done.err
    assert "zstd" in done.err


def test_decoding_without_its_library(program: Program, tmp_path: Path) -> None:
    """A run that is to decode without the library says how to install it, before any work."""
    params = ["--format", "parquet"]
    assert program.datagen(24, *params).code == 0
    hidden = tmp_path / "hidden" / "pyarrow"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('No module named pyarrow')\n")
    done = program.run(
        24, *params, "-p", "reader.decode=full", env={"PYTHONPATH": str(hidden.parent)}
    )
    assert done.code == 5
    assert "pip install 'mlpstorage[decode]'" in done.err
