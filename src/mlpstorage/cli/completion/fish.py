"""The script by which fish completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.cli.completion.tree import HELP_FLAG, VERSION_FLAG
from mlpstorage.cli.groups import HELP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.cli.completion.tree import Branch, Command, Flag, Values

_DIRECTORIES = "(__fish_complete_directories)"
_BODY = r"""
# Whether the words of the command so far are these; with --next, whether there are no others.
function __mlpstorage_at
    set -l words (commandline -opc)
    set -e words[1]
    if test "$words[1]" = @HELP@
        contains -- --next $argv; or return 1
        set -e words[1]
    end
    if contains -- --next $argv
        set -e argv[1]
        test (count $words) -eq (count $argv); or return 1
    end
    for index in (seq (count $argv))
        test "$words[$index]" = "$argv[$index]"; or return 1
    end
end

# Whether the current word is among those that follow one of these flags, up to the next flag.
function __mlpstorage_behind
    set -l words (commandline -opc)
    for word in $words[-1..1]
        if string match -q -- '-*' $word
            contains -- $word $argv
            return
        end
    end
    return 1
end

# Whether so many words stand behind the words of the command, and no flag.
function __mlpstorage_placed
    set -l words (commandline -opc)
    test (count $words) -eq $argv[1]; and not string match -q -- '-*' $words
end

complete -c mlpstorage -f
"""


def script(branches: Iterable[Branch], commands: Iterable[Command]) -> str:
    """The whole script, without how to install it."""
    lines = [_BODY.replace("@HELP@", HELP).strip()]
    for branch in branches:
        at = " ".join(("__mlpstorage_at --next", *branch.words))
        for name, text in branch.choices:
            lines.append(_line(at, f"-a {name}", text))
        lines.append(_line(at, _names(HELP_FLAG), HELP_FLAG.text))
    first = "test (count (commandline -opc)) -eq 1"
    lines.append(_line(first, f"-a {HELP}", HELP_FLAG.text))
    lines.append(_line(first, _names(VERSION_FLAG), VERSION_FLAG.text))
    for command in commands:
        lines += _command(command)
    return "\n".join(lines)


def _command(command: Command) -> Iterator[str]:
    at = " ".join(("__mlpstorage_at", *command.words))
    for flag in command.flags:
        takes = "" if flag.values is None else f" {_takes(flag.values)}"
        yield _line(at, f"{_names(flag)}{takes}", flag.text)
        if flag.many and flag.values is not None and _offers(flag.values):
            behind = " ".join(("__mlpstorage_behind", *flag.names))
            yield _line(f"{at}; and {behind}", _offers(flag.values), "")
    for number, values in enumerate(command.places, start=1 + len(command.words)):
        if _offers(values):
            yield _line(f"{at}; and __mlpstorage_placed {number}", _offers(values), "")


def _names(flag: Flag) -> str:
    """The names of a flag, each as the kind of flag that fish takes it for."""
    return " ".join(
        f"-l {name[2:]}"
        if name.startswith("--")
        else f"-{'s' if len(name) == len('-x') else 'o'} {name[1:]}"
        for name in flag.names
    )


def _takes(values: Values) -> str:
    """What says that a flag has a value, and which."""
    if values.path == "file":
        return "-r -F"
    return f"-x {_offers(values)}".rstrip()


def _offers(values: Values) -> str:
    if values.path is not None:
        return f"-a '{_DIRECTORIES}'" if values.path == "directory" else "-F"
    return f"-a '{' '.join(values.words)}'" if values.words else ""


def _line(condition: str, what: str, text: str) -> str:
    about = f" -d {_quoted(text)}" if text else ""
    return f"complete -c mlpstorage -n '{condition}' {what}{about}"


def _quoted(text: str) -> str:
    r"""The text as a word of fish.

    >>> print(_quoted("the model's"))
    'the model\'s'
    """
    inner = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inner}'"
