"""The format Parquet for DLIO, which has none before its third version: a reader and a generator.

DLIO opens and closes a file for every sample. So the reader keeps its own handle, and the last row
group that it read: without them, 64 times the bytes would be read for row groups of 64 samples.
The classes become DLIO's own kinds of readers and generators when they are installed.
"""

from __future__ import annotations

import bisect
import functools
import importlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpstorage.engine.dlio.prepare import wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpstorage.engine.formats.parquet.schema import Column, Table

FORMAT = "parquet"
_MEMBER = "PARQUET"
# As all generators of DLIO.
_SEED = 10


def install(table: Table, columns: tuple[str, ...]) -> None:
    """Have DLIO know the format: in its enumeration, and in its two factories."""
    importlib.import_module("pyarrow.parquet")  # once, and not by every worker in its first step
    enumerations = importlib.import_module("dlio_benchmark.common.enumerations")
    member = _add_member(enumerations.FormatType)
    readers = importlib.import_module("dlio_benchmark.reader.reader_factory").ReaderFactory
    generators = importlib.import_module("dlio_benchmark.data_generator.generator_factory")

    def reader(*args: Any) -> Any:  # noqa: ANN401 - a reader of DLIO
        base = importlib.import_module("dlio_benchmark.reader.reader_handler").FormatReader
        return _class("ParquetReader", ParquetReading, base, columns=columns)(*args)

    def generator() -> Any:  # noqa: ANN401 - a generator of DLIO
        base = importlib.import_module("dlio_benchmark.data_generator.data_generator")
        return _class("ParquetGenerator", ParquetGenerating, base.DataGenerator, table=table)()

    _extend(readers, "get_reader", member, reader)
    _extend(generators.GeneratorFactory, "get_generator", member, generator)


def _add_member(formats: Any) -> Any:  # noqa: ANN401 - DLIO's enumeration and its member
    """The member of an enumeration that is closed otherwise."""
    if FORMAT in formats._value2member_map_:
        return formats(FORMAT)
    member = object.__new__(formats)
    member._name_, member._value_ = _MEMBER, FORMAT
    formats._member_map_[_MEMBER] = member
    formats._value2member_map_[FORMAT] = member
    formats._member_names_.append(_MEMBER)
    type.__setattr__(formats, _MEMBER, member)

    def make(original: Callable[[str], Any]) -> Any:  # noqa: ANN401 - a static method
        return staticmethod(lambda value: member if value == FORMAT else original(value))

    wrap(formats, "get_enum", make)
    return member


def _class(name: str, parts: type, base: type, **contents: Any) -> Any:  # noqa: ANN401 - a class
    return type(name, (parts, base), contents)


def _extend(factory: Any, name: str, member: Any, made: Callable[..., Any]) -> None:  # noqa: ANN401 - DLIO's
    """Have a factory make what is ours for the format, and everything else itself."""

    def make(original: Callable[..., Any]) -> Any:  # noqa: ANN401 - a static method
        @functools.wraps(original)
        def get(type: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002, ANN401 - DLIO's own names
            if type is not member:
                return original(type, *args, **kwargs)
            return made(*args, *kwargs.values())

        return staticmethod(get)

    wrap(factory, name, make)


class RowGroups:
    """Rows of Parquet files by their number, with one open file and one row group in memory."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = list(columns) or None
        self._path = ""
        self._file: Any = None
        self._ends: list[int] = []
        self._group = -1
        self._rows: Any = None

    def row(self, path: str, index: int) -> Any:  # noqa: ANN401 - a table of pyarrow
        """The row as a table of its read columns.

        Raises:
            OSError: the file cannot be read.
        """
        if path != self._path:
            self._open(path)
        group = bisect.bisect_right(self._ends, index)
        if group != self._group:
            self._rows = self._file.read_row_group(group, columns=self._columns, use_threads=False)
            self._group = group
        first = self._ends[group - 1] if group else 0
        return self._rows.slice(index - first, 1)

    def _open(self, path: str) -> None:
        from pyarrow import parquet

        if self._file is not None:
            self._file.close()
        self._file = parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
        metadata = self._file.metadata
        sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._path, self._ends, self._group = path, list(itertools.accumulate(sizes)), -1


class ParquetReading:
    """What makes a reader of DLIO read rows of Parquet files."""

    columns: tuple[str, ...] = ()

    def __init__(self, dataset_type: Any, thread_index: int, _epoch: int) -> None:  # noqa: ANN401 - DLIO's
        super().__init__(dataset_type, thread_index)  # type: ignore[call-arg]  # DLIO's reader
        self._groups = RowGroups(self.columns)

    def open(self, filename: str) -> str:
        """Nothing is opened before a sample is wanted."""
        return filename

    def close(self, filename: str) -> None:
        """The file stays open until another one is wanted."""

    def get_sample(self, filename: str, sample_index: int) -> None:
        """Read one row; like all readers of DLIO, this one throws it away."""
        self._groups.row(filename, int(sample_index))

    def next(self) -> Iterator[Any]:
        """Batches, for the loaders that iterate."""
        yield from super().next()  # type: ignore[misc]  # DLIO's reader

    def read_index(self, image_idx: int, step: int) -> Any:  # noqa: ANN401 - DLIO's stand-in for a sample
        """A sample, for the loaders that ask by index."""
        return super().read_index(image_idx, step)  # type: ignore[misc]  # DLIO's reader

    def finalize(self) -> None:
        """Nothing is left to do."""

    def is_index_based(self) -> bool:
        """Samples can be asked for by index."""
        return True

    def is_iterator_based(self) -> bool:
        """Samples can be iterated over."""
        return True


class ParquetGenerating:
    """What makes a generator of DLIO write Parquet files of a schema."""

    table: Table

    def generate(self) -> None:
        """Write this rank's share of the files."""
        super().generate()  # type: ignore[misc]  # DLIO's generator
        own: Any = self
        utility = importlib.import_module("dlio_benchmark.utils.utility")
        random = np.random.default_rng((_SEED, own.my_rank))
        for index in range(own.my_rank, int(own.total_files_to_generate), own.comm_size):
            utility.progress(index + 1, own.total_files_to_generate, "Generating Parquet Data")
            path = own.storage.get_uri(own._file_list[index])  # noqa: SLF001 - of the class we are mixed into
            write_file(path, self.table, own.num_samples, random)


def write_file(path: str, table: Table, rows: int, random: np.random.Generator) -> None:
    """Write a file of random rows, one row group at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column.name, _type(column)) for column in table.columns])
    with parquet.ParquetWriter(
        path, schema, compression=table.compression, use_dictionary=False, write_statistics=False
    ) as writer:
        for first in range(0, rows, table.row_group_rows):
            count = min(table.row_group_rows, rows - first)
            arrays = [_array(column, count, random) for column in table.columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=count)


def _type(column: Column) -> Any:  # noqa: ANN401 - a type of pyarrow
    import pyarrow as pa

    element = getattr(pa, column.dtype)()
    return pa.list_(element) if column.is_list else element


def _array(column: Column, rows: int, random: np.random.Generator) -> Any:  # noqa: ANN401 - an array of pyarrow
    """Random bytes as the rows of a column."""
    import pyarrow as pa

    payload = random.bytes(rows * column.row_bytes)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * column.size)
    if column.dtype == "binary":
        return pa.Array.from_buffers(
            pa.binary(), rows, [None, offsets.buffers()[1], pa.py_buffer(payload)]
        )
    values = pa.array(np.frombuffer(payload, column.dtype))
    return pa.ListArray.from_arrays(offsets, values) if column.is_list else values


def read_share(path: str, columns: tuple[str, ...]) -> float:
    """The part of a file's bytes that the chunks of some columns take."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        metadata = file.metadata
        every = read = 0
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(number)
                every += chunk.total_compressed_size
                if chunk.path_in_schema.partition(".")[0] in columns:
                    read += chunk.total_compressed_size
    return read / every if every else 1.0
