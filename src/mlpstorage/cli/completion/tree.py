"""All that can be typed, as the scripts for the shells need it: commands, their flags, values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.binding import POSITIONAL, flag_of, load
from mlpstorage.cli.choices import choices_of
from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.help import placeholder
from mlpstorage.cli.paths import path_kind
from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from mlpstorage.cli.paths import PathKind
    from mlpstorage.core.commands import CommandGroup, Verb


@dataclass(frozen=True)
class Values:
    """What can stand for a value: known words, a path, or anything when neither is known."""

    name: str
    words: tuple[str, ...] = ()
    path: PathKind | None = None


@dataclass(frozen=True)
class Flag:
    """A flag by all its names; `values` is None for a switch, `many` takes several of them."""

    names: tuple[str, ...]
    text: str
    values: Values | None = None
    many: bool = False


@dataclass(frozen=True)
class Command:
    """A command by its words, such as `("training", "run")`, and what may follow them.

    `places` are the values that stand without a flag, in their order.
    """

    words: tuple[str, ...]
    text: str
    flags: tuple[Flag, ...]
    places: tuple[Values, ...]


@dataclass(frozen=True)
class Branch:
    """The words that may follow some words, each with its text: the groups, or a group's verbs."""

    words: tuple[str, ...]
    choices: tuple[tuple[str, str], ...]


HELP_FLAG = Flag(("--help", "-h"), "Show help.")
VERSION_FLAG = Flag(("--version",), "Show the version.")


def branches() -> tuple[Branch, ...]:
    """Where a word of a command is chosen: at the beginning, and after the name of a group."""
    root = Branch((), tuple((group.name, group.summary) for group in GROUPS))
    return (
        root,
        *(
            Branch((group.name,), tuple((verb.name, verb.summary) for verb in group.verbs))
            for group in GROUPS
            if all(verb.name for verb in group.verbs)
        ),
    )


def commands() -> tuple[Command, ...]:
    """Every command, in the order of the groups."""
    return tuple(_command(group, verb) for group in GROUPS for verb in group.verbs)


def _command(group: CommandGroup, verb: Verb) -> Command:
    fields = dataclasses.fields(load(verb.options))
    return Command(
        words=tuple(word for word in (group.name, verb.name) if word),
        text=verb.summary,
        flags=(*(_flag(group.name, field) for field in fields), HELP_FLAG),
        places=tuple(
            _values(group.name, field) for field in fields if opt_of(field).group == POSITIONAL
        ),
    )


def _flag(group: str, field: dataclasses.Field[Any]) -> Flag:
    spec = opt_of(field)
    return Flag(
        names=tuple(name for name in (flag_of(field), spec.short) if name),
        text=spec.text,
        values=None if field.type == "bool" else _values(group, field),
        many=spec.many,
    )


def _values(group: str, field: dataclasses.Field[Any]) -> Values:
    return Values(placeholder(field), choices_of(group, field.name), path_kind(field.name))
