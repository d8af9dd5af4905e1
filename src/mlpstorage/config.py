"""Strict YAML with line numbers, layers of values, and where each value came from."""

from __future__ import annotations

import errno
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from mlpstorage.core.errors import (
    AccessError,
    ConfigurationError,
    NotFoundError,
    UsageError,
    did_you_mean,
)
from mlpstorage.core.units import MIB, format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ruamel.yaml.nodes import Node

    from mlpstorage.core.errors import MlpstorageError

T = TypeVar("T")
Path_ = tuple[str, ...]
_MOST_BYTES = MIB
_CHECK_FILE = "check which file is meant, and what is in it"
_SCALARS = frozenset({"str", "int", "float", "bool", "null"})
_FOREIGN_LINE = re.compile(
    r"^(?:(?P<conflict><{7} |>{7} )|(?P<directive>%YAML|%TAG)\b)", re.MULTILINE
)


@dataclass(frozen=True)
class Document:
    """Nested plain values, and for the dotted name of each value the place it was written at."""

    values: dict[str, Any]
    sources: dict[str, str]

    def layered(self, other: Document) -> Document:
        """This document with the values of `other` laid over it, leaf by leaf."""
        kept = {name: at for name, at in self.sources.items() if not _hidden(name, other.sources)}
        return Document(_merge(self.values, other.values), {**kept, **other.sources})

    def section(self, *names: str) -> Document:
        """The part below a dotted name, with its sources; empty when it is absent."""
        values: Any = self.values
        for name in names:
            values = values.get(name, {}) if isinstance(values, dict) else {}
        prefix = ".".join(names) + "."
        sources = {k[len(prefix) :]: v for k, v in self.sources.items() if k.startswith(prefix)}
        return Document(values if isinstance(values, dict) else {}, sources)

    def without(self, *names: str) -> Document:
        """The document without some top-level names."""
        gone = tuple(f"{name}." for name in names)
        return Document(
            {k: v for k, v in self.values.items() if k not in names},
            {k: v for k, v in self.sources.items() if k not in names and not k.startswith(gone)},
        )

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Every dotted name with its value, in the order of the document."""
        yield from _leaves(self.values, ())


def _hidden(name: str, above: Mapping[str, str]) -> bool:
    """Whether a name is below one of the names above it, or the other way round."""
    return any(name.startswith(f"{high}.") or high.startswith(f"{name}.") for high in above)


def user_path(text: str, option: str) -> Path:
    """The absolute path that a user's words name, `~` expanded.

    Raises:
        UsageError: the home directory of `~` is not known.
        NotFoundError: the path is relative and the current directory is gone.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(
            f"{option} {text}: the home directory of {Path(text).parts[0]} is not known",
            fix="write the path in full",
        ) from error
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{option} {text}: the current directory has been removed",
            why="the path is relative to it",
            fix="go to a directory that exists, or write the path in full",
        ) from error


def load_yaml(path: Path) -> Document:
    """The mapping a YAML 1.2 file holds, each leaf with its `file:line`.

    Raises:
        NotFoundError: there is no such file.
        AccessError: it may not be read.
        ConfigurationError: it is not YAML, repeats a key, or is not a mapping of names.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(
            f"{path} is larger than {format_bytes(_MOST_BYTES)}",
            why="no configuration is that large",
            fix="check which file is meant",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{path}:{line}: not a text file: byte {content[error.start]:#04x} is not UTF-8",
            fix=_CHECK_FILE,
        ) from error
    return parse_yaml(text, str(path))


def _unreadable(path: Path, error: OSError) -> MlpstorageError:
    if error.errno == errno.ENOENT:
        return NotFoundError(f"there is no file {path}", fix="check the path")
    what = f"cannot read {path}: {error.strerror or error}"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AccessError(what, fix="make it readable for this user")
    return ConfigurationError(what, fix=_CHECK_FILE)


def parse_yaml(text: str, name: str) -> Document:
    r"""Like `load_yaml`, of text; `name` stands for the file in messages and sources.

    >>> parse_yaml("a:\n  b: 1e9\n", "x.yaml")
    Document(values={'a': {'b': 1000000000.0}}, sources={'a.b': 'x.yaml:2'})
    """
    _refuse_foreign_text(text, name)
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of anchors, which are refused below
            root = yaml.compose(text)
        if root is None:
            return Document({}, {})
        if not isinstance(root, MappingNode):
            raise ConfigurationError(f"{name} is not a mapping", fix="write `name: value` lines")
        sources: dict[str, str] = {}
        values = _mapping(root, (), _Reading(name, yaml.constructor, sources))
    except YAMLError as error:
        raise _not_yaml(error, name) from error
    except RecursionError as error:
        raise ConfigurationError(f"{name} is nested too deeply", fix=_CHECK_FILE) from error
    return Document(values, sources)


def _refuse_foreign_text(text: str, name: str) -> None:
    """Refuse what YAML would explain badly, or would read in another version of itself."""
    if "\0" in text:
        raise ConfigurationError(f"{name} is not a text file", fix=_CHECK_FILE)
    found = _FOREIGN_LINE.search(text)
    if found is None:
        return
    line = text.count("\n", 0, found.start()) + 1
    if found["conflict"]:
        raise ConfigurationError(
            f"{name}:{line}: a merge conflict is not resolved", fix="keep one of its two sides"
        )
    raise ConfigurationError(
        f"{name}:{line}: the directive {found['directive']} is not understood",
        why="the file is read as YAML 1.2",
        fix="delete the line",
    )


def _not_yaml(error: YAMLError, name: str) -> ConfigurationError:
    if not isinstance(error, MarkedYAMLError):
        text = re.sub(r' in "<unicode string>"', "", " ".join(str(error).split()))
        return ConfigurationError(f"{name}: not valid YAML: {text}", fix=_CHECK_FILE)
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    text = " ".join(part for part in (error.context, error.problem) if part)
    return ConfigurationError(
        f"{name}{line}: not valid YAML: {text}", fix="correct the line, or put its value in quotes"
    )


@dataclass(frozen=True)
class _Reading:
    """The file that is being read: its name, how its scalars become values, where leaves stand."""

    name: str
    constructor: Any
    sources: dict[str, str]

    def line(self, node: Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"


def _mapping(node: MappingNode, path: Path_, file: _Reading) -> dict[str, Any]:
    _refuse_anchor(node, file)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = file.line(key_node)
        if not isinstance(key_node, ScalarNode):
            raise ConfigurationError(f"{line}: a key is not a name", fix="use plain names as keys")
        key = str(key_node.value)
        if key in values:
            raise ConfigurationError(
                f"{line}: {'.'.join((*path, key))} stands twice", fix="delete one of the two"
            )
        values[key] = _value(value_node, (*path, key), file)
        if not isinstance(value_node, MappingNode):
            file.sources[".".join((*path, key))] = line
    return values


def _value(node: Node, path: Path_, file: _Reading) -> Any:  # noqa: ANN401 (YAML)
    if isinstance(node, MappingNode):
        return _mapping(node, path, file)
    _refuse_anchor(node, file)
    if isinstance(node, SequenceNode):
        return [_value(item, path, file) for item in node.value]
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if kind == "timestamp":  # YAML 1.2 knows no dates
        return node.value
    if kind not in _SCALARS:
        raise ConfigurationError(
            f"{file.line(node)}: the tag {node.tag} is not understood", fix="write a plain value"
        )
    try:
        return file.constructor.construct_object(node)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{file.line(node)}: {'.'.join(path)} is no number that can be read",
            fix="write a number of reasonable length, or put the text in quotes",
        ) from error


def _refuse_anchor(node: Node, file: _Reading) -> None:
    """Refuse anchors: with aliases, few lines stand for gigabytes, or for themselves."""
    if node.anchor:
        raise ConfigurationError(
            f"{file.line(node)}: anchors and aliases (&{node.anchor}) are not understood",
            fix="write the value wherever it is needed",
        )


def scalar(text: str) -> Any:  # noqa: ANN401 (a YAML scalar)
    """The value a word has in YAML 1.2: number, true/false, null, else the text itself.

    >>> scalar("8"), scalar("0.5"), scalar("true"), scalar("1e3"), scalar("a:b")
    (8, 0.5, True, 1000.0, 'a:b')
    """
    try:
        found = parse_yaml(f"v: {text}\n", "value").values["v"]
    except ConfigurationError:
        return text
    return found if isinstance(found, (int, float, bool, type(None))) else text


def assignments(words: Iterable[str], source: str) -> Document:
    """The document that `section.key=value` words describe.

    >>> assignments(["reader.read_threads=8"], "--params").values
    {'reader': {'read_threads': 8}}

    Raises:
        UsageError: a word has no `=`, or an empty name.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not all(name.split(".")):
            raise UsageError(
                f"{word!r} is not a parameter", fix="write section.key=value, without spaces"
            )
        values = _merge(values, _nest(name.split("."), scalar(text)))
        sources[name] = source
    return Document(values, sources)


def _nest(names: list[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 (a YAML scalar)
    for name in reversed(names):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _leaves(values: Mapping[str, Any], path: Path_) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def convert(document: Document, kind: type[T], where: str) -> T:
    """The typed value of a document: unknown names, wrong types and ranges are refused.

    Raises:
        UsageError: a value that a flag gave is wrong; names flag, key, value and expectation.
        ConfigurationError: a value of a file is; names file and line instead of the flag.
    """
    try:
        return msgspec.convert(document.values, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), document, kind, where) from error


def _explain(text: str, document: Document, kind: type, where: str) -> MlpstorageError:
    message, _, at = text.partition(" - at `$")
    name = at.rstrip("`").lstrip(".")
    missing = re.search(r"missing required field `(.+)`", message, re.DOTALL)
    if missing:
        full = f"{name}.{missing[1]}".lstrip(".")
        return ConfigurationError(
            f"{where}: {full} is missing", fix=f"give {full} {_expected(kind, full)}"
        )
    unknown = re.search(r"unknown field `(.+)`", message, re.DOTALL)
    full = f"{name}.{unknown[1]}".lstrip(".") if unknown else name
    place = _place(full, document, where)
    refusal = UsageError if place.startswith("--") else ConfigurationError
    if unknown:
        return refusal(
            f"{place}: unknown parameter {full}",
            fix=did_you_mean(unknown[1], _field_names(kind, name)),
        )
    value = _lookup(document.values, name)
    shown = "a section" if isinstance(value, dict) else "empty" if value is None else repr(value)
    return refusal(f"{place}: {name} is {shown}", fix=f"give it {_expected(kind, name)}")


def _lookup(values: Any, dotted: str) -> Any:  # noqa: ANN401 (plain values)
    for part in _steps(dotted):
        if isinstance(values, list) and part.isdigit():
            values = values[int(part)]
        else:
            values = values.get(part) if isinstance(values, dict) else None
    return values


def _steps(dotted: str) -> list[str]:
    """The names and numbers of a path.

    >>> _steps("dataset.columns[3].dtype")
    ['dataset', 'columns', '3', 'dtype']
    """
    return re.findall(r"[^.\[\]]+", dotted)


def _place(name: str, document: Document, where: str) -> str:
    if name in document.sources:
        return document.sources[name]
    if "[" in name:
        return _place(name.partition("[")[0], document, where)
    below = (at for source, at in document.sources.items() if source.startswith(f"{name}."))
    return next(below, where)


def _field_names(kind: type, dotted: str) -> list[str]:
    found = _type_at(kind, dotted)
    return [f.encode_name for f in found.fields] if isinstance(found, inspect.StructType) else []


def _type_at(kind: type, dotted: str) -> inspect.Type:
    found = inspect.type_info(kind)
    for part in _steps(dotted):
        if isinstance(found, (inspect.ListType, inspect.VarTupleType)):
            found = found.item_type
        elif isinstance(found, inspect.StructType):
            found = next(f.type for f in found.fields if f.encode_name == part)
    return found


def _expected(kind: type, dotted: str) -> str:
    """What a parameter may be, for people."""
    found = _type_at(kind, dotted)
    while isinstance(found, (inspect.Metadata, inspect.UnionType)):
        found = found.types[0] if isinstance(found, inspect.UnionType) else found.type
    if isinstance(found, inspect.IntType):
        return f"a whole number{_range(found)}"
    if isinstance(found, inspect.FloatType):
        return f"a number{_range(found)}"
    if isinstance(found, inspect.LiteralType):
        return f"one of: {', '.join(map(str, found.values))}"
    if isinstance(found, (inspect.BoolType, inspect.ListType, inspect.VarTupleType)):
        return "true or false" if isinstance(found, inspect.BoolType) else "a list"
    if isinstance(found, inspect.StructType):
        return f"a section with {', '.join(f.encode_name for f in found.fields)}"
    named = isinstance(found, inspect.StrType) and "A-Z" in (found.pattern or "")
    return "a name of letters, digits, dots, dashes and underscores" if named else "a text"


def _range(number: inspect.IntType | inspect.FloatType) -> str:
    least = [f" >= {_plain(number.ge)}"] if number.ge is not None else []
    most = [f" <= {_plain(number.le)}"] if number.le is not None else []
    return " and".join(least + most)


def _plain(number: float) -> str:
    """Without an exponent or a point where there need not be one."""
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)
