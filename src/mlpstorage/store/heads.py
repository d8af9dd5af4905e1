"""Metadata without its bulk: what lists and reports of many runs need, many times faster.

Most of a metadata file are the records of the hosts, before and after. They are passed over here
while decoding, so that thousands of runs are listed within a second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.store.codec import SCHEMA_VERSION, Metadata, read_metadata
from mlpstorage.store.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

_BULK = frozenset({"system_info", "cluster_snapshots", "timeseries_data"})


@lru_cache(maxsize=1)
def _decoder() -> msgspec.json.Decoder[Any]:
    """Reads all fields of `Metadata` but the bulk; null is a value of each."""
    fields = [
        (field.encode_name, field.type | None, None)
        for field in msgspec.structs.fields(Metadata)
        if field.name not in _BULK
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Head", fields, kw_only=True), strict=False)


def read_head(path: Path) -> Metadata:
    """The metadata of a run with nothing in the fields about its hosts.

    Raises:
        AccessError, NotFoundError, ConfigurationError: as `read_metadata`.
    """
    content = read_file(path)
    try:
        head = _decoder().decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return read_metadata(path)  # it reads other dialects, and words what is wrong
    if head.schema_version != SCHEMA_VERSION:
        return read_metadata(path)
    known = {
        name: value for name in head.__struct_fields__ if (value := getattr(head, name)) is not None
    }
    return Metadata(**known)
