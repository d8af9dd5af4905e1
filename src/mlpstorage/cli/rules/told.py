"""What the code of a rule says of its findings: the numbers they may bear, and what mends them.

Both stand in the code once, where a finding is made. They are read from there, so that an
explanation names what a verdict names.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NUMBER = re.compile(r"(?:[0-9]+|[A-Z])(?:\.[0-9]+)+")
_FINDING = "Issue"
_ELLIPSIS = "…"
_Node = ast.Constant | ast.keyword | ast.Call


@dataclass(frozen=True)
class Told:
    """The numbers that findings may bear, and what mends them, each once and in order.

    What depends on the subject is a word in capitals, or dots.
    """

    numbers: tuple[str, ...]
    fixes: tuple[str, ...]


@cache
def told_by(check: Callable[..., Any]) -> Told:
    """What a rule's function says of its findings, itself and by the functions that find for it.

    >>> from mlpstorage.core.rules import incomplete
    >>> told_by(incomplete).fixes
    ('run it again, to its end',)
    """
    numbers: dict[str, None] = {}
    fixes: dict[str, None] = {}
    for function, node in _nodes(check, set()):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _NUMBER.fullmatch(node.value):
                numbers[node.value] = None
        elif isinstance(node, ast.keyword) and node.arg == "fix":
            fixes.update(dict.fromkeys(_texts(node.value, function.__globals__)))
    return Told(tuple(numbers), tuple(fixes))


def _nodes(check: object, seen: set[object]) -> Iterator[tuple[FunctionType, _Node]]:
    """The syntax of a function that makes findings, and of those that it calls for them."""
    if not isinstance(check, FunctionType) or check in seen:
        return
    seen.add(check)
    tree = ast.parse(textwrap.dedent(inspect.getsource(check))).body[0]
    if not isinstance(tree, ast.FunctionDef) or _FINDING not in ast.unparse(tree.returns or tree):
        return
    nodes = [node for node in ast.walk(tree) if isinstance(node, _Node)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        yield check, node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _nodes(check.__globals__.get(node.func.id), seen)


def _texts(node: ast.expr, names: dict[str, Any]) -> Iterator[str]:
    """The texts that an expression can be, as far as they can be told without a subject."""
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body, names)
        yield from _texts(node.orelse, names)
    elif isinstance(node, ast.Constant) and node.value:
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(_part(part, names) for part in node.values)


def _part(node: ast.expr, names: dict[str, Any]) -> str:
    """A piece of a text: itself, a constant's value, or what stands for a value."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.FormattedValue) or not isinstance(node.value, ast.Name):
        return _ELLIPSIS
    if node.value.id not in names:
        return node.value.id.upper()
    spec = node.format_spec
    parts = spec.values if isinstance(spec, ast.JoinedStr) else []
    return format(names[node.value.id], "".join(_part(part, names) for part in parts))
