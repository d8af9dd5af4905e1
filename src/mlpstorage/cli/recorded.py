"""Calling a command again as its record has it, whatever flags, variables and files say now."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.cli.binding import load
from mlpstorage.cli.groups import group_named, verb_named
from mlpstorage.core.errors import ConfigurationError, NotFoundError
from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.core.commands import Verb
    from mlpstorage.store.codec import Metadata
    from mlpstorage.store.sets import SetEntry


def words_of(name: str, executed_command: str) -> list[str]:
    """The words of a recorded command, after the program's name.

    Raises:
        ConfigurationError: it is not a benchmark of this program.
    """
    try:
        program, *words = shlex.split(executed_command)
    except ValueError:  # nothing, or a quote that is not closed
        program, words = "", []
    if Path(program).name != "mlpstorage" or words[:1] not in [[kind.name] for kind in KINDS]:
        raise ConfigurationError(
            f"{name} does not record a benchmark of mlpstorage",
            why=f"its command is {executed_command!r}",
            fix="start it by hand",
        )
    return words


def call_again(
    record: Metadata, changes: Mapping[str, Any], resumed: SetEntry | None = None
) -> int:
    """Call the command of a record with the options of the record; its exit code.

    Args:
        record: The record; its options are complete, whatever layer each came from.
        changes: Options to take instead, such as how to show progress.
        resumed: The set to go on with.

    Raises:
        MlpstorageError: the record is not complete, its directory is gone, or the command fails.
    """
    from mlpstorage.cli.perform import perform

    words = words_of(record.run_id, record.executed_command)
    verb = _verb(record.run_id, words)
    kind = load(verb.options)
    given = {name: value for name, value in changes.items() if name in record.args or value}
    try:
        options = msgspec.convert({**record.args, **given}, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"the options of {record.run_id} are not those of `{words[0]} {verb.name}`: {error}",
            why="another version of this program recorded them",
            fix=f"start it by hand: {record.executed_command}",
        ) from error
    _enter(record)
    values = dataclasses.asdict(options)
    return perform(load(verb.action), options, values, record.sources, tuple(words), resumed)


def _verb(name: str, words: list[str]) -> Verb:
    group = group_named(words[0])
    verb = verb_named(group, words[1]) if group and len(words) > 1 else None
    if verb is None:
        raise ConfigurationError(
            f"{name} records a command that this version does not have",
            why=f"it is {shlex.join(['mlpstorage', *words])}",
            fix="start it by hand",
        )
    return verb


def _enter(record: Metadata) -> None:
    """Go to the directory that the command was started in: its paths may be relative."""
    if not record.working_directory:
        return
    try:
        os.chdir(record.working_directory)
    except OSError as error:
        raise NotFoundError(
            f"{record.run_id} was started in {record.working_directory}, which cannot be entered "
            f"({(error.strerror or str(error)).lower()})",
            why="the paths of its options may be relative to it",
            fix=f"start it by hand: {record.executed_command}",
        ) from error
