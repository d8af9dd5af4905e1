"""The leaf columns of a footer's schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.engine.formats.parquet.thrift import BYTE, STOP, STRUCT, TRUE, MalformedError

if TYPE_CHECKING:
    from mlpstorage.engine.formats.parquet.thrift import Cursor

_PHYSICAL = (
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
)  # fmt: skip
_REPEATED = 2
# Our dtypes by physical type and annotation: "" where there is none.
_DTYPES = {
    ("FLOAT", ""): "float32",
    ("DOUBLE", ""): "float64",
    ("FIXED_LEN_BYTE_ARRAY", "float16"): "float16",
    ("INT32", "int8"): "int8",
    ("INT32", "uint8"): "uint8",
    ("INT32", ""): "int32",
    ("INT32", "int32"): "int32",
    ("INT64", ""): "int64",
    ("INT64", "int64"): "int64",
    ("BYTE_ARRAY", ""): "binary",
}
# Numbers of the enumeration ConvertedType, and of the members of the union LogicalType.
_CONVERTED = {11: "uint8", 15: "int8", 17: "int32", 18: "int64"}
_LOGICAL_INTEGER, _LOGICAL_FLOAT16 = 10, 15
# Deeper schemas exist in no data set for training, and hostile ones would take long.
_MOST_DEPTH = 64


@dataclass(frozen=True)
class LeafColumn:
    """A column of values; several of them may belong to one column of the table.

    Args:
        path: Its names in the schema from the table's column on, joined by dots.
        name: The table's column that it belongs to.
        physical: How its values stand in the file, in Parquet's words.
        dtype: The same in ours, or None if we have none.
        is_list: Whether a row may have several values.
    """

    path: str
    name: str
    physical: str
    dtype: str | None
    is_list: bool


@dataclass
class _Element:
    """A node of the schema."""

    name: str = ""
    physical: int | None = None
    repetition: int = 0
    children: int = 0
    annotation: str = field(default="")


@dataclass
class _Open:
    """A group whose children are still to come."""

    names: tuple[str, ...]
    repeated: bool
    left: int


def read_schema(cursor: Cursor, kind: int) -> tuple[LeafColumn, ...]:
    """The leaves of a list of SchemaElement, which is the tree in depth-first order."""
    count = cursor.list(kind, STRUCT)
    if not count:
        raise MalformedError("its schema is empty")
    stack = [_Open((), repeated=False, left=_element(cursor).children)]
    leaves: list[LeafColumn] = []
    for _ in range(count - 1):
        while stack and not stack[-1].left:
            stack.pop()
        if not stack:
            raise MalformedError("its schema has nodes outside the tree")
        stack[-1].left -= 1
        node = _element(cursor)
        names = (*stack[-1].names, node.name)
        repeated = stack[-1].repeated or node.repetition == _REPEATED
        if node.children:
            stack.append(_Open(names, repeated, node.children))
            if len(stack) > _MOST_DEPTH:
                raise MalformedError("its schema is nested too deep")
        elif node.physical is not None:
            leaves.append(_leaf(names, node, node.physical, repeated=repeated))
    if any(group.left for group in stack):
        raise MalformedError("its schema is incomplete")
    return tuple(leaves)


def _leaf(names: tuple[str, ...], node: _Element, number: int, *, repeated: bool) -> LeafColumn:
    if not 0 <= number < len(_PHYSICAL):
        raise MalformedError(f"a column has the unknown type {number}")
    physical = _PHYSICAL[number]
    dtype = _DTYPES.get((physical, node.annotation))
    return LeafColumn(".".join(names), names[0], physical, dtype, repeated)


def _element(cursor: Cursor) -> _Element:
    """Read a SchemaElement."""
    found = _Element()
    converted = logical = ""
    number, kind = cursor.field(0)
    while kind != STOP:
        if number == 1:
            found.physical = cursor.integer(kind)
        elif number == 3:  # noqa: PLR2004 (SchemaElement.repetition_type)
            found.repetition = cursor.integer(kind)
        elif number == 4:  # noqa: PLR2004 (SchemaElement.name)
            found.name = cursor.text(kind)
        elif number == 5:  # noqa: PLR2004 (SchemaElement.num_children)
            found.children = cursor.integer(kind)
        elif number == 6:  # noqa: PLR2004 (SchemaElement.converted_type)
            converted = _CONVERTED.get(cursor.integer(kind), "other")
        elif number == 10:  # noqa: PLR2004 (SchemaElement.logicalType)
            logical = _logical(cursor, kind)
        else:
            cursor.skip(kind)
        number, kind = cursor.field(number)
    if found.children < 0:
        raise MalformedError("a node of its schema has fewer than no children")
    found.annotation = logical or converted
    return found


def _logical(cursor: Cursor, kind: int) -> str:
    """Read the union LogicalType: what it says in our words, "other" if we have none."""
    if kind != STRUCT:
        raise MalformedError("a logical type is not a structure")
    found = "other"
    number, kind = cursor.field(0)
    while kind != STOP:
        if number == _LOGICAL_INTEGER and kind == STRUCT:
            found = _integer_type(cursor)
        else:
            found = "float16" if number == _LOGICAL_FLOAT16 else "other"
            cursor.skip(kind)
        number, kind = cursor.field(number)
    return found


def _integer_type(cursor: Cursor) -> str:
    """Read an IntType: its bits and whether it is signed."""
    bits, signed = 0, False
    number, kind = cursor.field(0)
    while kind != STOP:
        if number == 1 and kind == BYTE:
            bits = cursor.data[cursor.position]
            cursor.position += 1
        else:
            signed = kind == TRUE
            cursor.skip(kind)
        number, kind = cursor.field(number)
    return f"{'' if signed else 'u'}int{bits}"
