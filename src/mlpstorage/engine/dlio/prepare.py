"""Making a tree of DLIO importable in this process, and mending it in memory.

The same is done in every process that runs code of DLIO: in a rank, whose forked workers inherit
it, and in spawned workers, which start from nothing (see `workers`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.engine.dlio import standins

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.engine.formats.parquet.schema import Table


@dataclass(frozen=True)
class Settings:
    """How DLIO is prepared, the same in a rank and in all its workers; can be pickled.

    Args:
        path: The directory that holds the package dlio_benchmark; empty for the installed one.
        stock: Whether the formatting of the whole index for every sample is left as it is.
        scratch: A directory of this rank's own, where its workers leave their first counters.
        table: The schema of Parquet files; None for all other formats.
        columns: Those of its columns that training reads.
        headerless: Whether CSV files begin with a sample, as the native engine writes them.
        records: Whether TFRecord files are to be generated, which need the real TensorFlow.
    """

    path: str = ""
    stock: bool = False
    scratch: str = ""
    table: Table | None = None
    columns: tuple[str, ...] = ()
    headerless: bool = False
    records: bool = False


class QuietMap(dict[int, Any]):
    """DLIO's map of sample to (file, index in it), short when formatted.

    DLIO 2.0.0 formats the whole map into a debug line for every sample, which is quadratic in the
    samples of a rank: 4,096 samples cost 1.8 ms of CPU each, of which 1.5 are this line.

    >>> f"{QuietMap({0: ('a', 0)})}"
    '<1 samples>'
    """

    def __repr__(self) -> str:
        return f"<{len(self)} samples>"

    __str__ = __repr__


@functools.lru_cache(maxsize=1)
def prepare(settings: Settings) -> tuple[str, ...]:
    """Make DLIO importable here and mend it; what was changed, for the record.

    A second call with the same settings changes nothing more.
    """
    if settings.path:
        sys.path.insert(0, settings.path)
    standins.install()
    done = ["dftracer replaced by a stand-in that traces nothing"]
    if not standins.has_tensorflow():
        done.append("tensorflow, which is not installed, replaced by an empty stand-in")
    _find_missing_folders_empty()
    done.append("a data set needs no folder of validation files")
    if not settings.stock and _quiet_the_index():
        done.append("the index of samples is not formatted for every sample")
    if settings.headerless:
        _read_tables_without_header()
        done.append("tables of text have no line of names")
    if settings.records:
        from mlpstorage.engine.dlio import records

        records.install()
        done.append("the index of TFRecord files is made without the program tfrecord2idx")
    _load_early()
    if settings.table is not None:
        from mlpstorage.engine.dlio import parquet

        parquet.install(settings.table, settings.columns)
        done.append("format parquet added")
    from mlpstorage.engine.dlio import workers

    workers.install(settings)
    return tuple(done)


def wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> bool:  # noqa: ANN401 - any class
    """Replace an attribute by what `make` makes of it; whether it was there."""
    found = getattr(owner, name, None)
    if found is None:
        return False
    setattr(owner, name, make(found))
    return True


def _find_missing_folders_empty() -> None:
    """DLIO lists the folder of validation files even where there are none to read."""
    storage = importlib.import_module("dlio_benchmark.storage.file_storage").FileStorage

    def make(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def walk_node(self: Any, id: str, use_pattern: bool = False) -> Any:  # noqa: A002, ANN401 - DLIO's own names
            if not use_pattern and not os.path.isdir(self.get_uri(id)):  # noqa: PTH112 - a string
                return []
            return original(self, id, use_pattern)

        return walk_node

    wrap(storage, "walk_node", make)


def _quiet_the_index() -> bool:
    arguments = importlib.import_module("dlio_benchmark.utils.config").ConfigArguments

    def make(original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        @functools.wraps(original)
        def get_global_map_index(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            found = original(self, *args, **kwargs)
            return QuietMap(found) if type(found) is dict else found

        return get_global_map_index

    return wrap(arguments, "get_global_map_index", make)


def _read_tables_without_header() -> None:
    """DLIO takes the first line of a CSV file for names: a sample would be missing."""
    reader = importlib.import_module("dlio_benchmark.reader.csv_reader").CSVReader

    def make(_original: Any) -> Any:  # noqa: ANN401 - a method of DLIO
        def open_file(_self: Any, filename: str) -> Any:  # noqa: ANN401 - an array of numpy
            import pandas as pd

            return pd.read_csv(filename, compression="infer", header=None).to_numpy()

        return open_file

    wrap(reader, "open", make)


def _load_early() -> None:
    """Load what readers would load at their first sample, in every worker and in its first step."""
    with contextlib.suppress(ImportError):  # whoever needs it will say so
        importlib.import_module("PIL.Image").preinit()
    importlib.import_module("zipfile")
