"""Help as plain text, from the same data that the parser uses; needs no CLI library."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.binding import flag_of, load
from mlpstorage.cli.groups import GROUPS, group_named, verb_named
from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlpstorage.core.commands import CommandGroup, Verb

_EXIT_CODES = (
    "0 success, 1 finished but INVALID, 2 usage, 3 not found, 4 permission, 5 configuration or "
    "environment, 6 benchmark failed, 7 time limit, 130 interrupted"
)
_LAYERS = (
    "An option's value comes from its flag, else from the environment (MLPSTORAGE_DATA_DIR for "
    "--data-dir), else from --config-file, else from the default."
)
_HELP_FLAGS = frozenset({"--help", "-h"})


def help_asked(argv: Sequence[str]) -> str | None:
    """The help text when the words ask for help or stop before naming a command, else None."""
    words = list(argv)
    wanted = bool(_HELP_FLAGS.intersection(words))
    names = [word for word in words if not word.startswith("-")][:2]
    group = group_named(names[0]) if names else None
    verb = verb_named(group, names[1]) if group and len(names) > 1 else None
    if not words or (wanted and group is None):
        return None if names else _text(_root())
    if group and (words == [group.name] or (wanted and verb is None)):
        return None if len(names) > 1 else _text(_group(group))
    return _text(_verb(group, verb)) if wanted and group and verb else None


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _root() -> Iterator[str]:
    yield "usage: mlpstorage COMMAND ...\n"
    yield "The storage benchmark for AI: the score is the storage's, not the client's.\n"
    yield "commands:"
    yield from _entries((group.name, group.summary) for group in GROUPS)
    yield ""
    yield from _entries([("--version", "print the version"), ("--help, -h", "show help")])
    yield ""
    yield from _wrapped(f"exit codes: {_EXIT_CODES}")


def _group(group: CommandGroup) -> Iterator[str]:
    yield f"usage: mlpstorage {group.name} COMMAND ...\n"
    yield f"{group.summary}\n"
    yield "commands:"
    yield from _entries((verb.name, verb.summary) for verb in group.verbs)


def _verb(group: CommandGroup, verb: Verb) -> Iterator[str]:
    fields = dataclasses.fields(load(verb.options))
    required = [field for field in fields if field.default is dataclasses.MISSING]
    needs = "".join(f" {flag_of(field)} {_metavar(field)}" for field in required)
    yield f"usage: mlpstorage {f'{group.name} {verb.name}'.rstrip()}{needs} [options]\n"
    yield verb.summary
    for title in dict.fromkeys(opt_of(field).group for field in fields):
        yield f"\n{title.lower()}:"
        mine = [field for field in fields if opt_of(field).group == title]
        yield from _entries((_spelling(field), _explained(field)) for field in mine)
    yield ""
    yield from _wrapped(_LAYERS)


def _spelling(field: dataclasses.Field[Any]) -> str:
    short = opt_of(field).short
    names = f"{flag_of(field)}, {short}" if short else flag_of(field)
    return f"{names} {_metavar(field)}".rstrip()


def _metavar(field: dataclasses.Field[Any]) -> str:
    kinds = {"bool": "", "int": "N", "str": "VALUE"}
    return "VALUE..." if opt_of(field).many else kinds.get(str(field.type), "VALUE")


def _explained(field: dataclasses.Field[Any]) -> str:
    text = opt_of(field).text
    if field.default is dataclasses.MISSING:
        return f"{text} Required."
    return f"{text} Default: {field.default}." if field.default else text


def _entries(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names beside their texts; a long name stands on a line of its own."""
    indent, column = "  ", 26
    for name, text in pairs:
        body = _wrapped(text, width=_width() - column)
        head = f"{indent}{name}"
        if len(head) + 2 > column:
            yield head
            head = ""
        for line in body:
            yield f"{head.ljust(column)}{line}"
            head = ""


def _wrapped(text: str, width: int | None = None) -> list[str]:
    return textwrap.wrap(text, width or _width())


def _width() -> int:
    return min(max(shutil.get_terminal_size((100, 24)).columns, 50), 100)
