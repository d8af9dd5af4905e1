"""Layers of option values: flag, environment, config file, default; and where each came from."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Token

from mlpstorage.core.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cyclopts import App, Argument, ArgumentCollection

ENV_PREFIX = "MLPSTORAGE_"
SOURCES: ContextVar[dict[str, str]] = ContextVar("sources")
_CONFIG_FILE = "config_file"


def fill(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give every option that no flag set its value from the environment or the config file.

    Raises:
        ConfigurationError: the config file names an unknown option.
        NotFoundError: the config file cannot be read.
    """
    sources: dict[str, str] = {}
    by_name = {_field(argument): argument for argument in arguments}
    for name, argument in by_name.items():
        variable = ENV_PREFIX + name.upper()
        if argument.tokens:
            sources[name] = f"flag {argument.tokens[0].keyword or argument.name}"
        elif variable in os.environ:
            _append(argument, _words(os.environ[variable], argument), f"env {variable}")
            sources[name] = f"env {variable}"
    config = by_name.get(_CONFIG_FILE)
    if config is not None and config.tokens:
        _fill_from_file(Path(config.tokens[0].value), by_name, sources)
    SOURCES.set(sources)


def _field(argument: Argument) -> str:
    return argument.name.lstrip("-").replace("-", "_")


def _words(text: str, argument: Argument) -> list[str]:
    return text.split() if _takes_many(argument) else [text]


def _takes_many(argument: Argument) -> bool:
    return bool(argument.parameter.consume_multiple)


def _append(argument: Argument, words: list[str], source: str) -> None:
    for index, word in enumerate(words):
        argument.append(Token(keyword=argument.name, value=word, source=source, index=index))


def _fill_from_file(path: Path, by_name: Mapping[str, Argument], sources: dict[str, str]) -> None:
    from mlpstorage.config import load_yaml

    document = load_yaml(path.expanduser())
    for key, value in document.values.items():
        name = key.replace("-", "_")
        where = document.sources.get(key, str(path))
        argument = by_name.get(name)
        if argument is None:
            if name not in _all_option_names():
                raise ConfigurationError(
                    f"{where}: unknown option {key!r}", fix=did_you_mean(name, sorted(by_name))
                )
            continue
        if not argument.tokens:
            _append(argument, [*_texts(value)], where)
            sources[name] = where


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 (a YAML value)
    if isinstance(value, dict):
        for name, part in value.items():
            yield from (
                f"{name}.{text}" if "=" in text else f"{name}={text}" for text in _texts(part)
            )
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, bool):
        yield str(value).lower()
    else:
        yield str(value)


def _all_option_names() -> set[str]:
    """Every option of every command: a config file may serve several commands."""
    from dataclasses import fields

    from mlpstorage.cli.binding import load
    from mlpstorage.cli.groups import GROUPS

    return {f.name for group in GROUPS for verb in group.verbs for f in fields(load(verb.options))}
