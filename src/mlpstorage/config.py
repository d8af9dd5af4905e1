"""Strict YAML with line numbers, layers of values, and where each value came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ruamel.yaml.nodes import Node

T = TypeVar("T")
Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """Nested plain values, and for the dotted name of each value the place it was written at."""

    values: dict[str, Any]
    sources: dict[str, str]

    def layered(self, other: Document) -> Document:
        """This document with the values of `other` laid over it, leaf by leaf."""
        return Document(_merge(self.values, other.values), {**self.sources, **other.sources})

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


def load_yaml(path: Path) -> Document:
    """The mapping a YAML 1.2 file holds, each leaf with its `file:line`.

    Raises:
        NotFoundError: the file cannot be read.
        ConfigurationError: it is not YAML, repeats a key, or is not a mapping of names.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"cannot read {path}: {error}", fix="name a readable file") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Document:
    r"""Like `load_yaml`, of text; `name` stands for the file in messages and sources.

    >>> parse_yaml("a:\n  b: 1e9\n", "x.yaml")
    Document(values={'a': {'b': 1000000000.0}}, sources={'a.b': 'x.yaml:2'})
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        if root is None:
            return Document({}, {})
        if not isinstance(root, MappingNode):
            raise ConfigurationError(f"{name} is not a mapping", fix="write `name: value` lines")
        sources: dict[str, str] = {}
        values = _mapping(root, (), name, sources)
    except YAMLError as error:
        raise ConfigurationError(
            f"{name} is not valid YAML: {_one_line(error)}", fix="correct the file"
        ) from error
    return Document(values, sources)


def _one_line(error: YAMLError) -> str:
    return re.sub(r"\s+", " ", str(error))


def _mapping(node: MappingNode, path: Path_, name: str, sources: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"{name}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, ScalarNode):
            raise ConfigurationError(f"{line}: a key is not a name", fix="use plain names as keys")
        key = str(key_node.value)
        if key in values:
            raise ConfigurationError(
                f"{line}: {'.'.join((*path, key))} stands twice", fix="delete one of the two"
            )
        values[key] = _value(value_node, (*path, key), name, sources)
        if not isinstance(value_node, MappingNode):
            sources[".".join((*path, key))] = line
    return values


def _value(node: Node, path: Path_, name: str, sources: dict[str, str]) -> Any:  # noqa: ANN401 (YAML)
    if isinstance(node, MappingNode):
        return _mapping(node, path, name, sources)
    if isinstance(node, SequenceNode):
        return [_value(item, path, name, sources) for item in node.value]
    return YAML(typ="safe", pure=True).constructor.construct_object(node)


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
        ConfigurationError: names the place (file and line, or flag), key, value and expectation.
    """
    try:
        return msgspec.convert(document.values, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), document, kind, where) from error


def _explain(text: str, document: Document, kind: type, where: str) -> ConfigurationError:
    message, _, at = text.partition(" - at `$")
    name = at.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.+)`", message)
    if unknown:
        full = f"{name}.{unknown[1]}".lstrip(".")
        known = _field_names(kind, name)
        return ConfigurationError(
            f"{_place(full, document, where)}: unknown parameter {full}",
            fix=did_you_mean(unknown[1], known),
        )
    missing = re.search(r"missing required field `(.+)`", message)
    if missing:
        full = f"{name}.{missing[1]}".lstrip(".")
        return ConfigurationError(f"{where}: {full} is missing", fix=f"give {full} a value")
    value = dict(document.leaves()).get(name)
    return ConfigurationError(
        f"{_place(name, document, where)}: {name} is {value!r}",
        fix=message[:1].lower() + message[1:].replace("`", ""),
    )


def _place(name: str, document: Document, where: str) -> str:
    for source_name, source in document.sources.items():
        if source_name == name or source_name.startswith(f"{name}."):
            return source
    return where


def _field_names(kind: Any, dotted: str) -> list[str]:  # noqa: ANN401 (a type)
    for part in [part for part in dotted.split(".") if part]:
        hint = msgspec.structs.fields(kind)
        kind = next(f.type for f in hint if f.encode_name == part)
    return [f.encode_name for f in msgspec.structs.fields(kind)]
