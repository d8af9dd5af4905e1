from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats.parquet.footer import GroupReads, parse_footer
from mlpstorage.engine.formats.parquet.schema import Column, Table
from mlpstorage.engine.formats.parquet.thrift import (
    BINARY,
    DOUBLE,
    I32,
    I64,
    LIST,
    MAP,
    SET,
    STRUCT,
    integer,
    sequence,
    struct,
    text,
    varint,
)
from mlpstorage.engine.formats.parquet.writer import Parquet
from mlpstorage.engine.payload import Payload


def ours() -> bytes:
    """A footer of ours."""
    table = Table((Column("a", "int8"), Column("b", "float32", 3), Column("c", "float64")), 3)
    pieces = Parquet(table).pieces(0, 10, Payload(1, 0), memoryview(bytearray(1 << 16)))
    return footer_in(b"".join(bytes(piece) for _, piece in pieces))


def theirs() -> bytes:
    """A footer of the Arrow library, with most of what it can have."""
    table = pa.table({
        "a": np.arange(10), "b": [f"{number}" for number in range(10)],
        "c": [{"x": 1, "y": [1.0, 2.0]}] * 10,
    })  # fmt: skip
    out = pa.BufferOutputStream()
    pq.write_table(table, out, row_group_size=3, write_page_index=True)
    return footer_in(out.getvalue().to_pybytes())


def footer_in(data: bytes) -> bytes:
    """The footer at the end of a file's bytes."""
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


FOOTERS = {"ours": ours(), "theirs": theirs()}


def survives(data: bytes) -> None:
    """Bytes that claim to be a footer are understood or refused, nothing else."""
    try:
        footer = parse_footer(data, "file")
    except ConfigurationError:
        return
    shape = (len(footer.group_rows), len(footer.columns))
    assert footer.begin.shape == footer.length.shape == shape
    assert footer.begin.min(initial=0) >= 0
    assert footer.length.min(initial=0) >= 0
    assert footer.group_rows.sum() == footer.num_rows
    reads = GroupReads.of(footer, [leaf.name for leaf in footer.columns], "file")
    assert all(reads.bytes(group) >= 0 for group in range(len(footer.group_rows)))


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(FOOTERS)),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_changed_bytes(name: str, changes: list[tuple[float, int]]) -> None:
    """A footer with some bytes changed is understood or refused."""
    data = bytearray(FOOTERS[name])
    for place, value in changes:
        data[int(place * len(data))] = value
    survives(bytes(data))


@settings(deadline=None, max_examples=200)
@given(
    name=st.sampled_from(sorted(FOOTERS)),
    place=st.floats(0, 1),
    inserted=st.binary(max_size=20),
    removed=st.integers(0, 20),
)
def test_inserted_and_removed_bytes(name: str, place: float, inserted: bytes, removed: int) -> None:
    """A footer with bytes put in or taken out is understood or refused."""
    data = FOOTERS[name]
    at = int(place * len(data))
    survives(data[:at] + inserted + data[at + removed :])


@pytest.mark.parametrize("name", sorted(FOOTERS))
def test_truncation(name: str) -> None:
    """Every footer that is cut off is refused, wherever it ends."""
    data = FOOTERS[name]
    for end in range(len(data)):
        with pytest.raises(ConfigurationError):
            parse_footer(data[:end], "file")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    """No bytes at all do anything but be understood or refused."""
    survives(data)


SCHEMA = sequence(STRUCT, [
    struct([(4, BINARY, text("root")), (5, I32, integer(1))]),
    struct([(1, I32, integer(1)), (3, I32, integer(0)), (4, BINARY, text("a"))]),
])  # fmt: skip


def chunk(**changed: bytes) -> bytes:
    """A column chunk whose metadata are 100 bytes at offset 4."""
    meta = struct([
        (1, I32, integer(1)), (4, I32, changed.get("codec", integer(0))),
        (7, I64, changed.get("size", integer(100))), (9, I64, changed.get("at", integer(4))),
    ])  # fmt: skip
    return struct([(2, I64, integer(0)), (3, STRUCT, changed.get("meta", meta))])


def footer(
    schema: bytes = SCHEMA, chunks: bytes | None = None, rows: int = 5, more: bytes = b""
) -> bytes:
    """A footer of one row group."""
    columns = sequence(STRUCT, [chunk()]) if chunks is None else chunks
    group = struct([(1, LIST, columns), (3, I64, integer(5))])
    body = struct([
        (1, I32, integer(1)), (2, LIST, schema), (3, I64, integer(rows)),
        (4, LIST, sequence(STRUCT, [group])),
    ])  # fmt: skip
    return body[:-1] + more + b"\0"


def test_the_smallest_footer_is_understood() -> None:
    """What the following tests spoil is a footer."""
    found = parse_footer(footer(), "file")
    assert (found.begin.tolist(), found.length.tolist()) == ([[4]], [[100]])


HUGE = varint((1 << 31) - 1)
# Field 15 of the footer, which does not exist, of several kinds.
UNKNOWN = 15 - 4 << 4


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (footer(rows=6), "do not have 6 rows"),
        (footer(schema=bytes([0xF0 | STRUCT]) + HUGE), ""),
        (footer(chunks=bytes([0xF0 | STRUCT]) + HUGE), "2147483647 columns"),
        (footer(chunks=sequence(STRUCT, [chunk()] * 2)), "2 columns, the schema 1"),
        (footer(chunks=sequence(I32, [integer(1)])), "list of kind 12"),
        (footer(chunks=sequence(STRUCT, [chunk(at=integer(-1))])), "before the file"),
        (footer(chunks=sequence(STRUCT, [chunk(size=integer(-9))])), "before the file"),
        (footer(chunks=sequence(STRUCT, [chunk(at=integer((1 << 63) - 1))])), "ends nowhere"),
        (footer(chunks=sequence(STRUCT, [chunk(at=b"\xff" * 11 + b"\0")])), "bits"),
        (footer(chunks=sequence(STRUCT, [chunk(at=b"\xff" * 9 + b"\x7e")])), ""),
        (footer(chunks=sequence(STRUCT, [chunk(meta=b"\0")])), "may be encrypted"),
        (footer(chunks=sequence(STRUCT, [struct([(1, BINARY, text("b"))])])), "another file"),
        (footer(more=bytes([UNKNOWN | LIST, 0xF0 | DOUBLE]) + HUGE), "beyond the end"),
        (footer(more=bytes([UNKNOWN | SET, 0xF0 | I32]) + HUGE), "beyond the end"),
        (footer(more=bytes([UNKNOWN | MAP]) + HUGE + b"\x55"), "beyond the end"),
        (footer(more=bytes([UNKNOWN | BINARY]) + HUGE), ""),
        (footer(more=bytes([UNKNOWN | BINARY]) + b"\xff" * 9 + b"\x01"), ""),
        (footer(more=bytes([UNKNOWN | STRUCT]) + b"\x1c" * 100_000), "too deep"),
        (footer(more=bytes([UNKNOWN | LIST]) + b"\x19" * 100_000), "too deep"),
        (footer(more=bytes([UNKNOWN | 14])), "unknown kind"),
        (footer(schema=sequence(STRUCT, [struct([(4, BINARY, b"\x02\xff\xff")])])), "malformed"),
        (footer(schema=sequence(STRUCT, [])), "schema is empty"),
        (footer(schema=sequence(STRUCT, [struct([(5, I32, integer(1 << 30))])])), "incomplete"),
        (footer(schema=sequence(STRUCT, [struct([(5, I32, integer(-1))])])), "fewer than no"),
        (footer(schema=sequence(STRUCT, [struct([(5, I32, integer(1))])] * 100_000)), "too deep"),
        (footer(schema=sequence(STRUCT, [struct([])] * 2)), "outside the tree"),
        (b"\0", "no schema"),
        (struct([(4, LIST, sequence(STRUCT, []))]), "no schema"),
    ],
)  # fmt: skip
def test_lies_are_refused_cheaply(data: bytes, why: str) -> None:
    """Claims that the bytes do not keep cost neither memory nor time, and are named."""
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="not a usable parquet file") as caught:
            parse_footer(data, "file")
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + (1 << 20)
    finally:
        tracemalloc.stop()
    assert why in caught.value.why


def test_an_unknown_codec_is_told_by_number() -> None:
    """A codec of later times does not hinder reading the bytes."""
    found = parse_footer(footer(chunks=sequence(STRUCT, [chunk(codec=integer(99))])), "file")
    assert found.codecs == {"codec 99"}


def test_fields_of_later_times_are_skipped() -> None:
    """Unknown fields of every kind, at every place where the writer may put them, are no matter."""
    strange = struct([
        (10, 1, b""), (11, 2, b""), (12, 3, b"\x07"), (13, 4, integer(-5)), (14, DOUBLE, bytes(8)),
        (15, BINARY, text("text")), (16, LIST, sequence(1, [b"\x01"] * 20)),
        (17, MAP, varint(1) + bytes([BINARY << 4 | I64]) + text("k") + integer(1 << 60)),
        (18, MAP, b"\0"), (19, SET, sequence(I32, [integer(300)])), (20, 13, bytes(16)),
        (21, BINARY, text("long" * 100)), (22, STRUCT, struct([(1, STRUCT, b"\0")])),
    ])  # fmt: skip
    plain = chunk()
    # After the metadata (field 3), as field 13, and after the row groups (field 4), as field 14.
    later = plain[:-1] + bytes([0xA0 | STRUCT]) + strange + b"\0"
    data = footer(chunks=sequence(STRUCT, [later]), more=bytes([0xA0 | STRUCT]) + strange)
    found = parse_footer(data, "file")
    assert (found.begin.tolist(), found.length.tolist()) == ([[4]], [[100]])
    assert found.codecs == {"none"}


def test_numbers_of_fields_may_be_written_out() -> None:
    """A field number in full, which the protocol allows, is understood everywhere."""
    meta = b"\x05\x08\x00" + b"\x06\x0e" + integer(100) + b"\x06\x12" + integer(4) + b"\0"
    found = parse_footer(footer(chunks=sequence(STRUCT, [b"\x0c\x06" + meta + b"\0"])), "file")
    assert (found.begin.tolist(), found.length.tolist()) == ([[4]], [[100]])
