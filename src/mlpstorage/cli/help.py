"""Help as plain text, from the same data that the parser uses; needs no CLI library."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.binding import POSITIONAL, flag_of, load
from mlpstorage.cli.examples import examples_of
from mlpstorage.cli.groups import GROUPS, UTILITIES, group_named, verb_named
from mlpstorage.cli.paths import path_kind
from mlpstorage.core.options import opt_of
from mlpstorage.kinds import KINDS
from mlpstorage.kinds.options import JUDGE, OUT, WHAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlpstorage.core.commands import CommandGroup, Verb

EXIT_CODES = (
    "0 success, 1 finished but INVALID, 2 usage, 3 not found, 4 permission, 5 configuration or "
    "environment, 6 benchmark failed, 7 time limit, 130 interrupted"
)
LAYERS = (
    "An option's value comes from its flag, else from the environment (MLPSTORAGE_DATA_DIR for "
    "--data-dir), else from --config-file, else from the default."
)
# What the first page says of utilities; those that stand nowhere here come last.
_TOPICS = {
    "results": ("history", "reports", "rules", "explain", "resume", "compare"),
    "environment": ("doctor", "lockfile", "engine", "completion"),
}
_FIRST = "mlpstorage training run -m unet3d -g h100 -na 1 --data-dir DIR --trial"
_ROOT_COLUMN = 17
_COLUMN = 28
# Where some groups of options stand on a page; the others are between, as they are declared.
_PLACES = {POSITIONAL: -2, WHAT: -1, JUDGE: 1, OUT: 2}
# What an option says of itself whose value need not be given.
_OPTIONAL = "by default"
_CONTINUED = " \\"
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
    """One screen: what there is, how to begin, and what exit codes mean."""
    yield "usage: mlpstorage COMMAND ... | help [COMMAND] | --version | --help"
    yield "The storage benchmark for AI: the score is the storage's, not the client's."
    listed = {name for names in _TOPICS.values() for name in names}
    topics = {
        "benchmarks": [group.name for group in KINDS],
        **_TOPICS,
        "more": [g.name for g in UTILITIES if g.name not in listed],
    }
    for title, names in topics.items():
        groups = [group for group in GROUPS if group.name in names]
        if groups:
            yield f"{title}:"
            yield from (_short_entry(group) for group in groups)
    yield f"begin: {_FIRST}"
    yield from _wrapped(f"exit codes: {EXIT_CODES}")


def _short_entry(group: CommandGroup) -> str:
    """A group on one line: its summary, or as much of it as has room."""
    room = _width() - _ROOT_COLUMN
    text = textwrap.shorten(group.summary, room, placeholder=" …")
    return f"  {group.name:<{_ROOT_COLUMN - 2}}{text}"


def _group(group: CommandGroup) -> Iterator[str]:
    yield f"usage: mlpstorage {group.name} COMMAND ...\n"
    yield f"{group.summary}\n"
    yield "commands:"
    yield from _entries((verb.name, verb.summary) for verb in group.verbs)
    yield "\nexamples:"
    for verb in group.verbs:
        yield from _examples(group, verb)
    yield f"\nevery option of a command: mlpstorage {group.name} COMMAND --help"


def _verb(group: CommandGroup, verb: Verb) -> Iterator[str]:
    yield from _usage(group, verb)
    yield f"\n{verb.summary}"
    if examples_of(group.name, verb.name):
        yield "\nexamples:"
        yield from _examples(group, verb)
    for title, fields in grouped_options(verb):
        yield f"\n{title.lower()}:"
        yield from _entries((spelling(field), explanation(field)) for field in fields)
    yield ""
    yield from _wrapped(LAYERS)


def grouped_options(verb: Verb) -> list[tuple[str, list[dataclasses.Field[Any]]]]:
    """The options of a command by the titles of their groups, as a page shows them.

    What is measured comes first, what is printed last; in a group, what must be given comes first.
    """
    groups: dict[str, list[dataclasses.Field[Any]]] = {}
    for field in dataclasses.fields(load(verb.options)):
        groups.setdefault(opt_of(field).group, []).append(field)
    for members in groups.values():
        members.sort(key=lambda field: not is_required(field))
    return sorted(groups.items(), key=lambda item: _PLACES.get(item[0], 0))


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a command cannot do without the option.

    A word without a flag is needed unless its text says what it is by default.
    """
    if field.default is dataclasses.MISSING:
        return True
    spec = opt_of(field)
    return spec.group == POSITIONAL and _OPTIONAL not in spec.text


def usage_line(group: CommandGroup, verb: Verb) -> str:
    """The first line of a command's help: what it needs at least."""
    return " ".join(_usage_parts(group, verb))


def _usage_parts(group: CommandGroup, verb: Verb) -> Iterator[str]:
    """What a line of usage is made of; none of it is broken where it does not fit."""
    yield f"usage: mlpstorage {group.name} {verb.name}".rstrip()
    for field in dataclasses.fields(load(verb.options)):
        if opt_of(field).group == POSITIONAL:
            yield placeholder(field) if is_required(field) else f"[{placeholder(field)}]"
        elif is_required(field):
            yield f"{flag_of(field)} {_metavar(field)}"
    yield "[options]"


def _usage(group: CommandGroup, verb: Verb) -> Iterator[str]:
    line, *parts = _usage_parts(group, verb)
    indent = " " * 4
    for part in parts:
        if len(line) + 1 + len(part) > _width():
            yield line
            line = indent + part
        else:
            line = f"{line} {part}"
    yield line


def placeholder(field: dataclasses.Field[Any]) -> str:
    """What stands for the value of an option that needs no flag."""
    return field.name.rstrip("_").replace("_", "-").upper()


def _examples(group: CommandGroup, verb: Verb) -> Iterator[str]:
    """The examples, broken where a shell takes the break."""
    for example in examples_of(group.name, verb.name):
        lines = textwrap.wrap(
            example,
            _width() - len(_CONTINUED),
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from (f"{line}{_CONTINUED}" for line in lines[:-1])
        yield lines[-1]


def spelling(field: dataclasses.Field[Any]) -> str:
    """The flag, its short name and what stands for its value."""
    short = opt_of(field).short
    names = f"{flag_of(field)}, {short}" if short else flag_of(field)
    if opt_of(field).group == POSITIONAL:
        return f"{placeholder(field)}, {names} {placeholder(field)}"
    return f"{names} {_metavar(field)}".rstrip()


def _metavar(field: dataclasses.Field[Any]) -> str:
    if opt_of(field).many:
        return "VALUE..."
    path = path_kind(field.name)
    if path is not None:
        return "DIR" if path == "directory" else "FILE"
    return {"bool": "", "int": "N", "float": "N"}.get(str(field.type), "VALUE")


def explanation(field: dataclasses.Field[Any]) -> str:
    """What an option means, and its default."""
    text = opt_of(field).text
    if is_required(field):
        return f"{text} Required."
    shown = field.default and _OPTIONAL not in text
    return f"{text} Default: {field.default}." if shown else text


def _entries(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names beside their texts; a long name stands on a line of its own."""
    indent = "  "
    for name, text in pairs:
        body = _wrapped(text, width=_width() - _COLUMN)
        head = f"{indent}{name}"
        if len(head) + 2 > _COLUMN:
            yield head
            head = ""
        for line in body:
            yield f"{head.ljust(_COLUMN)}{line}"
            head = ""


def _wrapped(text: str, width: int | None = None) -> list[str]:
    return textwrap.wrap(text, width or _width(), break_on_hyphens=False)


def _width() -> int:
    return min(max(shutil.get_terminal_size((100, 24)).columns, 50), 100)
