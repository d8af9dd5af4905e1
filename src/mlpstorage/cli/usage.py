"""What the CLI library refuses, in the form of every other error."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Any

from cyclopts import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from mlpstorage.cli.binding import POSITIONAL, flag_of, load
from mlpstorage.cli.examples import examples_of
from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.help import placeholder
from mlpstorage.cli.values import needs_value
from mlpstorage.core.errors import UsageError
from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclopts import CycloptsError

    from mlpstorage.core.commands import CommandGroup, Verb

# Flags have much in common, dashes at the least: farther ones are no misspelling.
_NEAR = 0.75
_MOST_LISTED = 3
_SHORT = re.compile(r"-[a-z]{2,}")


def usage_error(error: CycloptsError, group: CommandGroup, verb: Verb) -> UsageError:
    """The error that the user of a command reads."""
    see = f"see: {_command(group, verb)} --help"
    if isinstance(error, UnknownOptionError) and error.token is not None:
        return _unknown(error.token.keyword or error.token.value, group, verb)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, group, verb)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _stray(error.unused_tokens[0], see)
    if isinstance(error, RepeatArgumentError) and error.token is not None:
        return UsageError(f"{error.token.keyword} is given twice", fix="give it once")
    if isinstance(error, CoercionError) and error.token is not None:
        where = error.token.keyword or error.token.source
        return UsageError(f"{where} cannot be {error.token.value!r}", fix=see)
    return UsageError(" ".join(str(error).split()), fix=see)


def refuse_foreign_flags(words: Sequence[str], group: CommandGroup, verb: Verb) -> None:
    """Refuse a short flag of other commands, such as -dd, where this one has a -d.

    The CLI library would take it for that flag with a value, as in -d=d.

    Raises:
        UsageError: there is one.
    """
    known = set(_names(verb))
    dashes = {flag_of(f) for f in dataclasses.fields(load(verb.options)) if opt_of(f).dashes}
    for before, word in zip(("", *words), words, strict=False):
        name = word.partition("=")[0]
        is_short = _SHORT.fullmatch(name) is not None and name not in known
        if is_short and before not in dashes and _owners(name, GROUPS):
            raise _unknown(name, group, verb)


def _command(group: CommandGroup, verb: Verb) -> str:
    return f"mlpstorage {group.name} {verb.name}".rstrip()


def _unknown(word: str, group: CommandGroup, verb: Verb) -> UsageError:
    """The error for a flag that the command does not have: misspelt, or of another command."""
    see = f"see: {_command(group, verb)} --help"
    what = f"unknown option {word!r}"
    owners = _owners(word, [group]) or _owners(word, GROUPS)
    if owners:
        return UsageError(
            what,
            why=f"{word} belongs to {_listed(owners)}",
            fix=f"leave it out here; {see}",
        )
    own = [name for name in _names(verb) if name.startswith("--")]
    begun = [name for name in own if name.startswith(word)]
    near = begun[:1] or difflib.get_close_matches(word, own, n=1, cutoff=_NEAR)
    return UsageError(what, fix=f"did you mean {near[0]}?" if near else see)


def _owners(word: str, groups: Iterable[CommandGroup]) -> list[str]:
    """The commands that have a flag."""
    return [
        _command(group, verb) for group in groups for verb in group.verbs if word in _names(verb)
    ]


def _listed(commands: list[str]) -> str:
    """Some of the commands, as a part of a sentence.

    >>> _listed(["a", "b", "c", "d", "e"])
    '`a`, `b`, `c` and others'
    """
    quoted = [f"`{command}`" for command in commands[:_MOST_LISTED]]
    last = ["others"] if len(commands) > _MOST_LISTED else [quoted.pop()]
    return " and ".join([", ".join(quoted), *last] if quoted else last)


def _names(verb: Verb) -> list[str]:
    """Every flag of a command, long and short."""
    fields = dataclasses.fields(load(verb.options))
    return [name for f in fields for name in (flag_of(f), opt_of(f).short) if name]


def _missing(error: MissingArgumentError, group: CommandGroup, verb: Verb) -> UsageError:
    flag = error.argument.name if error.argument else ""
    if error.keyword is not None:
        return needs_value(error.keyword, flag)
    known = _names(verb)
    for word in error.unused_tokens or ():
        name = word.partition("=")[0]
        if name.startswith("-") and name not in known:
            return _unknown(name, group, verb)
    see = f"see: {_command(group, verb)} --help"
    field = next((f for f in dataclasses.fields(load(verb.options)) if flag_of(f) == flag), None)
    if field is not None and opt_of(field).group == POSITIONAL:
        return _missing_place(field, group, verb)
    variable = f"MLPSTORAGE_{flag[2:].replace('-', '_').upper()}"
    return UsageError(f"{flag} is missing", fix=f"add {flag} VALUE, or set {variable}; {see}")


def _missing_place(field: dataclasses.Field[Any], group: CommandGroup, verb: Verb) -> UsageError:
    """The error for a word that stands without a flag: what it is, and an example of it."""
    example, text = examples_of(group.name, verb.name)[0], opt_of(field).text
    return UsageError(
        f"{placeholder(field)} is missing",
        why=f"it is {text[:1].lower()}{text[1:].rstrip('.')}",
        fix=f"for example: {example}; see: {_command(group, verb)} --help",
    )


def _stray(word: str, see: str) -> UsageError:
    parameter = "=" in word and "." in word.partition("=")[0]
    fix = f"parameters stand behind --params: --params {word}" if parameter else see
    return UsageError(f"{word!r} belongs to no option", fix=fix)
