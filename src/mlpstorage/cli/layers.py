"""Layers of option values: flag, environment, config file, default; and where each came from."""

from __future__ import annotations

import difflib
import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from cyclopts import Token

from mlpstorage.cli.values import check_words, needs_value
from mlpstorage.core.errors import ConfigurationError, UsageError, did_you_mean
from mlpstorage.report.show import complain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cyclopts import App, Argument, ArgumentCollection

ENV_PREFIX = "MLPSTORAGE_"
SOURCES: ContextVar[dict[str, str]] = ContextVar("sources")
_CONFIG_FILE = "config_file"
_NEAR = 0.85


def fill(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give every option that no flag set its value from the environment or the config file.

    An empty variable counts as not set.

    Raises:
        UsageError: a flag's value cannot be taken.
        ConfigurationError: a variable's or the file's cannot, or the file names unknown options.
        NotFoundError, AccessError: the config file cannot be read.
    """
    sources: dict[str, str] = {}
    by_name = {_field(argument): argument for argument in arguments}
    for name, argument in by_name.items():
        if argument.tokens:
            sources[name] = _check_flags(argument)
        else:
            _fill_from_environment(name, argument, sources)
    config = by_name.get(_CONFIG_FILE)
    if config is not None and config.tokens:
        _fill_from_file(config.tokens[0].value, by_name, sources)
    _warn_of_misspelt_variables(by_name)
    SOURCES.set(sources)


def _field(argument: Argument) -> str:
    return argument.name.lstrip("-").replace("-", "_")


def _check_flags(argument: Argument) -> str:
    """Check what the command line gave an option; the source to name."""
    for token in argument.tokens:
        flag = token.keyword or argument.name
        if token.implicit_value == ():  # no word follows, or one that begins with a dash
            raise needs_value(flag, argument.name)
        given = [] if isinstance(token.implicit_value, bool) else [token.value]
        check_words(given, argument.hint, flag, UsageError)
    return f"flag {argument.tokens[0].keyword or argument.name}"


def _fill_from_environment(name: str, argument: Argument, sources: dict[str, str]) -> None:
    variable = ENV_PREFIX + name.upper()
    text = os.environ.get(variable, "")
    if text:
        words = text.split() if argument.parameter.consume_multiple else [text]
        check_words(words, argument.hint, variable, ConfigurationError)
        _append(argument, words, f"env {variable}")
        sources[name] = f"env {variable}"


def _append(argument: Argument, words: list[str], source: str) -> None:
    for index, word in enumerate(words):
        argument.append(Token(keyword=argument.name, value=word, source=source, index=index))


def _fill_from_file(text: str, by_name: Mapping[str, Argument], sources: dict[str, str]) -> None:
    from mlpstorage.config import load_yaml, user_path

    user_path(text, "--config-file")  # may refuse; messages show the path as it was given
    document = load_yaml(Path(text).expanduser())
    seen: set[str] = set()
    for key, value in document.values.items():
        name = key.replace("-", "_")
        where = next(
            (at for n, at in document.sources.items() if n == key or n.startswith(f"{key}.")), text
        )
        if name in seen:
            raise ConfigurationError(f"{where}: {key} stands twice", fix="delete one of the two")
        seen.add(name)
        argument = by_name.get(name)
        if argument is None and name not in _all_option_names():
            raise ConfigurationError(
                f"{where}: unknown option {key!r}", fix=did_you_mean(name, sorted(by_name))
            )
        if argument is not None:
            words = _words_of(value, argument, f"{where}: {key}")
            if not argument.tokens:
                _append(argument, words, where)
                sources[name] = where


def _words_of(value: Any, argument: Argument, subject: str) -> list[str]:  # noqa: ANN401 (YAML)
    """The words that stand for a value of the file."""
    many = get_origin(argument.hint) is tuple
    if isinstance(value, list) and not many:
        raise ConfigurationError(f"{subject} is a list", fix="give it one value")
    if isinstance(value, dict) and not (many and argument.parameter.consume_multiple):
        raise ConfigurationError(f"{subject} is a section", fix="give it a value")
    words = [*_texts(value)]
    check_words(words, argument.hint, subject, ConfigurationError)
    return words


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 (a YAML value)
    if isinstance(value, dict):
        for name, part in value.items():
            yield from (
                f"{name}.{text}" if isinstance(part, dict) else f"{name}={text}"
                for text in _texts(part)
            )
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, bool):
        yield str(value).lower()
    else:
        yield "" if value is None else str(value)


def _warn_of_misspelt_variables(by_name: Mapping[str, Argument]) -> None:
    """Warn of variables that nearly name an option: without a word, their value would be lost."""
    ours = [name for name in os.environ if name.startswith(ENV_PREFIX)]
    strange = [name for name in ours if name[len(ENV_PREFIX) :].lower() not in by_name]
    if strange:
        known = {ENV_PREFIX + name.upper() for name in _all_option_names()}
        for name in sorted(set(strange) - known):
            for near in difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
                complain(f"warning: {ascii(name)[1:-1]} is not read; did you mean {near}?")


def _all_option_names() -> set[str]:
    """Every option of every command: a config file may serve several commands."""
    from dataclasses import fields

    from mlpstorage.cli.binding import load
    from mlpstorage.cli.groups import GROUPS

    return {f.name for group in GROUPS for verb in group.verbs for f in fields(load(verb.options))}
