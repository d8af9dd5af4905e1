"""The script by which zsh completes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlpstorage.cli.completion.tree import HELP_FLAG, VERSION_FLAG
from mlpstorage.cli.groups import HELP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.cli.completion.tree import Branch, Command, Flag, Values

_BODY = r"""
_mlpstorage() {
    local helping=
    if (( CURRENT > 2 )) && [[ $words[2] == @HELP@ ]]; then
        helping=1
        words[2]=()
        (( CURRENT-- ))
    fi

    # The words of the command: those before the cursor, as far as there are any.
    local command=
    while (( CURRENT > 2 )) && _mlpstorage_next "$command" ask; do
        command+=${command:+ }$words[2]
        shift words
        (( CURRENT-- ))
    done
    if _mlpstorage_next "$command" ask; then
        if [[ $PREFIX == -* ]]; then
            local -a flags=(@HELP_FLAGS@)
            [[ $command ]] || flags+=(@VERSION_FLAGS@)
            compadd -a flags
        else
            _mlpstorage_next "$command"
        fi
    elif [[ ! $helping ]]; then
        _mlpstorage_arguments "$command"
    fi
}

# zsh knows flags of one value: of those of some flags, leave the current one, or else the last.
_mlpstorage_several() {
    local -i index first=0
    for (( index = 2; index <= CURRENT; index++ )); do
        if [[ $words[index] == -* ]]; then
            first=0
            (( ${argv[(Ie)$words[index]]} )) && first=index+1
        elif (( first && first < index )); then
            words[first]=()
            (( CURRENT--, index-- ))
        fi
    done
    compstate[restore]=  # the words stay as they are now
}
"""
# Loaded from a directory of $fpath, the file is the function's body; sourced, it registers it.
_END = r"""
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _mlpstorage "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
    compdef _mlpstorage mlpstorage
fi
"""


def script(branches: Iterable[Branch], commands: Iterable[Command]) -> str:
    """The whole script, without its first line, which must be `#compdef`, and how to install it."""
    body = (
        _BODY.replace("@HELP@", HELP)
        .replace("@HELP_FLAGS@", " ".join(HELP_FLAG.names))
        .replace("@VERSION_FLAGS@", " ".join(VERSION_FLAG.names))
    )
    lines = (*_next(branches), "", *_arguments(commands))
    return "\n".join((body.strip(), "", *lines, "", _END.strip()))


def _next(branches: Iterable[Branch]) -> Iterator[str]:
    """A function that offers the words that may follow, or tells whether there are any."""
    yield "_mlpstorage_next() {"
    yield "    local -a offers"
    yield '    case "$1" in'
    for branch in branches:
        yield f"        {_quoted(' '.join(branch.words))})"
        yield "            offers=("
        for name, text in branch.choices:
            yield f"                {_quoted(f'{name}:{text}')}"
        yield "            )"
        if not branch.words:
            yield f"            [[ $helping ]] || offers+=({_quoted(f'{HELP}:Show help.')})"
        yield "            ;;"
    yield "        *) return 1 ;;"
    yield "    esac"
    yield "    [[ ${2-} == ask ]] || _describe -t commands command offers"
    yield "}"


def _arguments(commands: Iterable[Command]) -> Iterator[str]:
    yield "_mlpstorage_arguments() {"
    yield '    case "$1" in'
    for command in commands:
        yield f"        {_quoted(' '.join(command.words))})"
        several = [name for flag in command.flags if flag.many for name in flag.names]
        if several:
            yield f"            _mlpstorage_several {' '.join(several)}"
        yield "            _arguments \\"
        specs = [spec for flag in command.flags for spec in _specs(flag)]
        specs += [_quoted(f":{_value(values)}") for values in command.places]
        *firsts, last = specs
        yield from (f"                {spec} \\" for spec in firsts)
        yield f"                {last}"
        yield "            ;;"
    yield "    esac"
    yield "}"


def _specs(flag: Flag) -> Iterator[str]:
    """A line for each name of a flag, which excludes the others and itself."""
    others = " ".join(flag.names)
    for name in flag.names:
        text = f"[{_text(flag.text)}]"
        if flag.values is None:
            yield _quoted(f"({others}){name}{text}")
        else:
            equals = "" if flag.many else "="
            yield _quoted(f"({others}){name}{equals}{text}:{_value(flag.values)}")


def _value(values: Values) -> str:
    """The name of a value, and what offers it."""
    action = f"({' '.join(values.words)})" if values.words else " "
    if values.path is not None:
        action = "_files -/" if values.path == "directory" else "_files"
    return f"{_text(values.name)}:{action}"


def _text(text: str) -> str:
    r"""The text with what separates the parts of a specification escaped.

    >>> _text("a: [b]")
    'a\\: \\[b\\]'
    """
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


def _quoted(text: str) -> str:
    r"""The text as a word of the shell.

    >>> print(_quoted("the model's"))
    'the model'\''s'
    """
    inner = text.replace("'", "'\\''")
    return f"'{inner}'"
