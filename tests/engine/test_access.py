from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.kernel_counts import rchar_around
from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.access import ReadSettings, access_of
from mlpstorage.engine.buffers import aligned_buffer
from mlpstorage.engine.dataset import DatasetSpec, Manifest
from mlpstorage.engine.epoch import plan_epoch
from mlpstorage.engine.footers import Footers
from mlpstorage.engine.formats.parquet.schema import Column, Table
from mlpstorage.engine.generate import generate_share
from mlpstorage.engine.generation import begin_generation, finish_generation

if TYPE_CHECKING:
    from mlpstorage.engine.access import Epoch

TABLE = Table(
    (
        Column("a", "float32"), Column("b", "int8"), Column("c", "float64"),
        Column("d", "float16"), Column("e", "float32", 7),
    ),
    row_group_rows=300,
)  # fmt: skip
READ = ("b", "d", "e")
ONE_SAMPLE = ("npz", "npy", "tfrecord", "hdf5", "jpeg", "png", "csv", "indexed_binary")
MANY_SAMPLES = ("npz", "npy", "tfrecord", "hdf5", "csv", "indexed_binary")


def generated(folder: Path, fmt: str, samples: int, table: Table | None = None) -> Manifest:
    """A data set of five files."""
    record = table.row_bytes if table else 5000
    spec = DatasetSpec("m", fmt, 5, 2, samples, record, 0.0, 10, table)
    begin_generation(spec, folder)
    generate_share(spec, folder, 0, 1)
    return finish_generation(spec, folder, "2026-01-01T00:00:00Z")


def read_all(manifest: Manifest, folder: Path, settings: ReadSettings, ranks: int) -> list[Epoch]:
    """Read one epoch as every rank in turn; what each did."""
    access = access_of(manifest, folder, settings)
    spec = manifest.spec
    epochs = []
    for rank in range(ranks):
        plan = plan_epoch(
            np.arange(spec.num_files), samples_per_file=spec.samples_per_file, batch=5,
            rank=rank, ranks=ranks,
        )  # fmt: skip
        epoch = access.epoch(plan)
        with epoch.pool:
            for step in range(epoch.plan.steps):
                epoch.pool.batches.wait(step)
        epochs.append(epoch)
    return epochs


def settings_of(**more: object) -> ReadSettings:
    """Two small buffers."""
    return ReadSettings([aligned_buffer(16384) for _ in range(2)], **more)  # type: ignore[arg-type]


def counted(manifest: Manifest, folder: Path, settings: ReadSettings) -> tuple[Epoch, int]:
    """Read one epoch as one rank; what it did, and the bytes that were asked of the kernel."""
    read_all(manifest, folder, settings, 1)  # importing a library reads its files
    epochs: list[Epoch] = []
    read = rchar_around(lambda: epochs.extend(read_all(manifest, folder, settings, 1)))
    return epochs[0], read


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    ("fmt", "samples"),
    [*((fmt, 1) for fmt in ONE_SAMPLE), *((fmt, 40) for fmt in MANY_SAMPLES)],
)
def test_every_byte_of_a_data_set_is_read_once(
    tmp_path: Path, fmt: str, samples: int, *, decode: bool
) -> None:
    """Over all ranks, the bytes asked of the kernel are those of the files and their indexes."""
    manifest = generated(tmp_path, fmt, samples)
    epoch, read = counted(manifest, tmp_path, settings_of(decode=decode))
    assert epoch.planned() == manifest.total_bytes
    assert 0 <= read - manifest.total_bytes < 4096
    assert any(epoch.pool.decode_ns) == decode


@pytest.mark.parametrize("fmt", MANY_SAMPLES)
def test_ranks_share_a_file_at_the_borders_of_samples(tmp_path: Path, fmt: str) -> None:
    """With three ranks no byte of a sample is read twice."""
    manifest = generated(tmp_path, fmt, 33)
    epochs = read_all(manifest, tmp_path, settings_of(), 3)
    assert sum(epoch.planned() for epoch in epochs) == manifest.total_bytes


def chunk_bytes(path: Path, columns: tuple[str, ...]) -> int:
    """The sum of the column chunks of these columns, as pyarrow finds them."""
    metadata = pq.read_metadata(path)
    return sum(
        chunk.total_compressed_size
        for group in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
        if chunk.path_in_schema.split(".")[0] in columns
    )


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "lz4", "zstd"])
def test_of_a_table_the_chunks_of_the_read_columns_are_read(
    tmp_path: Path, compression: str, *, decode: bool
) -> None:
    """The bytes read are the sum of the column chunks' sizes and each file's footer, once."""
    table = Table(TABLE.columns, TABLE.row_group_rows, compression)  # type: ignore[arg-type]
    manifest = generated(tmp_path, "parquet", 1000, table)
    files = [tmp_path / manifest.spec.relative_path(index) for index in range(5)]
    chunks = sum(chunk_bytes(path, READ) for path in files)
    epoch, read = counted(manifest, tmp_path, settings_of(columns=READ, decode=decode))
    assert sum(epoch.pool.bytes_read) == chunks
    assert 0 <= read - epoch.planned() < 4096
    footers = epoch.planned() - chunks
    assert 0 < footers <= 5 * 8192
    assert any(epoch.pool.decode_ns) == decode


def test_direct_reads_of_a_table_are_whole_blocks(tmp_path: Path) -> None:
    """With O_DIRECT the planned bytes are those of the blocks that hold the chunks."""
    manifest = generated(tmp_path, "parquet", 1000, TABLE)
    epoch, read = counted(manifest, tmp_path, settings_of(columns=READ, direct=True))
    assert abs(read - epoch.planned()) < 4096


def test_ranks_read_the_row_groups_that_they_share_twice(tmp_path: Path) -> None:
    """A row group at the border of two shares is read by both ranks, any other by one."""
    manifest = generated(tmp_path, "parquet", 1000, TABLE)
    epochs = read_all(manifest, tmp_path, settings_of(columns=READ), 3)
    visits = [
        set(zip(e.plan.files.tolist(), (e.plan.first // 300).tolist(), strict=True)) for e in epochs
    ]
    assert len(set.union(*visits)) == 5 * 4
    assert sum(map(len, visits)) == 5 * 4 + 2
    assert sum(int(e.plan.samples.sum()) for e in epochs) == 4995


def test_equal_footers_are_read_but_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of one data set share what their footers say."""
    from mlpstorage.engine import footers as module

    parsed: list[str] = []
    real = module.parse_footer

    def counting(data: bytes, path: str) -> object:
        parsed.append(path)
        return real(data, path)

    monkeypatch.setattr(module, "parse_footer", counting)
    manifest = generated(tmp_path, "parquet", 1000, TABLE)
    known = Footers(manifest.spec.namer(str(tmp_path)), TABLE, 1000, READ)
    assert len({id(known.of(index).reads) for index in range(5)}) == 1
    once = known.bytes_read
    known.of(3)
    assert known.bytes_read == once
    assert len(parsed) == 1


def replaced(tmp_path: Path, table: pa.Table | None, **options: object) -> Footers:
    """A data set whose third file was replaced, and its footers."""
    manifest = generated(tmp_path, "parquet", 1000, TABLE)
    path = tmp_path / manifest.spec.relative_path(2)
    if table is not None:
        pq.write_table(table, path, **options)
    return Footers(manifest.spec.namer(str(tmp_path)), TABLE, 1000, READ)


def arrow(rows: int, **changed: pa.Array) -> pa.Table:
    """A table of the data set's own schema, by pyarrow, with some columns changed."""
    rng = np.random.default_rng(3)
    columns: dict[str, pa.Array] = {
        "a": pa.array(rng.random(rows), pa.float32()),
        "b": pa.array(rng.integers(-128, 128, rows), pa.int8()),
        "c": pa.array(rng.random(rows)),
        "d": pa.array(rng.random(rows).astype(np.float16)),
        "e": pa.array(list(rng.random((rows, 7))), pa.list_(pa.float32())),
        **changed,
    }
    return pa.table({name: column for name, column in columns.items() if column is not None})


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"data_page_version": "2.0"}])
def test_files_of_another_writer_are_read_by_their_own_footers(
    tmp_path: Path, options: dict[str, str]
) -> None:
    """A file that pyarrow wrote is read and decoded among the others."""
    replaced(tmp_path, arrow(1000), row_group_size=300, **options)
    manifest = Manifest.load(tmp_path)
    path = tmp_path / manifest.spec.relative_path(2)
    chunks = sum(
        chunk_bytes(tmp_path / manifest.spec.relative_path(index), READ) for index in range(5)
    )
    (epoch,) = read_all(manifest, tmp_path, settings_of(columns=READ, decode=True), 1)
    assert sum(epoch.pool.bytes_read) == chunks
    assert path.stat().st_size > 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (arrow(999), "999 rows, not 1000"),
        (arrow(0), "has no rows"),
        (arrow(1000, b=None), "has no column 'b'"),
        (arrow(1000, d=pa.array(np.zeros(1000))), "column d of data file .* is float64"),
        (arrow(1000, e=pa.array(np.zeros(1000, np.float32))), "column e of data file .* is float"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, table: pa.Table, message: str) -> None:
    """A file with other rows or columns is refused with its name and what is wrong."""
    footers = replaced(tmp_path, table, row_group_size=300)
    with pytest.raises(ConfigurationError, match=message) as caught:
        footers.of(2)
    assert "img_2_of_5.parquet" in caught.value.what
    assert caught.value.fix


def test_other_row_groups_are_named(tmp_path: Path) -> None:
    """A file whose row groups have another size is refused with the parameter that says so."""
    footers = replaced(tmp_path, arrow(1000), row_group_size=200)
    with pytest.raises(ConfigurationError, match="row groups of 200 rows, not 300") as caught:
        footers.of(2)
    assert "dataset.parquet.row_group_size=200" in (caught.value.fix or "")


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9])
def test_files_without_their_footer_are_named(tmp_path: Path, keep: int) -> None:
    """A file that is cut off anywhere is refused with its name."""
    footers = replaced(tmp_path, None)
    path = Path(footers._path_of(2))
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    with pytest.raises((ConfigurationError, BenchmarkError), match=r"img_2_of_5\.parquet"):
        footers.of(2)


def test_damaged_samples_are_found_by_decoding(tmp_path: Path) -> None:
    """A flipped bit in an npz file passes when it is only loaded, and not when it is decoded."""
    manifest = generated(tmp_path, "npz", 1)
    path = tmp_path / manifest.spec.relative_path(1)
    fd = os.open(path, os.O_RDWR)
    byte = os.pread(fd, 1, 3000)
    os.pwrite(fd, bytes([byte[0] ^ 1]), 3000)
    os.close(fd)
    read_all(manifest, tmp_path, settings_of(), 1)
    with pytest.raises(BenchmarkError, match=r"img_1_of_5\.npz cannot be decoded"):
        read_all(manifest, tmp_path, settings_of(decode=True), 1)
