"""The script by which bash completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.cli.completion.tree import HELP_FLAG, VERSION_FLAG
from mlpstorage.cli.groups import HELP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpstorage.cli.completion.tree import Branch, Command, Values

# Functions of bash see the variables of their callers: the tables below the body fill its.
_BODY = r"""
_mlpstorage() {
    local IFS=$' \t\n' rest=${COMP_LINE:0:COMP_POINT} word index
    local -a typed=() words=()
    COMPREPLY=()

    # What was typed up to the cursor. bash also cuts at = and colons: what no space parts is one.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $index == 0 || $rest == [[:space:]]* ]]; then
            typed+=("")
            rest=${rest#"${rest%%[![:space:]]*}"}
        fi
        [[ $index == "$COMP_CWORD" ]] && word=$rest
        typed[${#typed[@]} - 1]+=$word
        rest=${rest:${#word}}
    done
    local current=${typed[${#typed[@]} - 1]} helping=
    words=("${typed[@]:1:${#typed[@]} - 2}")
    if [[ ${words[0]-} == @HELP@ ]]; then
        helping=1
        words=("${words[@]:1}")
    fi

    # The words of the command.
    local command= offers= path= takes= place=0 prefix=
    index=0
    while ((index < ${#words[@]})) && _mlpstorage_next "$command"; do
        command+=${command:+ }${words[index++]}
    done
    if _mlpstorage_next "$command"; then
        [[ $command$helping ]] || offers+=' @HELP@'
        if [[ $current == -* ]]; then
            offers='@HELP_FLAGS@'
            [[ $command ]] || offers+=' @VERSION_FLAGS@'
        fi
        COMPREPLY=($(compgen -W "$offers" -- "$current"))
        return
    fi
    [[ $helping ]] && return

    # The flag that the current word is a value of, and how many words stand without a flag.
    offers=
    for word in "${words[@]:index}"; do
        if [[ $takes == one ]]; then
            takes=
        elif [[ $word == -* ]]; then
            takes=
            [[ $word == *=* ]] || _mlpstorage_flag "$command $word"
        elif [[ ! $takes ]]; then
            ((place++))
        fi
    done
    if [[ $takes != one ]]; then
        if [[ $current == -*=* ]]; then
            _mlpstorage_flag "$command ${current%%=*}"
            [[ $takes ]] || return
            [[ $COMP_WORDBREAKS == *=* ]] || prefix=${current%%=*}=
            current=${current#*=}
        elif [[ $current == -* ]]; then
            _mlpstorage_flags "$command" "$current"
        else
            [[ $takes ]] || _mlpstorage_place "$command $place"
            [[ $offers$path$current ]] || _mlpstorage_flags "$command"
        fi
    fi

    # Of paths, bash itself knows how they are quoted.
    case $path in
        directory) compopt -o dirnames ;;
        file) compopt -o default ;;
        *) COMPREPLY=($(compgen -P "$prefix" -W "$offers" -- "$current")) ;;
    esac
}
"""


def script(branches: Iterable[Branch], commands: Iterable[Command]) -> str:
    """The whole script, without how to install it."""
    commands = tuple(commands)
    body = (
        _BODY.replace("@HELP@", HELP)
        .replace("@HELP_FLAGS@", " ".join(HELP_FLAG.names))
        .replace("@VERSION_FLAGS@", " ".join(VERSION_FLAG.names))
    )
    parts = (
        _function("next", "$1", _next(branches), otherwise="return 1"),
        _function("flags", "$1", _flags(commands), before="path="),
        _function("flag", "$1", _flag(commands), before="takes= offers= path="),
        _function("place", "$1", _place(commands), before="offers= path="),
        "complete -F _mlpstorage mlpstorage",
    )
    return "\n".join((body.strip(), "", "\n\n".join(parts)))


def _function(
    name: str,
    subject: str,
    cases: Iterator[tuple[list[str], str]],
    *,
    before: str = "",
    otherwise: str = "",
) -> str:
    """A function that looks a subject up in a table of patterns, each with what to do then."""
    lines = [f"_mlpstorage_{name}() {{"]
    lines += [f"    {before}"] if before else []
    lines += [f'    case "{subject}" in']
    for patterns, action in cases:
        *firsts, last = [f"'{pattern}'" for pattern in patterns]
        lines += [f"        {pattern} | \\" for pattern in firsts]
        lines += [f"        {last})", f"            {action}", "            ;;"]
    lines += [f"        *) {otherwise} ;;"] if otherwise else []
    return "\n".join((*lines, "    esac", "}"))


def _next(branches: Iterable[Branch]) -> Iterator[tuple[list[str], str]]:
    for branch in branches:
        yield [" ".join(branch.words)], f"offers='{' '.join(name for name, _ in branch.choices)}'"


def _flags(commands: Iterable[Command]) -> Iterator[tuple[list[str], str]]:
    """The flags of a command: the long ones, or the short ones where one is begun."""
    for command in commands:
        names = [name for flag in command.flags for name in flag.names]
        long = " ".join(name for name in names if name.startswith("--"))
        short = " ".join(name for name in names if not name.startswith("--"))
        action = f"[[ ${{2-}} == -[!-]* ]] && offers='{short}' || offers='{long}'"
        yield [" ".join(command.words)], action


def _flag(commands: Iterable[Command]) -> Iterator[tuple[list[str], str]]:
    """What a flag of a command takes; nothing of switches."""
    found: dict[str, list[str]] = {}
    for command in commands:
        for flag in command.flags:
            if flag.values is not None:
                action = f"takes={'many' if flag.many else 'one'}{_offer(flag.values)}"
                names = (" ".join((*command.words, name)) for name in flag.names)
                found.setdefault(action, []).extend(names)
    return ((patterns, action) for action, patterns in found.items())


def _place(commands: Iterable[Command]) -> Iterator[tuple[list[str], str]]:
    """What the values are that stand without a flag, counted from 0."""
    for command in commands:
        for number, values in enumerate(command.places):
            if offer := _offer(values).strip():
                yield [" ".join((*command.words, str(number)))], offer


def _offer(values: Values) -> str:
    if values.path is not None:
        return f" path={values.path}"
    return f" offers='{' '.join(values.words)}'" if values.words else ""
