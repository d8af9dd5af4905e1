"""What the CLI library refuses, in the form of every other error."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cyclopts import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from mlpstorage.cli.binding import flag_of, load
from mlpstorage.cli.values import needs_value
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from cyclopts import CycloptsError

    from mlpstorage.core.commands import Verb


def usage_error(error: CycloptsError, command: str, verb: Verb) -> UsageError:
    """The error that the user reads; `command` is the words before the options."""
    see = f"see: {command} --help"
    if isinstance(error, UnknownOptionError) and error.token is not None:
        return _unknown(error.token.keyword or error.token.value, verb, see)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, verb, see)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _stray(error.unused_tokens[0], see)
    if isinstance(error, RepeatArgumentError) and error.token is not None:
        return UsageError(f"{error.token.keyword} is given twice", fix="give it once")
    if isinstance(error, CoercionError) and error.token is not None:
        where = error.token.keyword or error.token.source
        return UsageError(f"{where} cannot be {error.token.value!r}", fix=see)
    return UsageError(" ".join(str(error).split()), fix=see)


def _unknown(word: str, verb: Verb, see: str) -> UsageError:
    flags = [flag_of(field) for field in dataclasses.fields(load(verb.options))]
    hint = did_you_mean(word, flags)
    return UsageError(
        f"unknown option {word!r}", fix=hint if hint.startswith("did you mean") else see
    )


def _missing(error: MissingArgumentError, verb: Verb, see: str) -> UsageError:
    flag = error.argument.name if error.argument else ""
    if error.keyword is not None:
        return needs_value(error.keyword, flag)
    known = {
        name
        for field in dataclasses.fields(load(verb.options))
        for name in (flag_of(field), opt_of(field).short)
    }
    for word in error.unused_tokens or ():
        name = word.partition("=")[0]
        if name.startswith("-") and name not in known:
            return _unknown(name, verb, see)
    variable = f"MLPSTORAGE_{flag[2:].replace('-', '_').upper()}"
    return UsageError(f"{flag} is missing", fix=f"add {flag} VALUE, or set {variable}; {see}")


def _stray(word: str, see: str) -> UsageError:
    parameter = "=" in word and "." in word.partition("=")[0]
    fix = f"parameters stand behind --params: --params {word}" if parameter else see
    return UsageError(f"{word!r} belongs to no option", fix=fix)
