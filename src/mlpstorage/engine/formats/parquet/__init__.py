"""Parquet: tables of payload, written and read by row group without a Parquet library."""

from mlpstorage.engine.formats.parquet.schema import Column, Table, require_codec, require_valid
from mlpstorage.engine.formats.parquet.writer import Parquet

__all__ = ["Column", "Parquet", "Table", "require_codec", "require_valid"]
